package l2

import (
	"bytes"
	"errors"
	"net"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/opennlb/opennlb/config"
	"github.com/opennlb/opennlb/converge"
	"github.com/opennlb/opennlb/nlbhash"
)

func (h *host) openBeacon(source, cluster net.HardwareAddr) *BeaconSender {
	h.t.Helper()
	var b *BeaconSender
	i := h.open()
	h.do(func() (err error) {
		b, err = OpenBeacon(i, source, cluster)
		return err
	})
	h.t.Cleanup(func() { b.Close() })
	return b
}

// A beacon reaches the other hosts under the cluster MAC of every mode, from the
// member's address, and its bytes unchanged.
func TestBeacon(t *testing.T) {
	s := newSegment(t)
	h, listener := s.host(1), s.host(77)
	heard := listener.tap([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 12, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: converge.BeaconEtherType, SkipTrue: 1},
		bpf.RetConstant{Val: snapLen},
		bpf.RetConstant{Val: 0},
	})
	any := func([]byte) bool { return true }
	for seq, mode := range []config.Mode{config.Unicast, config.Multicast, config.IGMP} {
		cluster := ClusterMAC(mode, vip4)
		b := h.openBeacon(member, cluster)
		payload := converge.AppendBeacon(nil, nlbhash.Key{1}, converge.Beacon{Seq: uint64(seq), Epoch: converge.Epoch{By: 1}})
		want := bytes.Join([][]byte{cluster, member, {0x88, 0xb5}, payload}, nil)
		for range 2 { // the header is not overwritten
			if err := b.Send(payload); err != nil {
				t.Fatal(err)
			}
			if got := heard.await("beacon", any); !bytes.Equal(got, want) {
				t.Errorf("%v: heard\n%x, want\n%x", mode, got, want)
			}
		}
	}
}

// An interface that is down costs beacons, not the sender.
func TestBeaconOutlastsLinkDown(t *testing.T) {
	h := newSegment(t).host(1)
	b := h.openBeacon(member, ClusterMAC(config.Unicast, vip4))
	h.ip("link", "set", "eth0", "down")
	if err := b.Send(make([]byte, converge.BeaconSize)); !errors.Is(err, unix.ENETDOWN) {
		t.Errorf("sent on an interface that is down: %v", err)
	}
	h.ip("link", "set", "eth0", "up")
	if err := b.Send(make([]byte, converge.BeaconSize)); err != nil {
		t.Error(err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if err := b.Send(make([]byte, converge.BeaconSize)); err == nil {
		t.Error("sent on a closed socket")
	}
}

// A full queue does not make the agent wait.
func TestBeaconDoesNotWait(t *testing.T) {
	h := newSegment(t).host(1)
	b := h.openBeacon(member, ClusterMAC(config.Unicast, vip4))
	// After the first frame, one leaves the queue in some minutes; it has room for more
	// than the socket sends ahead.
	sh(t, "tc", "-n", h.name, "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", "8bit", "burst", "2000", "limit", "1000000")
	for range 100_000 {
		err := b.Send(make([]byte, 1400))
		if errors.Is(err, unix.EAGAIN) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Error("the queue is never full")
}

func TestBeaconRefuses(t *testing.T) {
	h := newSegment(t).host(1)
	i := h.open()
	cluster := ClusterMAC(config.Unicast, vip4)
	h.do(func() error {
		for _, tt := range []struct{ source, cluster net.HardwareAddr }{
			{cluster, cluster},
			{ClusterMAC(config.Multicast, vip4), cluster},
			{nil, cluster},
			{member, nil},
		} {
			if _, err := OpenBeacon(i, tt.source, tt.cluster); err == nil {
				t.Errorf("from %v to %v is accepted", tt.source, tt.cluster)
			}
		}
		return nil
	})
}
