package ebpf

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/opennlb/opennlb/dataplane"
)

// watchFilters puts the filters back when somebody removes them, most likely with the whole
// qdisc (tc qdisc del dev IF clsact), which other users of eBPF take for theirs. Without them
// every member's kernel answers ARP for the VIPs. Links, which are used from Linux 6.6 on, stay.
func (e *Engine) watchFilters(c clsact) (stop func() error, err error) {
	if c.nl, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil { // of this network namespace
		return nil, fmt.Errorf("watch tc filters: %w", err)
	}
	removed := []uint16{unix.RTM_DELQDISC, unix.RTM_DELTFILTER}
	end, err := dataplane.WatchRemovals(unix.NETLINK_ROUTE, unix.RTNLGRP_TC, removed, func() { e.restore(c) })
	if err != nil {
		c.nl.Close()
		return nil, fmt.Errorf("watch tc filters: %w", err)
	}
	return func() error {
		defer c.nl.Close()
		return end()
	}, nil
}

func (e *Engine) restore(c clsact) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return
	}
	for _, h := range tcHooks {
		there, err := c.attached(h)
		if there && err == nil {
			continue
		}
		var added bool
		if err == nil {
			added, err = c.addQdisc()
		}
		if added {
			e.control.words().Clsact = clsactIsOurs
		}
		if err == nil {
			err = c.attach(h, e.objects.collection.Programs[h.name])
		}
		switch {
		case errors.Is(err, unix.ENODEV): // the interface is gone, which the agent notices
		case err != nil && !e.bared:
			e.bared = true
			e.log.Error("the tc filter that keeps the VIPs from the kernel is gone, and cannot be put back: restart nlbd", "filter", h.name, "error", err)
		case err == nil:
			e.bared = false
			e.log.Warn("somebody removed the tc filter that keeps the VIPs from the kernel; it is put back", "filter", h.name, "interface", e.device.name)
		}
	}
}
