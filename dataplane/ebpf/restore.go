package ebpf

import (
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// restoreEvery is how soon filters are put back of whose loss nothing was heard.
const restoreEvery = time.Second

// watchFilters puts the filters back when somebody removes them, most likely with the whole
// qdisc (tc qdisc del dev IF clsact), which other users of eBPF take for theirs. Without them
// every member's kernel answers ARP for the VIPs. Links, which are used from Linux 6.6 on, stay.
func (e *Engine) watchFilters(c clsact) (stop func() error, err error) {
	socket, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_TC)
	if err != nil {
		return nil, fmt.Errorf("watch tc filters: %w", err)
	}
	if c.nl, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil { // of this network namespace
		socket.Close()
		return nil, fmt.Errorf("watch tc filters: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for e.awaitLoss(socket) {
			e.restore(c)
		}
	}()
	return func() error {
		socket.Close()
		<-ended
		c.nl.Close()
		return nil
	}, nil
}

// awaitLoss waits until a filter or qdisc was removed, or for a second. It returns false when the
// socket is closed.
func (e *Engine) awaitLoss(socket *nl.NetlinkSocket) bool {
	wait := unix.NsecToTimeval(int64(restoreEvery))
	for socket.SetReceiveTimeout(&wait) == nil {
		messages, _, err := socket.Receive()
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ENOBUFS) { // none came; some are lost
			return true
		}
		if err != nil {
			return false
		}
		for _, m := range messages {
			if m.Header.Type == unix.RTM_DELQDISC || m.Header.Type == unix.RTM_DELTFILTER {
				return true
			}
		}
	}
	return false
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
		case err != nil:
			e.log.Error("the tc filter that keeps the VIPs from the kernel is gone, and cannot be put back: restart nlbd", "filter", h.name, "error", err)
		default:
			e.log.Warn("somebody removed the tc filter that keeps the VIPs from the kernel; it is put back", "filter", h.name, "interface", e.device.name)
		}
	}
}
