package ebpf

import (
	"encoding/binary"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/opennlb/opennlb/portrules/frames"
)

// wire sends real frames to the interface under test, through its peer, and sees
// what the kernel makes of them.
type wire struct {
	t        *testing.T
	mac      net.HardwareAddr // of the interface
	raw      int              // packet socket on the peer
	ifindex  int
	received *net.UDPConn
	sequence uint32
}

const probePort = 53

var testClient = netip.AddrPortFrom(frames.Client, frames.ClientPort)

// newWire gives the interface its dedicated address, the host the VIP, and the
// client a route.
func newWire(t *testing.T) *wire {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	l, err := netlink.LinkByName(testInterface)
	must(err)
	peer, err := netlink.LinkByName(testPeer)
	must(err)
	lo, err := netlink.LinkByName("lo")
	must(err)
	parse := func(s string) *netlink.Addr {
		a, err := netlink.ParseAddr(s)
		must(err)
		return a
	}
	must(netlink.AddrAdd(l, parse(frames.Own4.String()+"/24")))
	if has, err := netlink.AddrList(lo, netlink.FAMILY_V4); err == nil && len(has) < 2 {
		must(netlink.AddrAdd(lo, parse(frames.VIP4.String()+"/32")))
	}
	must(netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: parse("198.51.100.0/24").IPNet, Scope: netlink.SCOPE_LINK}))

	w := &wire{t: t, mac: l.Attrs().HardwareAddr, ifindex: peer.Attrs().Index}
	w.raw, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	must(err)
	w.received, err = net.ListenUDP("udp4", &net.UDPAddr{Port: probePort})
	must(err)
	t.Cleanup(w.close)
	return w
}

func (w *wire) close() {
	if w.raw >= 0 {
		unix.Close(w.raw)
		w.received.Close()
		w.raw = -1
	}
}

// answers sends a datagram to the VIP under the cluster MAC.
func (w *wire) answers() bool {
	w.t.Helper()
	return w.hears(w.send(frames.VIP4, frames.ClusterMAC[:]))
}

// hears says whether a datagram that was sent arrives. One to the dedicated address must,
// and as they keep their order, the former has arrived before or never will.
func (w *wire) hears(vip uint32) bool {
	w.t.Helper()
	dedicated := w.send(frames.Own4, w.mac)
	answered := false
	buf := make([]byte, 64)
	for {
		w.received.SetReadDeadline(time.Now().Add(5 * time.Second))
		n, err := w.received.Read(buf)
		if err != nil {
			w.t.Fatalf("dedicated traffic does not pass: %v", err)
		}
		switch number := binary.BigEndian.Uint32(buf[:n]); {
		case number == vip:
			answered = true
		case number == dedicated:
			return answered
		}
	}
}

func (w *wire) send(to netip.Addr, mac net.HardwareAddr, tags ...byte) uint32 {
	w.t.Helper()
	w.sequence++
	frame := frames.Frame(testClient.Addr(), to, 17, frames.UDP(testClient, netip.AddrPortFrom(to, probePort), binary.BigEndian.AppendUint32(nil, w.sequence)))
	copy(frame, mac)
	w.put(slices.Insert(frame, 12, tags...))
	return w.sequence
}

// put sends a frame as it is.
func (w *wire) put(frame []byte) {
	w.t.Helper()
	if err := unix.Sendto(w.raw, frame, 0, &unix.SockaddrLinklayer{Ifindex: w.ifindex}); err != nil {
		w.t.Fatal(err)
	}
}

func vipPort(port uint16) netip.AddrPort { return netip.AddrPortFrom(frames.VIP4, port) }

// flood sends to the VIP under the interface's own MAC, which the kernel takes
// unless a program keeps it away, until stop is closed. It returns what arrived.
func (w *wire) flood(stop <-chan struct{}) (sent, arrived int) {
	const port = probePort + 1
	received, err := net.ListenUDP("udp4", &net.UDPAddr{Port: port})
	if err != nil {
		w.t.Error(err)
		return
	}
	defer received.Close()
	frame := frames.Frame(testClient.Addr(), frames.VIP4, 17, frames.UDP(testClient, vipPort(port), nil))
	copy(frame, w.mac)
	for {
		select {
		case <-stop:
			if sent >= 10 {
				return sent, arrived
			}
		default:
		}
		if err := unix.Sendto(w.raw, frame, 0, &unix.SockaddrLinklayer{Ifindex: w.ifindex}); err != nil {
			w.t.Error(err)
			return
		}
		sent++
		received.SetReadDeadline(time.Now().Add(50 * time.Microsecond))
		if _, err := received.Read(make([]byte, 1)); err == nil {
			arrived++
		}
	}
}

// background floods until the returned function is called, which reports the
// result. The socket must be made on a thread of this namespace, so it moves the
// caller's namespace along.
func (w *wire) background() (end func() (sent, arrived int)) {
	ns, err := netns.Get()
	if err != nil {
		w.t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan [2]int, 1)
	go func() {
		runtime.LockOSThread() // the thread dies with the goroutine
		defer ns.Close()
		if err := netns.Set(ns); err != nil {
			w.t.Error(err)
		}
		sent, arrived := w.flood(stop)
		done <- [2]int{sent, arrived}
	}()
	return func() (int, int) {
		close(stop)
		n := <-done
		return n[0], n[1]
	}
}
