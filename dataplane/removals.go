package dataplane

import (
	"errors"
	"slices"
	"syscall"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// lookEvery is how soon a loss is noticed that the kernel did not tell of, and how soon it is
// tried again to make it good.
const lookEvery = time.Second

// WatchRemovals calls look when the kernel tells a netlink group (NETLINK_…) of this network
// namespace that something was removed, by the types of such messages, and every second. It
// is for what engines have put into the kernel and others may take away. Stop returns when
// look will not be called again; its error is always nil.
func WatchRemovals(protocol int, group uint, types []uint16, look func()) (stop func() error, err error) {
	socket, err := nl.Subscribe(protocol, group)
	if err != nil {
		return nil, err
	}
	wait := unix.NsecToTimeval(int64(lookEvery))
	if err := socket.SetReceiveTimeout(&wait); err != nil {
		socket.Close()
		return nil, err
	}
	stopping, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for awaitRemoval(socket, types, stopping) {
			look()
		}
	}()
	return func() error {
		close(stopping)
		socket.Close()
		<-ended
		return nil
	}, nil
}

// awaitRemoval returns false once it is to stop. No error of the socket ends the watch.
func awaitRemoval(socket *nl.NetlinkSocket, types []uint16, stopping <-chan struct{}) bool {
	for {
		messages, _, err := socket.Receive()
		switch {
		case err == nil:
			if !slices.ContainsFunc(messages, func(m syscall.NetlinkMessage) bool { return slices.Contains(types, m.Header.Type) }) {
				continue
			}
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOBUFS): // none came; some are lost
		default: // closed, or what makes no sense
			select {
			case <-stopping:
			case <-time.After(lookEvery):
			}
		}
		select {
		case <-stopping:
			return false
		default:
			return true
		}
	}
}
