package ebpf

import (
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/opennlb/opennlb/portrules"
	"github.com/opennlb/opennlb/portrules/frames"
)

const longLease = time.Hour

// BenchmarkDecision times the programs in the kernel where they have more to do than
// BenchmarkCost asks, or less.
func BenchmarkDecision(b *testing.B) {
	bare := bareDrop(b)
	enterNamespace(b)
	e := openEngine(b, "auto", options{})
	few := frames.Policy(nil)
	asked := frames.Policy(map[int]portrules.Flags{frames.WebTable: portrules.Residual})
	v4 := netip.AddrPortFrom(frames.Client, frames.ClientPort)
	v6 := netip.AddrPortFrom(frames.Client6, frames.ClientPort)
	forged := beacon(saying(1, withMe, 1))
	forged[len(forged)-1] ^= 1
	cases := []struct {
		name   string
		policy *portrules.Policy
		frame  []byte
	}{
		{"ipv4 tcp ack, socket asked, few rules", asked, frames.TCPFrame(v4, netip.AddrPortFrom(frames.VIP4, 80), frames.ACK)},
		{"ipv6 tcp ack, socket asked, few rules", asked, frames.TCPFrame(v6, netip.AddrPortFrom(frames.VIP6, 80), frames.ACK)},
		{"ipv4 tcp ack, owner, few rules", frames.Policy(own), frames.TCPFrame(v4, netip.AddrPortFrom(frames.VIP4, 80), frames.ACK)},
		{"ipv4 udp, client kept, few rules", frames.Policy(own), frames.UDPFrame(v4, netip.AddrPortFrom(frames.VIP4, 8000))},
		{"ipv4 udp, flow kept, few rules", frames.Policy(own), frames.UDPFrame(v4, netip.AddrPortFrom(frames.VIP4, 65535))},
		{"ipv4 not a vip", few, frames.TCPFrame(v4, netip.AddrPortFrom(frames.Own4, 80), frames.SYN)},
		{"beacon once more", few, beacon(saying(1, withMe, 1))},
		{"beacon forged", few, forged},
	}
	for _, c := range cases {
		serve(b, e, c.policy)
		for _, hook := range []hook{xdp, tcIn} {
			b.Run(hook.name+"/"+c.name, func(b *testing.B) {
				compareCost(b, e.objects.collection.Programs[hook.name], bare, c.frame)
			})
		}
	}
}

// bareDrop is the yardstick: a program that only returns XDP_DROP.
func bareDrop(b *testing.B) *ebpf.Program {
	b.Helper()
	bare, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type:         ebpf.XDP,
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()},
		License:      "Dual BSD/GPL",
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { bare.Close() })
	return bare
}

// compareCost reports, and returns, the fastest of several rounds of both programs, run in
// turn: other load on the machine only ever slows them down.
func compareCost(b *testing.B, program, bare *ebpf.Program, frame []byte) (cost, base time.Duration) {
	const packets = 50_000
	cost, base = time.Hour, time.Hour
	fastest := func(p *ebpf.Program, so time.Duration) time.Duration {
		_, took, err := p.Benchmark(frame, packets, nil)
		if err != nil {
			b.Fatal(err)
		}
		return min(so, took)
	}
	for b.Loop() {
		base = fastest(bare, base)
		cost = fastest(program, cost)
	}
	b.ReportMetric(0, "ns/op") // of a round, which says nothing
	b.ReportMetric(float64(cost.Nanoseconds()), "ns/packet")
	b.ReportMetric(float64(base.Nanoseconds()), "ns/bare-drop")
	b.ReportMetric(float64(cost)/float64(base), "ratio")
	return cost, base
}
