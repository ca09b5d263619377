package afpacket

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// guard is the table of nftables that keeps the VIPs from the kernel, whether this
// process lives or not. Its rules are in rules.go. A VIP is first told to the guard
// and then to the kernel, and taken away in reverse order.
type guard struct {
	conn    *nftables.Conn
	table   *nftables.Table
	way     passage
	dev     device
	source  net.HardwareAddr // of frames from a VIP
	cluster net.HardwareAddr
	v4, v6  *nftables.Set
	vips    []netip.Addr // in the sets, as far as this engine put them there
	unknown bool         // a dead predecessor may have left others in the sets
}

// openGuard puts the table up on an interface, or takes over that of a dead
// predecessor: its chains get the rules anew at one instant, its VIPs stay until the
// first setVIPs.
func openGuard(name string, dev device, way passage, source, cluster net.HardwareAddr) (g *guard, takeover bool, err error) {
	if g, err = newGuard(name); err != nil {
		return nil, false, err
	}
	g.way, g.dev, g.source, g.cluster = way, dev, source, cluster
	if g.unknown, err = g.exists(); err == nil {
		err = g.putUp()
	}
	if err != nil {
		return nil, g.unknown, errors.Join(err, g.close())
	}
	return g, g.unknown, nil
}

// removeGuard removes the table of a dead engine, if there is one. A kernel without
// nftables has none.
func removeGuard(name string) error {
	g, err := newGuard(name)
	if errors.Is(err, unix.EPROTONOSUPPORT) {
		return nil
	}
	if err != nil {
		return err
	}
	found, err := g.exists()
	switch {
	case found:
		err = g.takeDown()
	case errors.Is(err, unix.EINVAL): // netfilter knows no such subsystem
		err = nil
	}
	return errors.Join(err, g.close())
}

func newGuard(name string) (*guard, error) {
	conn, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return nil, fmt.Errorf("open netlink to nftables: %w", err)
	}
	table := &nftables.Table{Name: name, Family: nftables.TableFamilyNetdev}
	return &guard{
		conn: conn, table: table,
		v4: &nftables.Set{Table: table, Name: "vips4", KeyType: nftables.TypeIPAddr},
		v6: &nftables.Set{Table: table, Name: "vips6", KeyType: nftables.TypeIP6Addr},
	}, nil
}

func (g *guard) exists() (bool, error) {
	_, err := g.conn.ListTableOfFamily(g.table.Name, g.table.Family)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for table %s: %w: needs a kernel with CONFIG_NF_TABLES and CONFIG_NF_TABLES_NETDEV, and CAP_NET_ADMIN", g.table.Name, err)
	}
	return true, nil
}

// putUp adds what is missing and replaces all rules, in one transaction. The chains
// are named after their interface, so that those of another one keep guarding it.
func (g *guard) putUp() error {
	if err := g.write(); err != nil {
		return err
	}
	return g.commit("put up table")
}

func (g *guard) write() error {
	g.conn.AddTable(g.table)
	for _, set := range []*nftables.Set{g.v4, g.v6} {
		if err := g.conn.AddSet(set, nil); err != nil {
			return fmt.Errorf("add set %s: %w", set.Name, err)
		}
	}
	g.fill(g.chain("in-", g.dev.name, nftables.ChainHookIngress), g.ingress(g.dev.mac))
	g.fill(g.chain("out-", g.dev.name, nftables.ChainHookEgress), g.egress(g.source, g.cluster))
	return nil
}

// seal drops what anybody but the injector sends into the passage: it would arrive at
// the interface.
func (g *guard) seal() error {
	g.writeSeal()
	return g.commit("seal " + g.way.outer)
}

func (g *guard) writeSeal() {
	g.fill(g.chain("seal-", g.way.outer, nftables.ChainHookEgress), []rule{{isMark(g.way.mark), accept}, {drop}})
}

// restore puts everything up again, in one transaction, if the table is gone.
func (g *guard) restore() (restored bool, err error) {
	found, err := g.exists()
	if found || err != nil {
		return false, err
	}
	if err := g.write(); err != nil {
		return false, err
	}
	if err := g.change(g.conn.SetAddElements, g.vips); err != nil {
		return false, err
	}
	g.writeSeal()
	return true, g.commit("restore table")
}

func (g *guard) chain(prefix, device string, hook *nftables.ChainHook) *nftables.Chain {
	return g.conn.AddChain(&nftables.Chain{
		Name: prefix + device, Table: g.table, Type: nftables.ChainTypeFilter,
		Hooknum: hook, Priority: nftables.ChainPriorityFilter, Device: device,
	})
}

func (g *guard) fill(chain *nftables.Chain, rules []rule) {
	g.conn.FlushChain(chain)
	for _, r := range rules {
		g.conn.AddRule(&nftables.Rule{Table: g.table, Chain: chain, Exprs: r.expressions()})
	}
}

// add guards these VIPs as well.
func (g *guard) add(vips []netip.Addr) error {
	missing := without(vips, g.vips)
	if len(missing) == 0 {
		return nil
	}
	if err := g.change(g.conn.SetAddElements, missing); err != nil {
		return err
	}
	if err := g.commit("guard VIPs"); err != nil {
		return err
	}
	g.vips = append(g.vips, missing...)
	return nil
}

// keep guards no other VIPs than these, which add has added.
func (g *guard) keep(vips []netip.Addr) error {
	gone := without(g.vips, vips)
	if !g.unknown && len(gone) == 0 {
		return nil
	}
	edit, which := g.conn.SetDeleteElements, gone
	if g.unknown { // within a transaction, nobody sees the empty sets
		g.conn.FlushSet(g.v4)
		g.conn.FlushSet(g.v6)
		edit, which = g.conn.SetAddElements, vips
	}
	if err := g.change(edit, which); err != nil {
		return err
	}
	if err := g.commit("guard fewer VIPs"); err != nil {
		return err
	}
	g.vips, g.unknown = slices.Clone(vips), false
	return nil
}

// takeDown removes the table.
func (g *guard) takeDown() error {
	g.conn.DelTable(g.table)
	return g.commit("remove table")
}

func (g *guard) close() error { return g.conn.CloseLasting() }

func (g *guard) commit(what string) error {
	err := g.conn.Flush()
	if errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("%s %s of nftables: %w: needs Linux 5.16 with CONFIG_NETFILTER_INGRESS and CONFIG_NETFILTER_EGRESS", what, g.table.Name, err)
	}
	if err != nil {
		return fmt.Errorf("%s %s of nftables: %w", what, g.table.Name, err)
	}
	return nil
}

// change gives the VIPs to a function of conn, each family to its set.
func (g *guard) change(edit func(*nftables.Set, []nftables.SetElement) error, vips []netip.Addr) error {
	var v4, v6 []nftables.SetElement
	for _, vip := range vips {
		e := nftables.SetElement{Key: vip.AsSlice()}
		if vip.Is4() {
			v4 = append(v4, e)
		} else {
			v6 = append(v6, e)
		}
	}
	var errs []error
	if v4 != nil { // the kernel refuses an empty list
		errs = append(errs, edit(g.v4, v4))
	}
	if v6 != nil {
		errs = append(errs, edit(g.v6, v6))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("list VIPs for nftables: %w", err)
	}
	return nil
}

func without(all, some []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, a := range all {
		if !slices.Contains(some, a) {
			out = append(out, a)
		}
	}
	return out
}

// tableName is unlike that of any other member in the network namespace, and readable
// for nft(8): bytes other than letters and digits are written _XX, apart from -.
func tableName(cluster, member string) string {
	var b strings.Builder
	for _, part := range []string{cluster, member} {
		b.WriteByte('/')
		for _, c := range []byte(part) {
			switch {
			case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-':
				b.WriteByte(c)
			default:
				fmt.Fprintf(&b, "_%02X", c)
			}
		}
	}
	return "nlb" + b.String()
}
