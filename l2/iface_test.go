package l2

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/opennlb/opennlb/config"
)

func TestOpenInterface(t *testing.T) {
	s := newSegment(t)
	h := s.host(1)
	h.ip("link", "add", "br1", "type", "bridge")
	h.ip("link", "add", "down0", "type", "veth", "peer", "name", "port0")
	h.ip("link", "set", "port0", "master", "br1", "up")
	for _, tt := range []struct{ name, want string }{
		{"eth7", "eth0"}, // lists what there is
		{"eth7", "does not exist"},
		{"lo", "not Ethernet"},
		{"down0", "ip link set down0 up"},
		{"port0", "set member.interface to br1"},
	} {
		h.do(func() error {
			_, err := OpenInterface(tt.name)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("OpenInterface(%s): %v, want %q in it", tt.name, err, tt.want)
			}
			return nil
		})
	}
	i := h.open()
	addr, err := i.Address()
	if err != nil || addr != dedicated {
		t.Errorf("address %s, %v", addr, err)
	}
	if i.MAC.String() != h.mac.String() || i.MTU != 1500 || i.Index == 0 {
		t.Errorf("opened %+v", i)
	}
	h.ip("addr", "flush", "dev", "eth0")
	if _, err := i.Address(); err == nil || !strings.Contains(err.Error(), "member.address") {
		t.Errorf("without an address: %v", err)
	}
}

func TestClusterMACIsAddedIdempotently(t *testing.T) {
	h := newSegment(t).host(1)
	before := h.fdb()
	for _, mode := range []config.Mode{config.Unicast, config.Multicast, config.IGMP} {
		mac := ClusterMAC(mode, vip4)
		for range 2 { // the second time after a restart of the agent
			i := h.open()
			if err := i.AddMAC(mac); err != nil {
				t.Fatal(err)
			}
			if len(i.held) != 0 {
				t.Errorf("%s: a socket holds the MAC, though the driver takes it", mode)
			}
			i.Close()
		}
		i := h.open()
		if has, err := i.HasMAC(mac); !has || err != nil {
			t.Errorf("%s: HasMAC = %t, %v", mode, has, err)
		}
		if !strings.Contains(h.fdb(), mac.String()+" self permanent") {
			t.Errorf("%s: not listed:\n%s", mode, h.fdb())
		}
		for range 2 {
			if err := i.RemoveMAC(mac); err != nil {
				t.Error(err)
			}
		}
		if has, err := i.HasMAC(mac); has || err != nil {
			t.Errorf("%s, removed: HasMAC = %t, %v", mode, has, err)
		}
	}
	if after := h.fdb(); after != before {
		t.Errorf("left behind:\n%s", after)
	}
	if err := h.open().AddMAC(h.mac); err == nil {
		t.Error("the interface's own MAC is accepted as cluster MAC")
	}
}

// Drivers that refuse the entry leave it to a packet socket.
func TestSocketHoldsMAC(t *testing.T) {
	h := newSegment(t).host(1)
	i := h.open()
	for _, mode := range []config.Mode{config.Unicast, config.Multicast, config.IGMP} {
		mac := ClusterMAC(mode, vip4)
		h.do(func() error {
			conn, err := holdMAC(i.netInterface(), mac)
			if err != nil {
				return err
			}
			if !strings.Contains(h.fdb(), mac.String()) {
				t.Errorf("%s: not held:\n%s", mode, h.fdb())
			}
			return conn.Close()
		})
		if strings.Contains(h.fdb(), mac.String()) {
			t.Errorf("%s: still held:\n%s", mode, h.fdb())
		}
	}
}

// A macvlan in bridge mode takes multicast MACs only, and says so.
func TestMacvlan(t *testing.T) {
	h := newSegment(t).host(1)
	h.ip("link", "add", "mv0", "link", "eth0", "type", "macvlan", "mode", "bridge")
	h.ip("link", "set", "mv0", "up")
	h.do(func() error {
		i, err := OpenInterface("mv0")
		if err != nil {
			return err
		}
		defer i.Close()
		if err := i.AddMAC(ClusterMAC(config.Unicast, vip4)); err == nil || !strings.Contains(err.Error(), "macvlan") {
			t.Errorf("unicast: %v", err)
		}
		return i.AddMAC(ClusterMAC(config.Multicast, vip4))
	})
}

// A bridge takes the cluster MAC, shows it, and gives it back.
func TestBridgeTakesMAC(t *testing.T) {
	h := newSegment(t).host(1)
	h.ip("link", "add", "br1", "type", "bridge")
	h.ip("link", "set", "br1", "up")
	var i *Interface
	h.do(func() (err error) {
		i, err = OpenInterface("br1")
		return err
	})
	defer i.Close()
	for _, mode := range []config.Mode{config.Unicast, config.Multicast, config.IGMP} {
		mac := ClusterMAC(mode, vip4)
		has := func() string { got, err := i.ListsMAC(mac); return fmt.Sprint(got, err) }
		if err := i.AddMAC(mac); err != nil {
			t.Errorf("%s: %v", mode, err)
		}
		if got := has(); got != "true <nil>" {
			t.Errorf("%s: after AddMAC: %s", mode, got)
		}
		if err := i.RemoveMAC(mac); err != nil {
			t.Errorf("%s: %v", mode, err)
		}
		if got := has(); got != "false <nil>" {
			t.Errorf("%s: after RemoveMAC: %s", mode, got)
		}
	}
}

func TestWatch(t *testing.T) {
	s := newSegment(t)
	h := s.host(1)
	old := h.open()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var events <-chan LinkEvent
	h.do(func() (err error) {
		events, err = Watch(ctx, "eth0")
		return err
	})
	await := func(what string, want func(LinkEvent) bool) {
		t.Helper()
		timeout := time.After(patience)
		for {
			select {
			case e, ok := <-events:
				if !ok {
					t.Fatalf("%s: the channel is closed", what)
				}
				if want(e) {
					return
				}
			case <-timeout:
				t.Fatalf("never: %s", what)
			}
		}
	}
	await("the beginning", func(e LinkEvent) bool { return e.Present && e.Up && e.Index == old.Index })
	h.ip("link", "set", "eth0", "down")
	await("down", func(e LinkEvent) bool { return e.Present && !e.Up && e.Index == old.Index })
	h.ip("link", "set", "eth0", "up")
	await("up", func(e LinkEvent) bool { return e.Present && e.Up && e.MAC.String() == h.mac.String() })
	sh(t, "ip", "-n", s.sw, "link", "set", "p1", "down")
	await("carrier lost", func(e LinkEvent) bool { return e.Present && !e.Up })
	h.ip("link", "del", "eth0")
	await("gone", func(e LinkEvent) bool { return !e.Present })
	h.ip("link", "add", "other0", "type", "veth", "peer", "name", "other1") // takes the index
	h.plug(s, 1)
	await("recreated", func(e LinkEvent) bool { return e.Present && e.Up && e.Index != old.Index })
	h.ip("link", "set", "eth0", "down")
	h.ip("link", "set", "eth0", "name", "lan0")
	await("renamed", func(e LinkEvent) bool { return !e.Present })
	cancel()
	for range events { // closed
	}
}

// Of more changes than the socket has room for the last are lost: the watch goes on, and tells
// how the interface is, not how it was before them.
func TestWatchOutlastsOverflow(t *testing.T) {
	const changes = 3000
	h := newSegment(t).host(1)
	var w *watcher
	h.do(func() (err error) {
		w, err = newWatcher("eth0")
		return err
	})
	defer w.handle.Close()
	defer w.socket.Close()
	var lines strings.Builder
	for n := range changes {
		fmt.Fprintf(&lines, "link set eth0 alias x%d\n", n)
	}
	lines.WriteString("link set eth0 down\n")
	batch := filepath.Join(t.TempDir(), "batch")
	if err := os.WriteFile(batch, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	h.ip("-batch", batch) // nobody reads meanwhile
	if err := w.socket.SetReceiveTimeout(&unix.Timeval{Usec: 100_000}); err != nil {
		t.Fatal(err)
	}
	received, err := 0, w.look()
	for ; err == nil; received++ {
		err = w.next()
	}
	if !errors.Is(err, unix.EAGAIN) || received >= changes {
		t.Fatalf("%v after %d messages of %d: none was lost", err, received, changes)
	}
	if e := <-w.events; !e.Present || e.Up {
		t.Errorf("the interface is down, and told as %+v", e)
	}
}

// The same interface opened from another goroutine keeps to its namespace.
func TestHandleKeepsItsNamespace(t *testing.T) {
	h := newSegment(t).host(1)
	i := h.open() // this thread is in another namespace
	if err := i.AddVIP(netip.MustParseAddr("192.0.2.200")); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(h.ip("addr", "show", "dev", "lo"), "192.0.2.200/32") {
		t.Error("the VIP is not in the host's namespace")
	}
	if addrs, err := net.InterfaceAddrs(); err != nil || strings.Contains(fmt.Sprint(addrs), "192.0.2.200") {
		t.Errorf("the VIP is in the test's namespace: %v, %v", addrs, err)
	}
}

// fdb lists the addresses that eth0 accepts beside its own.
func (h *host) fdb() string { return sh(h.t, "bridge", "-n", h.name, "fdb", "show", "dev", "eth0") }
