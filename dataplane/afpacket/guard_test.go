package afpacket

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/opennlb/opennlb/dataplane/enginetest"
	"github.com/opennlb/opennlb/portrules"
	"github.com/opennlb/opennlb/portrules/frames"
)

// While there is no lease, the guard lets through exactly what portrules.Decide calls
// none of ours, and the answers to the kernel's own questions; the latter under the
// interface's own MAC. All that is to be counted comes through the filter of the ring.
func TestGuard(t *testing.T) {
	enterNamespace(t)
	w := newWire(t)
	e := openEngine(t)
	rng := rand.New(rand.NewPCG(3, 4))
	policies := []*portrules.Policy{frames.Policy(nil)}
	for range 20 {
		policies = append(policies, frames.RandomPolicy(rng))
	}
	vectors := frames.Vectors()
	ref := newReference()
	ref.leaseOver = true
	for n, p := range policies {
		p.Epoch = uint64(n+1)<<31 - 1
		ref.policy = p
		untilCounted(t, e, ref)
		enginetest.Must(t, e.Install(p, nil))
		k := newKernel(t)
		for i := range 300 {
			frame := frames.Random(rng, p)
			if n == 0 && i < len(vectors) {
				frame = bytes.Clone(vectors[i].Frame)
			}
			if len(frame) < 14 || !ofInterest(frame) {
				continue
			}
			if rng.IntN(20) == 0 {
				copy(frame, bytes.Repeat([]byte{0xff}, 6))
			}
			d := ref.decide(frame)
			want := frame
			switch {
			case binary.BigEndian.Uint16(frame[12:]) == portrules.EtherTypeBeacon:
				want = nil // those sockets do not see it
			case d.Reason == portrules.NeighborReply && !isBroadcast(frame):
				want = append(bytes.Clone(w.mac), frame[6:]...)
			case d.Verdict != portrules.Pass && d.Reason != portrules.NeighborReply:
				want = nil
			}
			w.put(frame)
			if got := k.seen(t, w); !bytes.Equal(got, want) {
				t.Fatalf("policy %d, %v: the kernel sees\n% x, want\n% x\nof\n% x", n, d.Reason, got, want, frame)
			}
		}
		k.close()
	}
	untilCounted(t, e, ref)
	enginetest.Must(t, e.Close()) // its goroutine has ended
	ref.compare(t, e.judge)
}

// untilCounted waits until the engine has judged all that the reference has.
func untilCounted(t *testing.T, e *Engine, ref *reference) {
	t.Helper()
	var want, got uint64
	for reason := portrules.NotVIP + 1; reason < portrules.NumReasons; reason++ {
		want += ref.reasons[reason]
	}
	for began := time.Now(); time.Since(began) < time.Second; time.Sleep(time.Millisecond) {
		got = 0
		for _, c := range e.judge.counters.read() {
			got += c.Packets
		}
		if got == want {
			return
		}
	}
	t.Fatalf("%d frames counted, want %d", got, want)
}

// A frame has as many tags of VLAN 0 as it likes; the kernel takes off only the first
// before nftables sees it.
func TestPriorityTags(t *testing.T) {
	enterNamespace(t)
	w := newWire(t)
	e := openEngine(t)
	enginetest.Must(t, e.Install(frames.Policy(own), nil)) // and no lease
	priority := []byte{0x81, 0, 0xa0, 0}
	for _, tags := range [][]byte{
		priority, bytes.Repeat(priority, 2), bytes.Repeat(priority, 3), append([]byte{0x88, 0xa8, 0, 0}, priority...), append(priority, 0x88, 0xa8, 0, 0),
	} {
		if w.hears(w.send(frames.VIP4, w.mac, tags...), 100*time.Millisecond) {
			t.Errorf("the kernel gets a frame with tags % x", tags)
		}
	}
	if !w.hears(w.send(frames.Own4, w.mac, priority...), time.Second) {
		t.Error("the kernel does not get a frame to its own address with a priority")
	}
}

// The longest lists of VIPs make no filter too long.
func TestFilterOfMany(t *testing.T) {
	for _, v4 := range []int{0, 1, 32, portrules.MaxVIPs} {
		var vips []netip.Addr
		for i := range portrules.MaxVIPs {
			if i < v4 {
				vips = append(vips, netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}))
			} else {
				vips = append(vips, netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(i)}))
			}
		}
		if _, err := frameFilter(1, vips); err != nil {
			t.Error(err)
		}
	}
}

// ofInterest says whether the kernel or the engine has something to do with a frame.
func ofInterest(frame []byte) bool {
	switch binary.BigEndian.Uint16(frame[12:]) {
	case portrules.EtherTypeARP, portrules.EtherTypeIPv4, portrules.EtherTypeIPv6, portrules.EtherTypeBeacon:
		return true
	}
	return false
}

// kernel is a packet socket behind nftables ingress, as those for one protocol are.
type kernel struct{ sockets []int }

func newKernel(t *testing.T) *kernel {
	t.Helper()
	l, err := findDevice(testInterface)
	enginetest.Must(t, err)
	k := &kernel{}
	for _, protocol := range []uint16{portrules.EtherTypeIPv4, portrules.EtherTypeIPv6, portrules.EtherTypeARP, endMark} {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		enginetest.Must(t, err)
		network := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, protocol))
		enginetest.Must(t, unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: l.index, Protocol: network}))
		k.sockets = append(k.sockets, fd)
	}
	return k
}

// endMark is the EtherType of a frame that nobody but these sockets knows.
const endMark = 0x88b6

// seen returns the frame that has arrived, nil for none. As veth keeps their order, it
// has arrived when a frame that was sent later has.
func (k *kernel) seen(t *testing.T, w *wire) (frame []byte) {
	t.Helper()
	w.put(frames.Ethernet(endMark, make([]byte, 46)))
	buf := make([]byte, 4096)
	_, _, err := unix.Recvfrom(k.sockets[3], buf, 0)
	enginetest.Must(t, err)
	for _, fd := range k.sockets[:3] {
		for {
			n, _, err := unix.Recvfrom(fd, buf, unix.MSG_DONTWAIT)
			if err != nil {
				break
			}
			if bytes.Equal(buf[6:12], frames.ClientMAC[:]) { // else a host's own, such as MLD
				frame = bytes.Clone(buf[:n])
			}
		}
	}
	return frame
}

func (k *kernel) close() {
	for _, fd := range k.sockets {
		unix.Close(fd)
	}
}
