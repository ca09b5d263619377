package l2

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// LinkEvent is the state of the watched interface after a change.
type LinkEvent struct {
	Present bool             // false: removed or renamed
	Up      bool             // administratively up and with carrier
	Index   int              // another index than before: the interface was recreated, reopen it
	MAC     net.HardwareAddr // the interface's own address
}

// Watch reports the state of the interface with this name in the current network
// namespace, and then its changes, until ctx ends or netlink fails; then the channel is
// closed. Only the latest state matters, so a slow reader misses intermediate ones.
func Watch(ctx context.Context, name string) (<-chan LinkEvent, error) {
	w, err := newWatcher(name)
	if err != nil {
		return nil, fmt.Errorf("watching interface %s: %w", name, err)
	}
	go w.run(ctx)
	return w.events, nil
}

func newWatcher(name string) (w *watcher, err error) {
	w = &watcher{name: name, events: make(chan LinkEvent, 1), last: LinkEvent{Index: -1}}
	if w.socket, err = nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK); err != nil {
		return nil, err
	}
	if w.handle, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		w.socket.Close()
		return nil, err
	}
	return w, nil
}

type watcher struct {
	name   string
	socket *nl.NetlinkSocket
	handle *netlink.Handle
	events chan LinkEvent
	last   LinkEvent // told; at first none that there is
}

func (w *watcher) run(ctx context.Context) {
	defer close(w.events)
	defer w.handle.Close()
	stop := context.AfterFunc(ctx, w.socket.Close)
	defer func() {
		if stop() {
			w.socket.Close()
		}
	}()
	err := w.look()
	for err == nil {
		err = w.receive()
	}
}

// receive waits for changes. When there were too many of them for the socket's buffer, some
// are lost, and only a look at the interface tells how it is.
func (w *watcher) receive() error {
	messages, from, err := w.socket.Receive()
	if errors.Is(err, unix.ENOBUFS) {
		return w.look()
	}
	if err != nil || from.Pid != nl.PidKernel {
		return err
	}
	for _, m := range messages {
		if m.Header.Type != unix.RTM_NEWLINK && m.Header.Type != unix.RTM_DELLINK {
			continue
		}
		header := unix.NlMsghdr(m.Header)
		link, err := netlink.LinkDeserialize(&header, m.Data)
		if err != nil {
			return err
		}
		u := netlink.LinkUpdate{IfInfomsg: *nl.DeserializeIfInfomsg(m.Data), Header: header, Link: link}
		if event, ours := linkEvent(w.name, u, w.last); ours {
			w.tell(event)
		}
	}
	return nil
}

// look asks for the present state.
func (w *watcher) look() error {
	link, err := w.handle.LinkByName(w.name)
	switch {
	case errors.As(err, new(netlink.LinkNotFoundError)):
		w.tell(LinkEvent{})
	case err != nil:
		return err
	default:
		w.tell(present(link.Attrs()))
	}
	return nil
}

// tell replaces what was not read.
func (w *watcher) tell(event LinkEvent) {
	if sameEvent(event, w.last) {
		return
	}
	w.last = event
	select {
	case <-w.events:
	default:
	}
	w.events <- event
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
	return present(a), true
}

func present(a *netlink.LinkAttrs) LinkEvent {
	const running = unix.IFF_UP | unix.IFF_LOWER_UP
	return LinkEvent{Present: true, Up: a.RawFlags&running == running, Index: a.Index, MAC: a.HardwareAddr}
}

func sameEvent(a, b LinkEvent) bool {
	return a.Present == b.Present && a.Up == b.Up && a.Index == b.Index && a.MAC.String() == b.MAC.String()
}
