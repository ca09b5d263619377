package afpacket

import (
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// restoreEvery is how soon the table is put up again where that did not succeed at once.
const restoreEvery = time.Second

// watchGuard puts the table up again when somebody removes it: `nft flush ruleset`, with which
// the files of most distributions begin (systemctl restart nftables), takes everybody's
// tables. Without ours, every member's kernel answers ARP for the VIPs.
func (e *Engine) watchGuard() (stop func() error, err error) {
	socket, err := nl.Subscribe(unix.NETLINK_NETFILTER, unix.NFNLGRP_NFTABLES)
	if err != nil {
		return nil, fmt.Errorf("watch nftables: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for e.restoreGuard(socket) {
		}
	}()
	return func() error {
		socket.Close()
		<-ended
		return nil
	}, nil
}

// restoreGuard waits for a change of nftables, or for a second, and looks whether the table is there.
// It returns false when the socket is closed.
func (e *Engine) restoreGuard(socket *nl.NetlinkSocket) bool {
	wait := unix.NsecToTimeval(int64(restoreEvery))
	if err := socket.SetReceiveTimeout(&wait); err != nil {
		return false
	}
	messages, _, err := socket.Receive()
	switch {
	case errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.EAGAIN): // some are lost; none came
	case err != nil:
		return false
	default:
		gone := false
		for _, m := range messages {
			gone = gone || m.Header.Type == unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_DELTABLE
		}
		if !gone {
			return true
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return true
	}
	restored, err := e.guard.restore()
	was := e.bared
	e.bared = err != nil
	switch {
	case err != nil && !was:
		e.log.Error("the table of nftables that keeps the VIPs from the kernel is gone, and cannot be put up again: restart nlbd", "error", err)
	case restored:
		e.log.Warn("somebody removed the table of nftables that keeps the VIPs from the kernel; it is put up again",
			"table", e.guard.table.Name, "hint", "flush your own tables, not the whole ruleset")
	}
	return true
}
