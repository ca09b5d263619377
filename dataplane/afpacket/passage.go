package afpacket

import (
	"errors"
	"fmt"
	"hash/fnv"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// passage is a veth pair through which frames reach the interface once more: what is
// sent by the outer end arrives at the inner one, where a tc filter turns it into
// something that has arrived at the interface. So the kernel takes it for what it is,
// its source address passes rp_filter, and firewall rules that name the interface hold.
type passage struct {
	outer, inner string
	outerIndex   int
	mark         uint32 // of packets in the passage and nowhere else; none from the wire has one
}

// passageOf names the passage of a member, which a dead predecessor may have left.
func passageOf(cluster, member string) passage {
	h := fnv.New32a()
	fmt.Fprintf(h, "%s/%s", cluster, member)
	name := fmt.Sprintf("nlb%08x", h.Sum32())
	return passage{outer: name + "o", inner: name + "i", mark: h.Sum32() | 1}
}

// make replaces the passage by one to an interface. It is closed until open.
func (p *passage) make(ifindex int) error {
	if err := p.remove(); err != nil {
		return err
	}
	outer := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: p.outer, MTU: maxMTU, TxQLen: 0},
		PeerName:  p.inner, PeerMTU: maxMTU,
	}
	if err := netlink.LinkAdd(outer); err != nil {
		return fmt.Errorf("add veth pair %s: %w", p.outer, err)
	}
	o, err := netlink.LinkByName(p.outer)
	if err != nil {
		return fmt.Errorf("look up %s: %w", p.outer, err)
	}
	inner, err := netlink.LinkByName(p.inner)
	if err != nil {
		return fmt.Errorf("look up %s: %w", p.inner, err)
	}
	p.outerIndex = o.Attrs().Index
	for _, l := range []netlink.Link{o, inner} { // they are no links of this host: no addresses, no ARP
		if err := quiet(l); err != nil {
			return err
		}
	}
	return redirect(inner, ifindex)
}

// maxMTU is the largest of a veth: that of the interface may be anything.
const maxMTU = 65535

func quiet(l netlink.Link) error {
	if err := netlink.LinkSetARPOff(l); err != nil {
		return fmt.Errorf("turn off ARP of %s: %w", l.Attrs().Name, err)
	}
	err := netlink.LinkSetIP6AddrGenMode(l, nl.IN6_ADDR_GEN_MODE_NONE)
	if err != nil && !errors.Is(err, unix.EAFNOSUPPORT) && !errors.Is(err, unix.EOPNOTSUPP) { // no IPv6
		return fmt.Errorf("turn off IPv6 addresses of %s: %w", l.Attrs().Name, err)
	}
	return nil
}

// redirect makes all that arrives at a link arrive at the interface instead.
func redirect(from netlink.Link, ifindex int) error {
	attrs := netlink.QdiscAttrs{LinkIndex: from.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_INGRESS}
	if err := netlink.QdiscAdd(&netlink.Ingress{QdiscAttrs: attrs}); err != nil {
		return fmt.Errorf("add ingress qdisc to %s: %w: needs a kernel with CONFIG_NET_SCH_INGRESS", from.Attrs().Name, err)
	}
	action := netlink.NewMirredAction(ifindex)
	action.MirredAction = netlink.TCA_INGRESS_REDIR
	filter := &netlink.U32{ // without keys: everything
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: from.Attrs().Index, Parent: attrs.Handle, Priority: 1, Protocol: unix.ETH_P_ALL,
		},
		Actions: []netlink.Action{action},
	}
	if err := netlink.FilterAdd(filter); err != nil {
		return fmt.Errorf("redirect from %s: %w: needs a kernel with CONFIG_NET_CLS_U32 and CONFIG_NET_ACT_MIRRED", from.Attrs().Name, err)
	}
	return nil
}

// open lets frames through.
func (p *passage) open() error {
	for _, name := range []string{p.inner, p.outer} {
		l, err := netlink.LinkByName(name)
		if err == nil {
			err = netlink.LinkSetUp(l)
		}
		if err != nil {
			return fmt.Errorf("set %s up: %w", name, err)
		}
	}
	return nil
}

// remove removes the passage if there is one.
func (p *passage) remove() error {
	l, err := netlink.LinkByName(p.outer)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil
	}
	if err == nil {
		err = netlink.LinkDel(l)
	}
	if err != nil {
		return fmt.Errorf("remove veth pair %s: %w", p.outer, err)
	}
	return nil
}
