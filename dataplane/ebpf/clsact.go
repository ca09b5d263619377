package ebpf

import (
	"errors"
	"fmt"
	"hash/fnv"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Before Linux 6.6 there is no tcx: the tc programs are then filters of a clsact
// qdisc (tc-bpf(8)). Nothing is pinned for them: filters stay until removed.

// States of nlbControl.Clsact.
const (
	clsactNone   = iota // links are used
	clsactFound         // the qdisc was there before us
	clsactIsOurs        // we made the qdisc and remove it
)

// clsact holds the filters of one member on one interface.
type clsact struct {
	ifindex int
	handle  uint32 // unlike that of any other member on the interface
	nl      *netlink.Handle
}

func clsactOf(ifindex int, p pins) clsact {
	h := fnv.New32a()
	h.Write([]byte(p))
	return clsact{ifindex, h.Sum32()&0x7fffffff | 1, new(netlink.Handle)}
}

// addQdisc reports whether the qdisc was missing.
func (c clsact) addQdisc() (added bool, err error) {
	err = c.nl.QdiscAdd(c.qdisc())
	if errors.Is(err, unix.EEXIST) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("add clsact qdisc: %w: needs a kernel with CONFIG_NET_CLS_ACT and CAP_NET_ADMIN", err)
	}
	return true, nil
}

// attach puts a program on a hook, at one instant instead of the one that was
// there.
func (c clsact) attach(h hook, program *ebpf.Program) error {
	filter := c.filter(h)
	filter.Fd = program.FD()
	if err := c.nl.FilterReplace(filter); err != nil {
		return fmt.Errorf("attach %s as clsact filter: %w", h.name, err)
	}
	return nil
}

// attached reports whether the filter of a hook is there.
func (c clsact) attached(h hook) (bool, error) {
	want := c.filter(h)
	there, err := c.nl.FilterList(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: c.ifindex}}, want.Parent)
	if err != nil {
		return false, fmt.Errorf("list clsact filters: %w", err)
	}
	return slices.ContainsFunc(there, func(f netlink.Filter) bool {
		return f.Attrs().Handle == want.Handle && f.Attrs().Priority == want.Priority
	}), nil
}

// release takes the programs off, if they are there, and then the qdisc if we made
// it. It leaves the qdisc alone where it finds no filter of ours: the interface
// number may by now be that of another interface.
func (c clsact) release(state uint32) error {
	for _, h := range []hook{tcIn, tcOut} {
		err := c.nl.FilterDel(c.filter(h))
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EINVAL) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("detach clsact filter %s: %w", h.name, err)
		}
	}
	if state != clsactIsOurs {
		return nil
	}
	if err := c.nl.QdiscDel(c.qdisc()); err != nil {
		return fmt.Errorf("remove clsact qdisc: %w", err)
	}
	return nil
}

func (c clsact) qdisc() *netlink.Clsact {
	return &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: c.ifindex,
		Handle:    netlink.MakeHandle(0xffff, 0),
		Parent:    netlink.HANDLE_CLSACT,
	}}
}

func (c clsact) filter(h hook) *netlink.BpfFilter {
	parent := uint32(netlink.HANDLE_MIN_INGRESS)
	if h == tcOut {
		parent = netlink.HANDLE_MIN_EGRESS
	}
	return &netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: c.ifindex,
			Parent:    parent,
			Handle:    c.handle,
			Protocol:  unix.ETH_P_ALL,
			Priority:  1,
		},
		Name:         h.name,
		DirectAction: true,
	}
}
