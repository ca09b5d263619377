package l2

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/opennlb/opennlb/config"
	"golang.org/x/net/bpf"
)

// fromMAC takes frames with this Ethernet source.
func fromMAC(mac []byte) []bpf.Instruction {
	word := func(b []byte) uint32 { return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3]) }
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: 6, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: word(mac), SkipTrue: 3},
		bpf.LoadAbsolute{Off: 8, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: word(mac[2:]), SkipTrue: 1},
		bpf.RetConstant{Val: snapLen},
		bpf.RetConstant{Val: 0},
	}
}

// Reports at join and at each tick, a leave message at the end; the bridge knows
// the port as a member all the while.
func TestReporter(t *testing.T) {
	s := newSegment(t)
	h, listener := s.host(1), s.host(77)
	group := IGMPGroup(vip4)
	mdb := func() string {
		return fmt.Sprint(strings.Contains(sh(t, "bridge", "-n", s.sw, "mdb", "show"), "port p1 grp "+group.String()))
	}
	heard := listener.tap(fromMAC(member))
	ticks := make(chan time.Time)
	var r *Reporter
	i := h.open()
	if err := i.AddMAC(ClusterMAC(config.IGMP, vip4)); err != nil {
		t.Fatal(err)
	}
	h.do(func() (err error) {
		r, err = OpenReporter(i, group, member)
		return err
	})
	eventually(t, "kernel membership", "true", func() string {
		return fmt.Sprint(strings.Contains(h.ip("maddr", "show", "dev", "eth0"), "inet  "+group.String()))
	})
	r.Ticks = ticks
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- r.Run(ctx) }()

	await := func(record byte) {
		t.Helper()
		for _, want := range igmpFrames(member, dedicated, group, record) {
			heard.await(fmt.Sprintf("record %d: %x", record, want), func(f []byte) bool { return bytes.Equal(f, want) })
		}
	}
	await(toExclude)
	eventually(t, "bridge's group membership", "true", mdb)
	for range 2 {
		ticks <- time.Time{}
		await(isExclude)
	}
	if err := r.Report(); err != nil {
		t.Error(err)
	}
	await(isExclude)
	cancel()
	await(toInclude)
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if out := h.ip("maddr", "show", "dev", "eth0"); strings.Contains(out, group.String()) {
		t.Errorf("the kernel is still a member:\n%s", out)
	}
	if has, err := i.HasMAC(ClusterMAC(config.IGMP, vip4)); !has || err != nil {
		t.Errorf("the cluster MAC went with the Reporter: %t, %v", has, err)
	}
	if r.SendErrors() != 0 {
		t.Errorf("%d reports not sent", r.SendErrors())
	}
}

// The bridge takes each of our reports alone for a membership, without help by
// the kernel of the host.
func TestReportsConvinceTheBridge(t *testing.T) {
	s := newSegment(t)
	h := s.host(1)
	group := IGMPGroup(vip4)
	for n, version := range []string{"IGMPv2", "IGMPv3"} {
		sh(t, "ip", "-n", s.sw, "link", "set", "br0", "type", "bridge", "mcast_igmp_version", fmt.Sprint(n+2))
		h.send(igmpFrames(member, dedicated, group, isExclude)[n])
		eventually(t, version+" report", "true", func() string {
			return fmt.Sprint(strings.Contains(sh(t, "bridge", "-n", s.sw, "mdb", "show"), "port p1 grp "+group.String()))
		})
		sh(t, "bridge", "-n", s.sw, "mdb", "del", "dev", "br0", "port", "p1", "grp", group.String())
	}
}

// RFC 2236, section 2, and RFC 3376, section 4: never beyond the segment, and
// marked for routers to look at.
func TestReportsHaveTTL1AndRouterAlert(t *testing.T) {
	for _, f := range igmpFrames(member, dedicated, IGMPGroup(vip4), isExclude) {
		if ttl, option := f[etherLen+8], f[etherLen+20:etherLen+24]; ttl != 1 || !bytes.Equal(option, []byte{0x94, 4, 0, 0}) {
			t.Errorf("TTL %d, option %x", ttl, option)
		}
	}
}

func TestReporterRefuses(t *testing.T) {
	h := newSegment(t).host(1)
	i := h.open()
	h.do(func() error {
		if _, err := OpenReporter(i, IGMPGroup(vip4), ClusterMAC(config.IGMP, vip4)); err == nil {
			t.Error("a group address as source is accepted")
		}
		if _, err := OpenReporter(i, vip4, member); err == nil {
			t.Error("a unicast address as group is accepted")
		}
		return nil
	})
}
