package afpacket

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/opennlb/opennlb/dataplane"
)

// watchGuard puts the table up again when somebody removes it: `nft flush ruleset`, with which
// the files of most distributions begin (systemctl restart nftables), takes everybody's
// tables. Without ours, every member's kernel answers ARP for the VIPs.
func (e *Engine) watchGuard() (stop func() error, err error) {
	removed := []uint16{unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_DELTABLE}
	stop, err = dataplane.WatchRemovals(unix.NETLINK_NETFILTER, unix.NFNLGRP_NFTABLES, removed, e.restoreGuard)
	if err != nil {
		return nil, fmt.Errorf("watch nftables: %w", err)
	}
	return stop, nil
}

func (e *Engine) restoreGuard() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return
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
}
