// Package enginetest is what the tests of the engines and of dataplane/sockets share:
// network namespaces, interfaces and addresses of their own. Nothing else imports it.
package enginetest

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Must ends the test if there is an error.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// EnterNamespace puts the rest of the test into a network namespace of its own, in which
// only lo is up. The thread stays there and dies with the test's goroutine.
func EnterNamespace(t testing.TB) netns.NsHandle {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: run with sudo")
	}
	runtime.LockOSThread()
	ns, err := netns.New()
	Must(t, err)
	t.Cleanup(func() { ns.Close() })
	setUp(t, "lo")
	return ns
}

// AddVeth makes two interfaces that are the ends of one cable, both up.
func AddVeth(t testing.TB, name, peer string) {
	t.Helper()
	Must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: peer}))
	setUp(t, name)
	setUp(t, peer)
}

func setUp(t testing.TB, name string) {
	t.Helper()
	l, err := netlink.LinkByName(name)
	Must(t, err)
	Must(t, netlink.LinkSetUp(l))
}

// OwnEverything makes all addresses local to the test's network namespace, so that
// sockets can have any two ends.
func OwnEverything(t testing.TB) {
	t.Helper()
	lo, err := netlink.LinkByName("lo")
	Must(t, err)
	for _, prefix := range []string{"0.0.0.0/0", "::/0"} {
		_, dst, err := net.ParseCIDR(prefix)
		Must(t, err)
		Must(t, netlink.RouteAdd(&netlink.Route{
			LinkIndex: lo.Attrs().Index,
			Dst:       dst,
			Type:      unix.RTN_LOCAL,
			Table:     unix.RT_TABLE_LOCAL,
			Scope:     netlink.SCOPE_HOST,
		}))
	}
	// A path in /proc/sys/net means the network namespace of the thread.
	for _, family := range []string{"ipv4", "ipv6"} {
		Must(t, os.WriteFile("/proc/sys/net/"+family+"/ip_nonlocal_bind", []byte("1"), 0))
	}
}

// AwaitEnd reads the other side's FIN and acknowledges it at once: else that may stay in
// FIN_WAIT1 for 40 ms.
func AwaitEnd(t testing.TB, conn *net.TCPConn) {
	t.Helper()
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	raw, err := conn.SyscallConn()
	Must(t, err)
	var failed error
	Must(t, raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1)
	}))
	Must(t, failed)
}
