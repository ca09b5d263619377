package afpacket

import (
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/opennlb/opennlb/dataplane"
	"github.com/opennlb/opennlb/dataplane/enginetest"
	"github.com/opennlb/opennlb/portrules/frames"
)

// A recorded capture of 100,000 frames is judged as portrules.Decide does, which the
// eBPF programs agree with in tests of their own. Now and then a policy is installed
// between two frames that are judged together, later.
func TestCapture(t *testing.T) {
	const total, policies = 100_000, 200
	file := filepath.Join(t.TempDir(), "frames.pcap")
	rng := rand.New(rand.NewPCG(5, 100_000))
	ref := newReference()
	j := newJudge(frames.Self, frames.BeaconKey, ref.hasSocket)
	j.lease.Store(math.MaxInt64)
	f, err := os.Create(file)
	enginetest.Must(t, err)
	w := pcapgo.NewWriterNanos(f)
	enginetest.Must(t, w.WriteFileHeader(1<<16, layers.LinkTypeEthernet))

	start := time.Unix(1_700_000_000, 0)
	at := func(n int) time.Time { return start.Add(time.Duration(n) * time.Microsecond) }
	var want []verdict
	p := frames.RandomPolicy(rng)
	for n := range total {
		if n%(total/policies) == 0 {
			p = frames.RandomPolicy(rng)
			p.Epoch = uint64(n+1)<<31 - 1
			ref.policy = p
			j.install(p, everyID(), moment{real: at(n).UnixNano(), monotonic: 1})
		}
		frame := frames.Random(rng, p)
		if len(frame) >= 14 && rng.IntN(32) == 0 {
			frame = frames.Tagged(rng, frame)
		}
		enginetest.Must(t, w.WritePacket(gopacket.CaptureInfo{Timestamp: at(n), CaptureLength: len(frame), Length: len(frame)}, frame))
		d := ref.decide(frame)
		want = append(want, verdict{d.Verdict.String(), d.Reason.String(), d.Rule})
	}
	enginetest.Must(t, f.Close())

	f, err = os.Open(file)
	enginetest.Must(t, err)
	defer f.Close()
	r, err := pcapgo.NewReader(f)
	enginetest.Must(t, err)
	for n := 0; ; n++ {
		frame, info, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) {
			break
		}
		enginetest.Must(t, err)
		d := j.decide(frame, info.Timestamp.UnixNano(), dataplane.Instant(time.Second))
		if got := (verdict{d.Verdict.String(), d.Reason.String(), d.Rule}); got != want[n] {
			t.Fatalf("frame %d: got %v, want %v\n% x", n, got, want[n], frame)
		}
	}
	ref.compare(t, j)
}

type verdict struct {
	verdict, reason string
	rule            int
}
