package afpacket

import (
	"math"
	"net/netip"
	"testing"
	"time"

	"github.com/opennlb/opennlb/dataplane/enginetest"
	"github.com/opennlb/opennlb/portrules"
	"github.com/opennlb/opennlb/portrules/frames"
)

// The decision alone, with the look at the clock.
func BenchmarkDecide(b *testing.B) {
	j := newJudge(frames.Self, frames.BeaconKey, func(portrules.Flow) bool { return false })
	j.install(frames.Policy(nil), nil, moment{})
	j.lease.Store(math.MaxInt64)
	frame := frames.TCPFrame(testClient, netip.AddrPortFrom(frames.VIP4, 443), frames.SYN)
	now := newClock()
	b.ReportAllocs()
	for b.Loop() {
		j.decide(frame, 0, now())
	}
}

// Frames through the kernel and the engine, sender and receiver on one machine: per
// frame sent, and the share that the ring had no room for.
func BenchmarkFrames(b *testing.B) {
	for _, tt := range []struct {
		name  string
		flags map[int]portrules.Flags
	}{{"none", nil}, {"drop", map[int]portrules.Flags{}}, {"accept", own}} {
		b.Run(tt.name, func(b *testing.B) {
			enterNamespace(b)
			w := newWire(b)
			counted := func() (n uint64) { return uint64(b.N) }
			if tt.flags != nil {
				e := openEngine(b)
				serve(b, e, frames.Policy(tt.flags))
				counted = func() (n uint64) {
					all, err := e.Counters()
					enginetest.Must(b, err)
					for _, c := range all {
						n += c.Packets
					}
					return n
				}
			}
			frame := frames.UDPFrame(testClient, netip.AddrPortFrom(frames.VIP4, probePort+1))
			b.ResetTimer()
			for range b.N {
				w.put(frame)
			}
			var n, last uint64
			for n = counted(); n < uint64(b.N) && n != last; n = counted() {
				last = n
				time.Sleep(20 * time.Millisecond)
			}
			b.ReportMetric(100*(1-float64(n)/float64(b.N)), "%lost")
		})
	}
}
