package lab

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opennlb/opennlb/portrules/frames"
)

func short(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// TestEveryClientReachesEveryMember uses the dedicated IPs: no nlbd takes part.
func TestEveryClientReachesEveryMember(t *testing.T) {
	l := newLab(t, Options{Members: 2, Clients: 300, IPv6: true})
	ctx := short(t)
	for _, m := range l.Members {
		if err := m.StartHTTP(80); err != nil {
			t.Fatal(err)
		}
		for _, from := range []struct {
			clients []netip.Addr
			to      netip.Addr
		}{{l.Client.Addrs, m.Addr}, {l.Client.Addrs6, m.Addr6}} {
			if len(from.clients) != 300 {
				t.Fatalf("%d client addresses", len(from.clients))
			}
			for _, src := range from.clients {
				name, err := l.Client.Ask(ctx, src, netip.AddrPortFrom(from.to, 80))
				if err != nil || name != m.Name {
					t.Fatalf("%s asked %s: %q, %v", src, from.to, name, err)
				}
			}
		}
	}
}

// TestServersSeeTheSource proves that a connection comes from the asked address.
func TestServersSeeTheSource(t *testing.T) {
	l := newLab(t, Options{Members: 1, Clients: 30})
	ctx := short(t)
	m := l.Members[0]
	listener, err := m.Listen("tcp", ":7")
	if err != nil {
		t.Fatal(err)
	}
	want := l.Client.Addrs[25]
	conn, err := l.Client.DialFrom(ctx, want, netip.AddrPortFrom(m.Addr, 7))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	peer, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	if got := netip.MustParseAddrPort(peer.RemoteAddr().String()).Addr(); got != want {
		t.Errorf("connection from %s, want %s", got, want)
	}
}

func TestEchoUDPAndPing(t *testing.T) {
	l := newLab(t, Options{Members: 1, Clients: 1})
	ctx := short(t)
	m, src := l.Members[0], l.Client.Addrs[0]
	if err := m.StartEcho(7); err != nil {
		t.Fatal(err)
	}
	if err := m.StartUDP(netip.AddrPortFrom(m.Addr, 7)); err != nil {
		t.Fatal(err)
	}
	if err := m.StartUDP(netip.AddrPortFrom(VIP, 7)); err != nil {
		t.Errorf("a server for a VIP that the host does not have yet: %v", err)
	}
	conn, err := l.Client.DialFrom(ctx, src, netip.AddrPortFrom(m.Addr, 7))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	lines := bufio.NewReader(conn)
	for _, word := range []string{"one", "two"} {
		fmt.Fprintln(conn, word)
		if line, err := lines.ReadString('\n'); line != "node1: "+word+"\n" {
			t.Errorf("echo of %s: %q, %v", word, line, err)
		}
	}
	name, err := l.Client.AskUDP(ctx, netip.AddrPortFrom(src, 0), netip.AddrPortFrom(m.Addr, 7))
	if err != nil || name != "node1" {
		t.Errorf("UDP: %q, %v", name, err)
	}
	if n, err := l.Client.Ping(ctx, src, m.Addr, 3); n != 3 || err != nil {
		t.Errorf("3 pings: %d answers, %v", n, err)
	}
	if n, err := l.Client.Ping(ctx, src, VIP, 1); n != 0 || err != nil {
		t.Errorf("ping to nobody: %d answers, %v", n, err)
	}
}

// TestDialEnds covers the ways in which a connection does not come about.
func TestDialEnds(t *testing.T) {
	l := newLab(t, Options{Members: 1, Clients: 1})
	m, src := l.Members[0], l.Client.Addrs[0]
	if _, err := l.Client.DialFrom(short(t), src, netip.AddrPortFrom(m.Addr, 9)); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("closed port: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := l.Client.DialFrom(ctx, src, netip.AddrPortFrom(VIP, 80)); err == nil || ctx.Err() == nil {
		t.Errorf("nobody there, cancelled: %v", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := l.Client.DialFrom(ctx, src, netip.AddrPortFrom(VIP, 80)); err == nil || time.Since(deadline(ctx)) > time.Second {
		t.Errorf("nobody there, deadline: %v", err)
	}
	if _, err := l.Client.DialFrom(short(t), netip.MustParseAddr("192.0.2.1"), netip.AddrPortFrom(m.Addr, 9)); err == nil {
		t.Error("dialled from an address that the host does not have")
	}
}

func deadline(ctx context.Context) time.Time { d, _ := ctx.Deadline(); return d }

// TestCounts gives the VIPs to the only member and counts SYNs and datagrams.
func TestCounts(t *testing.T) {
	l := newLab(t, Options{Members: 1, Clients: 10, IPv6: true})
	ctx := short(t)
	m := l.Members[0]
	if err := m.ip(ctx, "addr add 10.77.0.100/32 dev eth0\naddr add fd77::100/128 dev eth0"); err != nil {
		t.Fatal(err)
	}
	if err := m.StartHTTP(80); err != nil {
		t.Fatal(err)
	}
	ask := func(src, dst netip.Addr) {
		t.Helper()
		if _, err := l.Client.Ask(ctx, src, netip.AddrPortFrom(dst, 80)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 10 {
		ask(l.Client.Addrs[i], VIP)
		ask(l.Client.Addrs6[i], VIP6)
		ask(l.Client.Addrs[i], m.Addr) // not counted
	}
	if n, err := l.Switch.SYNs(ctx); n != 20 || err != nil {
		t.Errorf("%d SYNs counted, %v; want 20", n, err)
	}
	var sent uint64
	for _, to := range []struct {
		vip  netip.Addr
		from []netip.Addr
	}{{VIP, l.Client.Addrs}, {VIP6, l.Client.Addrs6}} {
		target := netip.AddrPortFrom(to.vip, 7)
		if err := m.StartUDP(target); err != nil {
			t.Fatal(err)
		}
		load, err := l.Client.StartDatagrams(DatagramOptions{Target: target, From: to.from, Every: time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		waitUntil(t, func() string {
			if load.Sent() > 30 {
				return ""
			}
			return "sending"
		})
		load.Stop()
		if load.Answered() != load.Sent() || load.Sent() < 30 {
			t.Errorf("%d datagrams to %s, %d answered", load.Sent(), to.vip, load.Answered())
		}
		sent += load.Sent()

		// Nobody listens for this answer: the client's kernel sends an error.
		deaf := netip.AddrPortFrom(to.from[0], 40007)
		if err := l.Client.ns.Do(func() error {
			raw, err := net.DialIP("ip:17", &net.IPAddr{IP: deaf.Addr().AsSlice()}, &net.IPAddr{IP: target.Addr().AsSlice()})
			if err != nil {
				return err
			}
			defer raw.Close()
			_, err = raw.Write(frames.UDP(deaf, target, []byte("datagram\n")))
			return err
		}); err != nil {
			t.Fatal(err)
		}
		sent += 2
	}
	if _, err := l.Client.AskUDP(ctx, netip.AddrPortFrom(l.Client.Addrs[0], 0), netip.AddrPortFrom(VIP, 9)); err == nil {
		t.Error("somebody answers on port 9")
	}
	if complaint := waitUntil(t, func() string {
		n, err := l.Switch.Datagrams(ctx)
		if n == sent && err == nil {
			return ""
		}
		return fmt.Sprintf("%d datagrams and errors about them counted, %v; want %d", n, err, sent)
	}); complaint != "" {
		t.Error(complaint)
	}
	if n, err := l.Switch.SYNs(ctx); n != 20 || err != nil {
		t.Errorf("%d SYNs counted after the datagrams, %v; want 20", n, err)
	}
}

func TestSwitchLearns(t *testing.T) {
	l := newLab(t, Options{Members: 2, Clients: 1})
	ctx := short(t)
	file := filepath.Join(l.Dir, "all.pcap")
	capture, err := l.Switch.Capture(ctx, file, "icmp")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range l.Members {
		if _, err := l.Client.Ping(ctx, l.Client.Addrs[0], m.Addr, 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := capture.Stop(); err != nil {
		t.Error(err)
	}
	out, err := exec.CommandContext(ctx, "tcpdump", "-enr", file).Output()
	if n := strings.Count(string(out), "ICMP echo"); n != 4 {
		t.Errorf("%d ICMP frames captured, %v; want 4", n, err)
	}
	learned, err := l.Switch.FDB(ctx)
	if err != nil {
		t.Fatal(err)
	}
	at := map[string]string{}
	for _, s := range learned {
		at[s.MAC] = s.Host
	}
	for _, h := range []*Host{l.Client.Host, l.Members[0].Host, l.Members[1].Host} {
		if at[h.MAC.String()] != h.Name {
			t.Errorf("%s learned at %q, want %q, of %v", h.MAC, at[h.MAC.String()], h.Name, learned)
		}
	}
	if len(learned) != 3 {
		t.Errorf("learned %v, want 3 stations", learned)
	}
}

func TestSwitchSnoopsGroups(t *testing.T) {
	l := newLab(t, Options{Members: 2, Clients: 1})
	ctx := short(t)
	// The kernel reports a group whose address is given to an interface.
	if err := l.Members[1].ip(ctx, "addr add 239.255.0.100/32 dev eth0 autojoin"); err != nil {
		t.Fatal(err)
	}
	joined := waitUntil(t, func() string {
		groups, err := l.Switch.MDB(ctx)
		for _, g := range groups {
			if g.MAC == "239.255.0.100" && g.Host == "node2" {
				return ""
			}
		}
		return fmt.Sprintf("groups %v, %v", groups, err)
	})
	if joined != "" {
		t.Errorf("want node2 in 239.255.0.100: %s", joined)
	}
}

func TestNamespaceForOutsideTools(t *testing.T) {
	l := newLab(t, Options{Members: 1, Clients: 1})
	out, err := exec.CommandContext(short(t), "nsenter", "--net="+l.Members[0].NetNS().Path(), "ip", "-br", "addr", "show", "eth0").Output()
	if err != nil || !strings.Contains(string(out), "10.77.0.1/24") {
		t.Errorf("nsenter: %q, %v", out, err)
	}
	if _, err := os.Stat("/proc/self/ns/net"); err != nil {
		t.Fatal(err)
	}
	self, _ := os.Readlink("/proc/self/ns/net")
	if self == fmt.Sprintf("net:[%d]", l.Members[0].ns.id) {
		t.Error("the process itself is in the member's namespace")
	}
}
