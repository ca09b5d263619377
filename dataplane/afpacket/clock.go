package afpacket

import (
	"time"

	"github.com/opennlb/opennlb/dataplane"
)

// newClock returns CLOCK_MONOTONIC as the Go runtime reads it, without the system call
// of dataplane.Now, which costs more than the rest of a decision. It is at most a
// millisecond fast and never slow, so that a lease may end early but not late.
func newClock() func() dataplane.Instant {
	for {
		before := dataplane.Now()
		start := time.Now()
		after := dataplane.Now()
		if after < before.Add(time.Millisecond) {
			return func() dataplane.Instant { return after.Add(time.Since(start)) }
		}
	}
}
