package afpacket

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/opennlb/opennlb/dataplane"
	"github.com/opennlb/opennlb/portrules"
)

// memory is how long a frame may wait in the ring and still meet the policy of its
// time. The ring holds less where there is traffic, and a lease is shorter.
const memory = 2 * time.Second

// moment is one instant on two clocks: the ring tells the real time of frames, and
// everything else goes by the one that cannot be set.
type moment struct {
	real      int64 // CLOCK_REALTIME, ns
	monotonic dataplane.Instant
}

func present() moment {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_REALTIME, &now); err != nil {
		return moment{} // cannot happen on Linux; no frame is older, and no lease is over later
	}
	return moment{real: now.Nano(), monotonic: dataplane.Now()}
}

// version is a policy and the moment from which it is in force.
type version struct {
	policy *portrules.Policy
	counts []*counts // per rule; the last is for traffic that no rule covers
	since  moment
}

func (v *version) count(d portrules.Decision) {
	rule := d.Rule
	if rule < 0 {
		rule = len(v.counts) - 1
	}
	v.counts[rule].packets[d.Reason].Add(1)
}

// history is the policies of the last seconds, the latest first. Frames are judged
// some time after they arrived, each by the policy of its arrival: a member that is
// late and has just gained a bucket would else accept a frame which the bucket's
// former owner has accepted.
type history []version

// with returns the history with a new version, without those that are out of memory.
func (h history) with(v version) history {
	next := history{v}
	for i := range h {
		next = append(next, h[i])
		if v.since.monotonic > h[i].since.monotonic.Add(memory) {
			break // what was before that is over for longer than memory
		}
	}
	return next
}

// at returns the version by which to judge a frame. However the real time clock is
// set meanwhile, after the time of memory it is the latest.
func (h *history) at(arrived int64, now dataplane.Instant) *version {
	for i := range *h {
		v := &(*h)[i]
		if arrived >= v.since.real || now > v.since.monotonic.Add(memory) {
			return v
		}
	}
	return &(*h)[len(*h)-1]
}
