package dataplane

import (
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// An error of the socket does not end the watch; stop does.
func TestWatchOutlastsErrors(t *testing.T) {
	socket, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK)
	if err != nil {
		t.Fatal(err)
	}
	socket.Close() // every call fails
	stopping := make(chan struct{})
	if !awaitRemoval(socket, nil, stopping) {
		t.Error("an error ends the watch")
	}
	close(stopping)
	if awaitRemoval(socket, nil, stopping) {
		t.Error("the watch goes on after its end")
	}
}
