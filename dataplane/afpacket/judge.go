package afpacket

import (
	"sync/atomic"

	"github.com/opennlb/opennlb/converge"
	"github.com/opennlb/opennlb/dataplane"
	"github.com/opennlb/opennlb/nlbhash"
	"github.com/opennlb/opennlb/portrules"
)

// judge is the decision and what it remembers. One goroutine gives it frames; the
// fields of package atomic, install and counters are for others too.
type judge struct {
	policies atomic.Pointer[history]
	lease    atomic.Int64 // dataplane.Instant
	counters counters
	beacons  chan converge.Beacon

	keys      atomic.Pointer[[]nlbhash.Key] // of beacons; nil: as they were
	listener  portrules.Listener
	fragments fragments
	env       portrules.Env // its functions are made once: a closure per frame would be garbage
	active    uint64        // epoch by which the present frame is judged

	clients clients
	heard   dataplane.Instant // when the present frame arrived
}

// newJudge returns a judge without policy, who hears beacons and passes the rest.
// priority 0 does not hear them either.
func newJudge(priority uint8, key nlbhash.Key, hasSocket func(portrules.Flow) bool) *judge {
	j := &judge{
		beacons:  make(chan converge.Beacon, dataplane.BeaconBacklog),
		listener: portrules.Listener{Self: priority, Key: key},
	}
	j.env = portrules.Env{HasSocket: hasSocket, FragmentAccepted: j.fragments.wasAccepted, FragmentRefused: j.fragments.wasRefused}
	j.env.Client = func(k portrules.ClientKey) (portrules.Client, bool) { return j.clients.get(k, j.heard) }
	if priority != 0 {
		j.env.Beacon = j.hear
	}
	j.install(&portrules.Policy{}, nil, moment{})
	return j
}

// install puts a policy in force for the frames that arrive from now on. What was counted
// and who is remembered of rules that are neither in it nor in next, which may be nil, is
// forgotten.
func (j *judge) install(p, next *portrules.Policy, now moment) {
	v := version{policy: p, counts: j.counters.of(p), since: now}
	var old history
	if h := j.policies.Load(); h != nil {
		old = *h
	}
	all := old.with(v)
	j.policies.Store(&all)
	if next == nil {
		next = p
	}
	if gone := j.counters.retire(p, next); len(gone) > 0 {
		j.clients.forgetRules(gone)
	}
}

// decide is the whole decision about a frame that arrived at an instant of the real
// time clock, now being the present one. It counts, and remembers fragments, clients and beacons.
func (j *judge) decide(frame []byte, arrived int64, now dataplane.Instant) portrules.Decision {
	v := j.policies.Load().at(arrived, now)
	j.active = v.policy.Epoch
	j.env.LeaseOver = now >= dataplane.Instant(j.lease.Load())
	j.env.Fence = j.listener.Fence
	j.heard = now
	pkt := portrules.Parse(frame)
	d := v.policy.Decide(&pkt, j.env)
	if d.RecordFragment || d.RecordRefusal {
		j.fragments.note(pkt.Fragment.Key, d.RecordFragment)
	}
	if d.Note != portrules.NoteNothing {
		j.clients.note(v.counts[d.Rule], &d, &pkt, j.heard)
	}
	if d.Verdict != portrules.Pass {
		v.count(d)
	}
	return d
}

// hear judges a beacon, and passes on a good one.
func (j *judge) hear(raw [portrules.BeaconSize]byte) portrules.Reason {
	if keys := j.keys.Swap(nil); keys != nil {
		j.listener.SetKeys(*keys)
	}
	reason := j.listener.Hear(raw, j.active)
	if reason != portrules.BeaconHeard {
		return reason
	}
	for _, key := range j.listener.Keys() {
		if b, err := converge.ParseBeacon(raw[:], key); err == nil {
			dataplane.OfferBeacon(j.beacons, b)
			break
		}
	}
	return reason
}
