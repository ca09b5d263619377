package sockets

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/opennlb/opennlb/dataplane/enginetest"
	"github.com/opennlb/opennlb/portrules/frames"
)

// Connections to VIPs are listed, whatever the family of their socket, and nothing
// else; killed ones are reset and gone.
func TestEstablished(t *testing.T) {
	enginetest.EnterNamespace(t)
	enginetest.OwnEverything(t)
	vips := []netip.Addr{frames.VIP4, frames.VIP6}
	dual, err := net.ListenTCP("tcp", &net.TCPAddr{Port: 80}) // takes IPv4 on an IPv6 socket
	if err != nil {
		t.Fatal(err)
	}
	defer dual.Close()
	v4, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: frames.VIP4.AsSlice(), Port: 81})
	if err != nil {
		t.Fatal(err)
	}
	defer v4.Close()
	only, err := bound("lo").Listen(t.Context(), "tcp", ":82")
	if err != nil {
		t.Fatal(err)
	}
	defer only.Close()

	type pair struct{ client, server *net.TCPConn }
	dial := func(l *net.TCPListener, from, to netip.AddrPort) pair {
		t.Helper()
		client, err := net.DialTCP("tcp", net.TCPAddrFromAddrPort(from), net.TCPAddrFromAddrPort(to))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Close() })
		server, err := l.AcceptTCP()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { server.Close() })
		return pair{client, server}
	}
	at := netip.AddrPortFrom
	want := map[Conn]pair{}
	for _, c := range []struct {
		l        *net.TCPListener
		from, to netip.AddrPort
		bound    uint32
	}{
		{dual, at(frames.Client, 1001), at(frames.VIP4, 80), 0},
		{dual, at(frames.Client6, 1002), at(frames.VIP6, 80), 0},
		{v4, at(frames.Client, 1003), at(frames.VIP4, 81), 0},
		{only.(*net.TCPListener), at(frames.Client, 1008), at(frames.VIP4, 82), loopback},
		{only.(*net.TCPListener), at(frames.Client6, 1009), at(frames.VIP6, 82), loopback},
	} {
		want[Conn{Local: c.to, Remote: c.from, State: 1, Interface: c.bound}] = dial(c.l, c.from, c.to)
	}
	dial(dual, at(frames.Client, 1004), at(frames.Own4, 80)) // not a VIP
	over := dial(dual, at(frames.Client, 1005), at(frames.VIP4, 80))
	over.server.Close() // first, so it goes to TIME_WAIT
	over.client.Close()
	half := dial(dual, at(frames.Client, 1007), at(frames.VIP4, 80))
	half.server.Close() // and the client never does: TIME_WAIT that calls itself FIN_WAIT2
	enginetest.AwaitEnd(t, half.client)

	check := func() (got []Conn) {
		t.Helper()
		var err error
		got, err = Established(vips)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range got {
			c.Cookie = 0
			if _, ok := want[c]; !ok {
				t.Errorf("%+v listed", c)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%d connections, want %d", len(got), len(want))
		}
		return got
	}
	for _, c := range check() {
		for range 2 {
			if err := Kill(c); err != nil {
				t.Errorf("kill %+v: %v", c, err)
			}
		}
		c.Cookie = 0
		enginetest.Must(t, want[c].client.SetReadDeadline(time.Now().Add(5*time.Second)))
		if _, err := want[c].client.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
			t.Errorf("client of killed %+v: %v, want reset", c, err)
		}
		delete(want, c)
		check()
	}
	dial(dual, at(frames.Client, 1006), at(frames.VIP4, 80)) // the listener lives
}
