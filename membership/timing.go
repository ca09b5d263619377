package membership

import (
	"math"
	"time"

	"github.com/hashicorp/memberlist"
)

// Timing says how quickly a dead member is noticed. The zero value of a field
// means the one of DefaultTiming.
type Timing struct {
	ProbeInterval  time.Duration // between two probes; a probe unanswered for this long raises suspicion
	ProbeTimeout   time.Duration // then ask others and TCP to probe too; must be below ProbeInterval
	GossipInterval time.Duration // between rounds of spreading news
	SuspicionMult  int           // a suspect is dead after SuspicionMult*ProbeInterval, longer above 10 members
	StreamTimeout  time.Duration // for a whole TCP exchange, connecting included
	Rejoin         time.Duration // between attempts to reach members that are not alive, give or take a quarter
	Settle         time.Duration // how long Start waits for a silent holder of our name or priority to be declared dead
}

// DefaultTiming notices a crash in about 0.6 s.
//
// The probe interval is short because a member probes one other per interval,
// and a probe of a dead member takes a whole one: the last survivor of eight
// needs up to 13 intervals to have probed all the dead. The suspicion that
// follows, 500 ms, gives a member that is only slow the time to object.
func DefaultTiming() Timing {
	return Timing{
		ProbeInterval:  50 * time.Millisecond,
		ProbeTimeout:   25 * time.Millisecond,
		GossipInterval: 25 * time.Millisecond,
		SuspicionMult:  10,
		StreamTimeout:  1500 * time.Millisecond, // survives the loss of one SYN, resent after 1 s (RFC 6298)
		Rejoin:         2 * time.Second,
		Settle:         5 * time.Second,
	}
}

// EarliestDeath is the soonest after the last sign of life of a member that
// the other members of a cluster of n can declare it dead. A lease must be
// shorter. n is the number of members that any one of them may know of; fewer
// is sooner, and up to 10 all are equal.
//
// It is memberlist's suspicionTimeout (util.go, v0.7.0),
//
//	SuspicionMult * max(1, log10(n)) * ProbeInterval
//
// without the ProbeInterval that the failed probe takes before it (probeNode
// in state.go), because that probe may have been lost while the member was
// still alive. Confirmations cannot shorten it: SuspicionMaxTimeoutMult is 1,
// so the longest suspicion is also the shortest (suspicion.go). Neither can
// memberlist's health score, which only lengthens the probe interval and is off.
//
// The bound holds for a member that falls silent and stays silent. One that
// wakes up again just before its death is declared may renew its lease an
// instant too late to be noticed; it must hear from the cluster first.
func (t Timing) EarliestDeath(n int) time.Duration {
	t = t.withDefaults()
	scale := math.Max(1, math.Log10(math.Max(1, float64(n))))
	return time.Duration(t.SuspicionMult) * time.Duration(scale*1000) * t.ProbeInterval / 1000
}

func (t Timing) withDefaults() Timing {
	d := DefaultTiming()
	setDefault(&t.ProbeInterval, d.ProbeInterval)
	setDefault(&t.ProbeTimeout, min(d.ProbeTimeout, t.ProbeInterval/2))
	setDefault(&t.GossipInterval, d.GossipInterval)
	setDefault(&t.SuspicionMult, d.SuspicionMult)
	setDefault(&t.StreamTimeout, d.StreamTimeout)
	setDefault(&t.Rejoin, d.Rejoin)
	setDefault(&t.Settle, d.Settle)
	return t
}

func setDefault[T ~int | ~int64](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}

// apply puts the timing into a memberlist configuration.
func (t Timing) apply(c *memberlist.Config) {
	c.ProbeInterval = t.ProbeInterval
	c.ProbeTimeout = t.ProbeTimeout
	c.GossipInterval = t.GossipInterval
	c.SuspicionMult = t.SuspicionMult
	c.TCPTimeout = t.StreamTimeout

	// Suspicion always takes its full time, whoever confirms it: EarliestDeath
	// depends on it, and so does the speed when most members die at once.
	c.SuspicionMaxTimeoutMult = 1

	// No slowing down under load: a member that slows its probing because
	// several others are dead would take seconds to notice them.
	c.AwarenessMaxMultiplier = 1

	// Enough copies that no member misses a piece of news by chance; there is
	// traffic only while there is news.
	c.GossipNodes = 4
	c.RetransmitMult = 6

	// Two others are asked to probe too, beside TCP, should the way from here be blocked.
	// Three, of everybody, keep a machine full that many members share.
	c.IndirectChecks = 2

	// The news of a death keeps going to the dead for this long, so that a
	// member cut off briefly objects at once; later the rejoin loop finds it.
	c.GossipToTheDeadTime = 30 * time.Second

	// A restarted member may come back on another address as soon as its old
	// self is dead. Zero would mean never.
	c.DeadNodeReclaimTime = time.Nanosecond

	// Repairs whatever gossip lost. A state is about 100 bytes per member.
	c.PushPullInterval = t.Rejoin
}
