package afpacket

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/opennlb/opennlb/dataplane/enginetest"
	"github.com/opennlb/opennlb/portrules/frames"
)

// wire sends real frames to the interface under test, through its peer, and sees
// what the kernel makes of them.
type wire struct {
	t        testing.TB
	mac      net.HardwareAddr // of the interface
	raw      int              // packet socket on the peer
	ifindex  int
	lo       netlink.Link
	route    *netlink.Route // to the client
	received *net.UDPConn
	sequence uint32
}

const probePort = 53

var testClient = netip.AddrPortFrom(frames.Client, frames.ClientPort)

// newWire gives the interface its dedicated address, the host the VIP, and the
// client a route.
func newWire(t testing.TB) *wire {
	t.Helper()
	l, err := netlink.LinkByName(testInterface)
	enginetest.Must(t, err)
	peer, err := netlink.LinkByName(testPeer)
	enginetest.Must(t, err)
	lo, err := netlink.LinkByName("lo")
	enginetest.Must(t, err)
	parse := func(s string) *netlink.Addr {
		a, err := netlink.ParseAddr(s)
		enginetest.Must(t, err)
		return a
	}
	enginetest.Must(t, netlink.AddrAdd(l, parse(frames.Own4.String()+"/24")))
	enginetest.Must(t, netlink.AddrReplace(lo, parse(frames.VIP4.String()+"/32")))
	w := &wire{t: t, mac: l.Attrs().HardwareAddr, ifindex: peer.Attrs().Index, lo: lo}
	w.route = &netlink.Route{LinkIndex: l.Attrs().Index, Dst: parse("198.51.100.0/24").IPNet, Scope: netlink.SCOPE_LINK}
	enginetest.Must(t, netlink.RouteAdd(w.route))
	w.raw, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	enginetest.Must(t, err)
	w.received, err = net.ListenUDP("udp4", &net.UDPAddr{Port: probePort})
	enginetest.Must(t, err)
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

// answers sends a datagram to the VIP under the cluster MAC, and says whether the
// kernel takes it within the time an engine needs.
func (w *wire) answers() bool {
	w.t.Helper()
	number := w.send(frames.VIP4, frames.ClusterMAC[:])
	return w.hears(number, 300*time.Millisecond)
}

// dedicated wants a datagram to the host's own address taken.
func (w *wire) dedicated() {
	w.t.Helper()
	if !w.hears(w.send(frames.Own4, w.mac), 5*time.Second) {
		w.t.Error("dedicated traffic does not pass")
	}
}

func (w *wire) hears(number uint32, within time.Duration) bool {
	w.t.Helper()
	buf := make([]byte, 64)
	enginetest.Must(w.t, w.received.SetReadDeadline(time.Now().Add(within)))
	for {
		n, err := w.received.Read(buf)
		if err != nil {
			return false
		}
		if n == 4 && binary.BigEndian.Uint32(buf) == number {
			return true
		}
	}
}

func (w *wire) send(to netip.Addr, mac net.HardwareAddr, tags ...byte) uint32 {
	w.t.Helper()
	w.sequence++
	w.put(slices.Insert(w.datagram(to, mac), 12, tags...))
	return w.sequence
}

func (w *wire) datagram(to netip.Addr, mac net.HardwareAddr) []byte {
	frame := frames.Frame(testClient.Addr(), to, 17, frames.UDP(testClient, netip.AddrPortFrom(to, probePort), binary.BigEndian.AppendUint32(nil, w.sequence)))
	copy(frame, mac)
	return frame
}

// put sends a frame as it is.
func (w *wire) put(frame []byte) {
	w.t.Helper()
	enginetest.Must(w.t, unix.Sendto(w.raw, frame, 0, &unix.SockaddrLinklayer{Ifindex: w.ifindex}))
}

// flood sends to the VIP under the interface's own MAC, which the kernel takes unless
// something keeps it away, while f runs. It returns how many arrived.
func (w *wire) flood(f func()) (sent, arrived int) {
	w.t.Helper()
	const port = probePort + 1
	received, err := net.ListenUDP("udp4", &net.UDPAddr{Port: port})
	enginetest.Must(w.t, err)
	defer received.Close()
	frame := frames.Frame(testClient.Addr(), frames.VIP4, 17, frames.UDP(testClient, netip.AddrPortFrom(frames.VIP4, port), nil))
	copy(frame, w.mac)
	stop, done := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for {
			select {
			case <-stop:
				done <- n
				return
			default:
			}
			if unix.Sendto(w.raw, frame, 0, &unix.SockaddrLinklayer{Ifindex: w.ifindex}) == nil {
				n++
			}
		}
	}()
	f()
	close(stop)
	sent = <-done
	for enginetest.Must(w.t, received.SetReadDeadline(time.Now().Add(50*time.Millisecond))); ; arrived++ {
		if _, err := received.Read(make([]byte, 1)); err != nil {
			return sent, arrived
		}
	}
}
