package ebpf

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/opennlb/opennlb/dataplane/enginetest"
	"github.com/opennlb/opennlb/portrules"
	"github.com/opennlb/opennlb/portrules/frames"
)

// A listener that is flooded with SYNs keeps no socket for a connection before the
// client's cookie comes back. In a bucket in which others have connections, too, that
// segment goes to the member that gave the cookie, and no other segment does.
func TestSYNCookies(t *testing.T) {
	for _, kind := range []string{"tc", "auto"} {
		func() { // not a test of its own, which would run on a thread elsewhere
			enterNamespace(t)
			w := newWire(t)
			defer w.close()
			setup := testSetup(t, kind)
			setup.Member += kind // whose pins stay until the test is over
			e := openSetup(t, setup, options{})
			p := frames.Policy(nil)
			for i := range p.Tables {
				for b := range p.Tables[i] {
					p.Tables[i][b] = portrules.Own | portrules.Foreign
				}
			}
			serve(t, e, p)
			enginetest.Must(t, os.WriteFile("/proc/sys/net/ipv4/tcp_syncookies", []byte("2"), 0)) // always
			l, err := netlink.LinkByName(testInterface)
			enginetest.Must(t, err)
			lo, err := netlink.LinkByName("lo")
			enginetest.Must(t, err)
			enginetest.Must(t, netlink.AddrAdd(lo, &netlink.Addr{IPNet: netlink.NewIPNet(frames.VIP6.AsSlice())}))
			enginetest.Must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: netlink.NewIPNet(frames.Client6.AsSlice())}))
			for _, client := range []netip.Addr{frames.Client, frames.Client6} {
				enginetest.Must(t, netlink.NeighAdd(&netlink.Neigh{LinkIndex: l.Attrs().Index, IP: client.AsSlice(), HardwareAddr: frames.ClientMAC[:], State: netlink.NUD_PERMANENT}))
			}
			for _, ends := range [][2]netip.AddrPort{
				{testClient, vipPort(22)},
				{netip.AddrPortFrom(frames.Client6, 40001), netip.AddrPortFrom(frames.VIP6, 22)},
			} {
				w.shakeHands(kind, ends[0], ends[1])
			}
		}()
	}
}

// shakeHands makes a connection of which the server knows nothing before the last segment.
func (w *wire) shakeHands(kind string, client, server netip.AddrPort) {
	t := w.t
	t.Helper()
	listener, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(server))
	enginetest.Must(t, err)
	defer listener.Close()
	answers, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	enginetest.Must(t, err)
	defer unix.Close(answers)
	enginetest.Must(t, unix.Bind(answers, &unix.SockaddrLinklayer{Protocol: binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, unix.ETH_P_ALL)), Ifindex: w.ifindex}))
	patience := unix.NsecToTimeval(int64(5 * time.Second))
	enginetest.Must(t, unix.SetsockoptTimeval(answers, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience))

	send := func(flags uint8, seq, ack uint32) {
		w.put(frames.Frame(client.Addr(), server.Addr(), portrules.ProtoTCP, frames.Segment(client, server, flags, seq, ack, nil)))
	}
	send(frames.SYN, 1, 0)
	var cookie uint32
	for buf := make([]byte, 2048); cookie == 0; {
		n, _, err := unix.Recvfrom(answers, buf, 0)
		if err != nil {
			t.Fatalf("%s: no answer to the SYN of %v: %v", kind, client, err)
		}
		if p := portrules.Parse(buf[:n]); p.Protocol == portrules.ProtoTCP && p.Dst == client.Addr() {
			header := 20
			if p.Dst.Is6() {
				header = 40
			}
			cookie = binary.BigEndian.Uint32(buf[14+header+4:])
		}
	}
	accepted := func(wait time.Duration) bool {
		enginetest.Must(t, listener.SetDeadline(time.Now().Add(wait)))
		conn, err := listener.Accept()
		if err != nil {
			return false
		}
		conn.Close()
		return true
	}
	send(frames.ACK, 2, cookie+1+1<<23)
	if accepted(50 * time.Millisecond) {
		t.Errorf("%s: a segment of %v without a cookie makes a connection", kind, client)
	}
	send(frames.ACK, 2, cookie+1)
	if !accepted(2 * time.Second) {
		t.Errorf("%s: the segment of %v with the cookie makes no connection", kind, client)
	}
}
