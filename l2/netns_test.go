package l2

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/packet"
	"github.com/vishvananda/netns"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// patience bounds how long a test waits for the kernel; nothing takes that long.
const patience = 5 * time.Second

// segment is a bridge with hosts on it, each in its own network namespace.
type segment struct {
	t  *testing.T
	sw string // namespace of the bridge br0
}

// host is a network namespace with an interface eth0.
type host struct {
	t    *testing.T
	name string
	ns   netns.NsHandle
	mac  net.HardwareAddr
}

func newSegment(t *testing.T) *segment {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root for network namespaces")
	}
	s := &segment{t: t, sw: newNamespace(t, "sw")}
	sh(t, "ip", "-n", s.sw, "link", "add", "br0", "type", "bridge", "mcast_snooping", "1")
	sh(t, "ip", "-n", s.sw, "link", "set", "br0", "up")
	return s
}

// host plugs a new host in. Its number gives its MAC 02:aa:00:00:00:N and its
// addresses 192.0.2.N and 2001:db8::N.
func (s *segment) host(number int) *host {
	s.t.Helper()
	t := s.t
	h := &host{
		t:    t,
		name: newNamespace(t, fmt.Sprintf("h%d", number)),
		mac:  net.HardwareAddr{2, 0xaa, 0, 0, 0, byte(number)},
	}
	var err error
	if h.ns, err = netns.GetFromName(h.name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.ns.Close() })
	h.do(func() error { // addresses at once, without duplicate address detection
		return os.WriteFile("/proc/sys/net/ipv6/conf/default/accept_dad", []byte("0"), 0)
	})
	h.plug(s, number)
	return h
}

func (h *host) plug(s *segment, number int) {
	h.t.Helper()
	port := fmt.Sprintf("p%d", number)
	h.ip("link", "add", "eth0", "address", h.mac.String(), "type", "veth", "peer", "name", port, "netns", s.sw)
	sh(h.t, "ip", "-n", s.sw, "link", "set", port, "master", "br0", "up")
	h.ip("link", "set", "eth0", "up")
	h.ip("addr", "add", fmt.Sprintf("192.0.2.%d/24", number), "dev", "eth0")
	h.ip("addr", "add", fmt.Sprintf("2001:db8::%x/64", number), "dev", "eth0", "nodad")
	h.settle()
}

// settle waits until the kernel uses the IPv6 addresses; "nodad" still takes it a
// moment.
func (h *host) settle() {
	h.t.Helper()
	eventually(h.t, "tentative addresses", "", func() string { return h.ip("-6", "addr", "show", "dev", "eth0", "tentative") })
}

// do runs f in the host's namespace, on a thread that ends with it.
func (h *host) do(f func() error) {
	h.t.Helper()
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread dies with the goroutine
		if err := netns.Set(h.ns); err != nil {
			result <- err
			return
		}
		result <- f()
	}()
	if err := <-result; err != nil {
		h.t.Fatalf("%s: %v", h.name, err)
	}
}

// ip runs ip(8) in the host's namespace.
func (h *host) ip(args ...string) string {
	h.t.Helper()
	return sh(h.t, append([]string{"ip", "-n", h.name}, args...)...)
}

// run runs any command in the host's namespace and returns its output, whatever
// its exit status.
func (h *host) run(args ...string) (string, error) {
	args = append([]string{"--net=" + filepath.Join("/run/netns", h.name)}, args...)
	out, err := exec.Command("nsenter", args...).CombinedOutput()
	return string(out), err
}

func (h *host) open() *Interface {
	h.t.Helper()
	var i *Interface
	h.do(func() (err error) {
		i, err = OpenInterface("eth0")
		return err
	})
	h.t.Cleanup(func() { i.Close() })
	return i
}

// respond runs a Responder on the host until the test ends.
func (h *host) respond(cfg ResponderConfig) *Responder {
	h.t.Helper()
	var r *Responder
	i := h.open()
	h.do(func() (err error) {
		r, err = OpenResponder(i, cfg)
		return err
	})
	h.t.Cleanup(func() { r.Close() })
	runUntilEnd(h.t, r.Run)
	return r
}

// runUntilEnd runs a task and, when the test ends, stops it and checks that it
// returns nil.
func runUntilEnd(t *testing.T, task func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- task(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			t.Error("Run outlasts its context")
		}
	})
}

func newNamespace(t *testing.T, what string) string {
	t.Helper()
	name := fmt.Sprintf("l2t-%d-%s", os.Getpid(), what)
	sh(t, "ip", "netns", "add", name)
	t.Cleanup(func() { sh(t, "ip", "netns", "del", name) })
	return name
}

func sh(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// tap delivers the frames that the host hears and the filter takes.
func (h *host) tap(filter []bpf.Instruction) *tap {
	h.t.Helper()
	i, raw := h.open(), must(bpf.Assemble(filter))
	p := &tap{t: h.t, frames: make(chan []byte, 1024)}
	h.do(func() error {
		conn, err := packet.Listen(i.netInterface(), packet.Raw, unix.ETH_P_ALL, &packet.Config{Filter: raw})
		if err != nil {
			return err
		}
		h.t.Cleanup(func() { conn.Close() })
		go p.read(conn)
		return nil
	})
	return p
}

type tap struct {
	t      *testing.T
	frames chan []byte
}

func (p *tap) read(conn *packet.Conn) {
	buf := make([]byte, snapLen)
	for {
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		p.frames <- slices.Clone(buf[:n])
	}
}

// await returns the next frame that matches, skipping others.
func (p *tap) await(what string, match func(frame []byte) bool) []byte {
	p.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case f := <-p.frames:
			if match(f) {
				return f
			}
		case <-timeout:
			p.t.Fatalf("never heard: %s", what)
		}
	}
}

// send puts a frame on the wire from the host.
func (h *host) send(frames ...[]byte) {
	h.t.Helper()
	i := h.open()
	h.do(func() error {
		conn, err := packet.Listen(i.netInterface(), packet.Raw, 0, nil)
		if err != nil {
			return err
		}
		defer conn.Close()
		for _, f := range frames {
			if err := send(conn, f); err != nil {
				return err
			}
		}
		return nil
	})
}

// poke makes the host's kernel resolve addr, by sending it a datagram.
func (h *host) poke(addr netip.Addr) {
	h.t.Helper()
	h.do(func() error {
		conn, err := net.Dial("udp", netip.AddrPortFrom(addr, 9).String())
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Write([]byte("poke"))
		return err
	})
}

// neighbor returns the host's neighbour cache entry for addr as "MAC STATE".
func (h *host) neighbor(addr netip.Addr) string {
	f := strings.Fields(h.ip("neigh", "show", "to", addr.String(), "dev", "eth0"))
	for n, word := range f {
		if word == "lladdr" {
			return f[n+1] + " " + f[len(f)-1]
		}
	}
	return strings.Join(f, " ")
}

// eventually waits until got returns want.
func eventually(t *testing.T, what string, want string, got func() string) {
	t.Helper()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	timeout := time.After(patience)
	for {
		last := got()
		if last == want {
			return
		}
		select {
		case <-poll.C:
		case <-timeout:
			t.Fatalf("%s: got %q, want %q", what, last, want)
		}
	}
}
