package agent

import (
	"fmt"
	"time"

	"github.com/opennlb/opennlb/converge"
	"github.com/opennlb/opennlb/membership"
)

// detection is how soon silence is death, and everything that hangs on it.
type detection struct {
	preset     string        // cluster.detection
	lease      time.Duration // the data plane answers this long without hearing from the loop
	tick       time.Duration // the loop steps, and renews the lease, at least this often
	membership membership.Timing
	converge   converge.Timing
}

// leaseTicks is how many ticks of the loop a lease must span at least: late ones are no
// reason to fall silent.
const leaseTicks = 6

// detections are the presets. All times but those of membership's network exchanges and
// the fence, which depend on the network alone, are in proportion to the lease.
var detections = map[string]detection{
	// A quiet machine and network: every pause of 180 ms costs a member its clients.
	"fast": {
		lease: 180 * time.Millisecond,
		tick:  25 * time.Millisecond,
		membership: membership.Timing{
			ProbeInterval:  20 * time.Millisecond,
			ProbeTimeout:   10 * time.Millisecond,
			GossipInterval: 10 * time.Millisecond,
			SuspicionMult:  12,
		},
		converge: converge.Timing{
			Announce: 50 * time.Millisecond,
			Retry:    50 * time.Millisecond,
			GiveUp:   500 * time.Millisecond,
			Fence:    20 * time.Millisecond,
			Rival:    250 * time.Millisecond,
			Alone:    500 * time.Millisecond,
		},
	},
	"normal": {
		lease:      400 * time.Millisecond,
		tick:       50 * time.Millisecond,
		membership: membership.DefaultTiming(),
		converge:   converge.DefaultTiming,
	},
	// Busy or virtual hosts: whatever stands still for 1.5 s goes on as if nothing were.
	"relaxed": {
		lease: 1800 * time.Millisecond,
		tick:  100 * time.Millisecond,
		membership: membership.Timing{
			ProbeInterval:  200 * time.Millisecond,
			ProbeTimeout:   100 * time.Millisecond,
			GossipInterval: 50 * time.Millisecond,
			SuspicionMult:  12,
			StreamTimeout:  3 * time.Second,
			Settle:         10 * time.Second,
		},
		converge: converge.Timing{
			Announce: 200 * time.Millisecond,
			Retry:    200 * time.Millisecond,
			GiveUp:   4500 * time.Millisecond,
			Fence:    20 * time.Millisecond,
			Rival:    2250 * time.Millisecond,
			Alone:    4500 * time.Millisecond,
		},
	},
}

// detect returns the preset of that name.
func detect(preset string) (detection, error) {
	d, ok := detections[preset]
	if !ok {
		return detection{}, fmt.Errorf("cluster.detection %q is not known: write fast, normal or relaxed", preset)
	}
	d.preset = preset
	return d, d.check()
}

// check refuses figures under which two members could answer one client, or under which
// a member falls silent for nothing.
func (d detection) check() error {
	// The fewer members, the sooner the death: 1 stands for all up to 10.
	death := d.membership.EarliestDeath(1)
	switch {
	case d.lease >= death:
		return fmt.Errorf("detection %s: the lease of %s does not end before peers may take over after %s", d.preset, d.lease, death)
	case d.lease < leaseTicks*d.tick:
		return fmt.Errorf("detection %s: the lease of %s is not %d ticks of %s", d.preset, d.lease, leaseTicks, d.tick)
	case d.converge.GiveUp <= d.lease:
		return fmt.Errorf("detection %s: a mute member is given up after %s, when its lease of %s may still run", d.preset, d.converge.GiveUp, d.lease)
	case d.converge.Alone <= death:
		return fmt.Errorf("detection %s: a starting member listens for %s, though others may be taken for alive until %s", d.preset, d.converge.Alone, death)
	case d.converge.Rival < 2*d.converge.Announce:
		return fmt.Errorf("detection %s: a rival is gone after %s without a beacon, though two beacons take %s", d.preset, d.converge.Rival, 2*d.converge.Announce)
	}
	return nil
}

// stuckAfter is when a loop that has not stepped is dead to its peers.
func (d detection) stuckAfter() time.Duration { return 2 * d.lease }

// handOver is how long an orderly leave waits for the others, who may have to give up
// on a mute one first.
func (d detection) handOver() time.Duration { return max(3*time.Second, 2*d.converge.GiveUp) }
