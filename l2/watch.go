package l2

import (
	"context"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// LinkEvent is the state of the watched interface after a change.
type LinkEvent struct {
	Present bool             // false: removed or renamed
	Up      bool             // administratively up and with carrier
	Index   int              // another index than before: the interface was recreated, reopen it
	MAC     net.HardwareAddr // the interface's own address
}

// Watch reports changes of the interface with this name in the current network
// namespace, until ctx ends or netlink fails; then the channel is closed. Only
// the latest state matters, so a slow reader misses intermediate ones.
func Watch(ctx context.Context, name string) (<-chan LinkEvent, error) {
	updates, done := make(chan netlink.LinkUpdate), make(chan struct{})
	if err := netlink.LinkSubscribe(updates, done); err != nil {
		return nil, fmt.Errorf("watching interface %s: %w", name, err)
	}
	events := make(chan LinkEvent, 1)
	go func() {
		defer close(events)
		follow(ctx, name, updates, events)
		close(done)
		for range updates { // its sender ends only when nobody keeps it waiting
		}
	}()
	return events, nil
}

func follow(ctx context.Context, name string, updates <-chan netlink.LinkUpdate, events chan LinkEvent) {
	var last LinkEvent
	for {
		select {
		case <-ctx.Done():
			return
		case u, ok := <-updates:
			if !ok {
				return
			}
			event, ours := linkEvent(name, u, last)
			if !ours || sameEvent(event, last) {
				continue
			}
			last = event
			select { // replace what was not read
			case <-events:
			default:
			}
			events <- event
		}
	}
}

// linkEvent translates an update; ours is false when it is about another
// interface.
func linkEvent(name string, u netlink.LinkUpdate, last LinkEvent) (event LinkEvent, ours bool) {
	a := u.Attrs()
	gone := u.Header.Type == unix.RTM_DELLINK
	if a.Name != name {
		renamed := last.Present && a.Index == last.Index
		return LinkEvent{Index: a.Index}, renamed
	}
	// A bridge reports that it lost a port as a removed link too.
	if gone && u.Family == unix.AF_BRIDGE {
		return LinkEvent{}, false
	}
	if gone {
		return LinkEvent{Index: a.Index}, true
	}
	const running = unix.IFF_UP | unix.IFF_LOWER_UP
	return LinkEvent{Present: true, Up: a.RawFlags&running == running, Index: a.Index, MAC: a.HardwareAddr}, true
}

func sameEvent(a, b LinkEvent) bool {
	return a.Present == b.Present && a.Up == b.Up && a.Index == b.Index && a.MAC.String() == b.MAC.String()
}
