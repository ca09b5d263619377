package afpacket

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// lock makes this process the only one in the network namespace to use a name, until
// unlock or its death. It works for a frozen owner too: that one still holds it.
func lock(name string) (unlock func() error, err error) {
	l, err := net.Listen("unix", "@"+name)
	if errors.Is(err, unix.EADDRINUSE) {
		if !isAgents(name) {
			return func() error { return nil }, nil
		}
		return nil, fmt.Errorf("data plane %s is in use: another nlbd runs this member of this cluster; stop it, or give this one another name", name)
	}
	if err != nil {
		return nil, fmt.Errorf("lock data plane %s: %w", name, err)
	}
	return l.Close, nil
}

// isAgents reports whether who holds a name may run an engine. Any user of the host can
// take one (unix(7), abstract sockets), and must not keep the agent from its start by that.
func isAgents(name string) bool {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: "@" + name, Net: "unix"})
	if err != nil {
		return !errors.Is(err, unix.ECONNREFUSED) // an agent listens
	}
	defer conn.Close()
	raw, err := conn.SyscallConn()
	if err != nil {
		return true
	}
	var peer *unix.Ucred
	failed := raw.Control(func(fd uintptr) { peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if errors.Join(failed, err) != nil {
		return true
	}
	return peer.Uid == 0 || int(peer.Uid) == os.Geteuid()
}
