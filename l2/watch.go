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
		err = w.next()
	}
}

// next waits for a change. What the message tells is not taken from it: one that was queued
// before others found no room (ENOBUFS) is older than they, so the last one received need not
// be the last change.
func (w *watcher) next() error {
	if _, _, err := w.socket.Receive(); err != nil && !errors.Is(err, unix.ENOBUFS) {
		return err
	}
	return w.look()
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

func present(a *netlink.LinkAttrs) LinkEvent {
	const running = unix.IFF_UP | unix.IFF_LOWER_UP
	return LinkEvent{Present: true, Up: a.RawFlags&running == running, Index: a.Index, MAC: a.HardwareAddr}
}

func sameEvent(a, b LinkEvent) bool {
	return a.Present == b.Present && a.Up == b.Up && a.Index == b.Index && a.MAC.String() == b.MAC.String()
}
