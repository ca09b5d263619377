package membership

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// A member that is not healthy is declared dead like one that crashed, does
// not believe the others dead, and comes back when it is healthy again.
func TestUnhealthy(t *testing.T) {
	for _, c := range []struct {
		length time.Duration
		loss   float64 // when it is healthy again
	}{{2 * time.Second, 0}, {time.Minute, 0}, {2 * time.Second, 0.4}} {
		bubble(t, func(t *testing.T, seg *segment) {
			var sick atomic.Bool
			all := []*Membership{start(t, seg, testOptions(1)), start(t, seg, testOptions(2))}
			o := testOptions(3)
			o.Healthy = func() bool { return !sick.Load() }
			all = append(all, start(t, seg, o))
			eventually(t, time.Second, "all know all", func() bool { return agree(all) })
			<-all[2].Snapshots()

			sick.Store(true)
			all[0].Send("n03", []byte("x"), false)
			all[0].Send("n03", []byte("x"), true)
			took := eventually(t, 1500*time.Millisecond, "the others drop it", func() bool { return agree(all[:2]) })
			if earliest := (Timing{}).EarliestDeath(3); took < earliest {
				t.Errorf("dropped after %v, before EarliestDeath %v", took, earliest)
			}
			time.Sleep(c.length)
			if !slices.Equal(names(all[2]), []string{"n01", "n02", "n03"}) {
				t.Errorf("the deaf member sees %v", names(all[2]))
			}
			if !agree(all[:2]) {
				t.Error("it came back while deaf")
			}
			seg.lose(c.loss)
			sick.Store(false)
			took = eventually(t, 2*time.Second, "all know all again", func() bool { return agree(all) })
			t.Logf("deaf for %v, then loss %v: back after %v", c.length, c.loss, took)
			time.Sleep(5 * time.Second)
			if !agree(all) {
				t.Error("did not stay")
			}
			if all[2].Stats().Deaf == 0 {
				t.Error("not counted")
			}
			if len(all[2].Messages()) > 0 {
				t.Error("it heard a message")
			}
			select {
			case s := <-all[2].Snapshots():
				t.Errorf("it was shown %v meanwhile", s)
			default:
			}
		})
	}
}

// A pause shorter than EarliestDeath kills nobody.
func TestShortPause(t *testing.T) {
	bubble(t, func(t *testing.T, seg *segment) {
		var sick atomic.Bool
		all := []*Membership{start(t, seg, testOptions(1)), start(t, seg, testOptions(2))}
		o := testOptions(3)
		o.Healthy = func() bool { return !sick.Load() }
		all = append(all, start(t, seg, o))
		eventually(t, time.Second, "all know all", func() bool { return agree(all) })
		undisturbed(t, all)
		for range 20 {
			sick.Store(true)
			time.Sleep(350 * time.Millisecond)
			sick.Store(false)
			time.Sleep(time.Second)
		}
	})
}

// A segment that loses every tenth datagram kills nobody.
func TestLossySegment(t *testing.T) {
	bubble(t, func(t *testing.T, seg *segment) {
		all := cluster(t, seg, 6)
		time.Sleep(time.Second)
		undisturbed(t, all)
		seg.lose(0.1)
		time.Sleep(20 * time.Second)
	})
}

// Where a firewall lets only TCP through, members join, know each other and
// stay alive.
func TestWithoutUDP(t *testing.T) {
	bubble(t, func(t *testing.T, seg *segment) {
		all := cluster(t, seg, 4)
		seg.lose(1)
		all = append(all, start(t, seg, testOptions(5)))
		if !agree(all) {
			t.Error("not all know the newcomer when Start returns")
		}
		undisturbed(t, all)
		time.Sleep(10 * time.Second)
	})
}
