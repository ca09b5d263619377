//go:build sim

package converge

import (
	"slices"
	"testing"
	"time"

	"github.com/opennlb/opennlb/nlbhash"
	"github.com/opennlb/opennlb/portrules"
)

// simFaultSeeds is the number of schedules in which a fault must be caught.
const simFaultSeeds = 5000

// TestFaults breaks one thing at a time and wants the simulation to notice: the
// checks that never fail prove nothing.
func TestFaults(t *testing.T) {
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			for seed := uint64(1); seed <= simFaultSeeds; seed++ {
				_, bad := simulate(seed, &f, nil)
				if bad != nil && slices.Contains(f.caught, bad.check) {
					if _, sound := simulate(seed, &fault{deaf: f.deaf}, nil); sound != nil {
						continue // not the fault's doing
					}
					t.Logf("seed %d: %s", seed, bad)
					return
				}
			}
			t.Errorf("not caught by %q in %d schedules", f.caught, simFaultSeeds)
		})
	}
}

var faults = []fault{
	{
		name:   "coordinator commits without waiting for Prepared",
		caught: []string{"one", "connection"},
		after: func(_ *sim, n *node, _ *Output) {
			if p := n.m.proposal; p != nil {
				p.waiting = nil
			}
		},
	},
	{
		name:   "coordinator commits without waiting for Released",
		caught: []string{"one", "connection"},
		after: func(_ *sim, n *node, _ *Output) {
			if p := n.m.proposal; p != nil {
				p.giving = nil
			}
		},
	},
	{
		name:   "coordinator gives up on who does not answer at once",
		caught: []string{"one", "left out", "converge"},
		config: func(c *Config) { c.Timing.GiveUp = 20 * time.Millisecond },
	},
	{
		name:   "coordinator deals from scratch",
		caught: []string{"moves"},
		after: func(_ *sim, n *node, out *Output) {
			redeal(n, out, func(t *Table) { t.Owner = Owners(*nlbhash.Rebalance(nil, t.Targets)) })
		},
	},
	{
		name:   "coordinator deals one bucket twice",
		caught: []string{"shares", "moves"},
		after: func(_ *sim, n *node, out *Output) {
			redeal(n, out, func(t *Table) { t.Owner[1], t.Owner[2] = t.Owner[0], t.Owner[0] })
		},
	},
	{
		name:   "member accepts an older epoch",
		caught: []string{"promise"},
		receive: func(_ *sim, n *node, msg *Message) bool {
			if n.memo = nil; msg.Prepare != nil {
				n.memo, n.m.promised = n.m.promised, Epoch{}
			}
			return true
		},
		after: func(_ *sim, n *node, _ *Output) {
			if old, ok := n.memo.(Epoch); ok && n.m.promised == (Epoch{}) {
				n.m.promised = old // it did not accept
			}
			n.memo = nil
		},
	},
	{
		name:   "member commits an announced epoch that it did not prepare",
		caught: []string{"tables"},
		receive: func(_ *sim, n *node, msg *Message) bool {
			an, old := msg.Announce, n.m.committed
			if an == nil || old == nil || n.m.prepared != nil || !an.Epoch.above(n.m.promised) {
				return true
			}
			a := old.clone()
			a.Epoch, n.m.promised, n.promised = an.Epoch, an.Epoch, an.Epoch
			n.m.commit(a)
			return true
		},
	},
	{
		name:   "member keeps taking new flows until the commit",
		caught: []string{"one"},
		before: func(_ *sim, n *node) { n.memo = memory{n.m.prepared, slices.Clone(n.m.flags)} },
		after: func(_ *sim, n *node, out *Output) {
			if old := n.memo.(memory); n.m.prepared != nil && n.m.prepared == old.prepared {
				copy(n.m.flags, old.flags)
				n.m.part = nil
				out.Install = n.m.install()
			}
		},
	},
	{
		name:   "member answers Released and does not install",
		caught: []string{"one"},
		after: func(_ *sim, _ *node, out *Output) {
			if releases(out) {
				out.Install = nil
			}
		},
	},
	{
		name:   "member answers Released before it installs",
		caught: []string{"one"},
		after: func(s *sim, n *node, out *Output) {
			if in := out.Install; in != nil && releases(out) {
				out.Install = nil
				s.after(50*time.Millisecond, func() { s.install(n, in) })
			}
		},
	},
	{
		name:   "member ignores that it was left out",
		deaf:   true,
		caught: []string{"one", "converge"},
		receive: func(_ *sim, n *node, msg *Message) bool {
			return msg.Announce == nil || msg.Announce.View&(1<<(n.id-1)) != 0
		},
	},
	{
		name:   "rivals do not yield",
		deaf:   true,
		caught: []string{"one", "converge"},
		receive: func(_ *sim, n *node, msg *Message) bool {
			return msg.Announce == nil || n.m.committed == nil || n.m.committed.has(msg.From)
		},
	},
	{
		name:   "refused coordinator does not learn the later epoch",
		deaf:   true,
		caught: []string{"converge"},
		receive: func(_ *sim, _ *node, msg *Message) bool {
			if msg.Reject != nil {
				msg.Reject.Committed = nil
			}
			return true
		},
	},
	{
		name:   "lease longer than detection",
		deaf:   true,
		caught: []string{"one", "connection"},
		renew: func(_ *sim, _ *node, until time.Duration) time.Duration {
			if until > 0 {
				until += simDetect
			}
			return until
		},
	},
	{
		name:   "thawed member ignores that its lease ran out",
		deaf:   true,
		caught: []string{"one", "connection"},
		before: func(s *sim, n *node) { n.m.now = s.clock(n) },
	},
	{
		name:   "restarted member answers with its old tables",
		deaf:   true,
		caught: []string{"one", "connection"},
		boot:   func(n *node) bool { return n.life > 1 },
		renew: func(s *sim, n *node, until time.Duration) time.Duration {
			if until == 0 && n.life > 1 {
				until = s.local(n) + simLease
			}
			return until
		},
	},
	{
		name:   "member founds a cluster without listening",
		caught: []string{"one"},
		config: func(c *Config) { c.Timing.Alone = 0 },
	},
	{
		name:     "kernel does not heed beacons",
		caught:   []string{"one", "connection"},
		unfenced: true,
	},
	{
		name:   "commit goes ahead of its beacon",
		caught: []string{"one", "connection"},
		after: func(_ *sim, n *node, out *Output) {
			if n.m.proposal != nil {
				out.Beacons = nil
			}
		},
	},
	{
		name:   "coordinator says that its epoch is in force when it only fences",
		caught: []string{"one", "connection", "keeper"},
		after: func(_ *sim, n *node, out *Output) {
			for i := range out.Beacons {
				out.Beacons[i].InForce = true
			}
		},
	},
	{
		name:   "kernel switches at the beacon of another epoch",
		caught: []string{"one", "connection", "keeper"},
		eager:  true,
	},
	{
		name:   "the smaller side of a segment goes on",
		caught: []string{"majority"},
		config: func(c *Config) {
			plan := *c.Plan
			plan.Majority = false
			c.Plan = &plan
		},
	},
	{
		name:   "membership is believed against a fresh promise",
		deaf:   true,
		caught: []string{"one", "left out"},
		before: func(_ *sim, n *node) { clear(n.m.trust) },
	},
	{
		name:   "new owner does not know that connections are held",
		caught: []string{"connection"},
		after: func(_ *sim, _ *node, out *Output) {
			reflag(out, portrules.Own|portrules.Foreign, portrules.Own)
		},
	},
	{
		name:   "former owner forsakes its connections",
		caught: []string{"keeper"},
		after:  func(_ *sim, _ *node, out *Output) { reflag(out, portrules.Residual, 0) },
	},
	{
		name:   "what is held under one epoch is believed under another",
		caught: []string{"connection"},
		receive: func(_ *sim, n *node, msg *Message) bool {
			if msg.Held != nil && n.m.committed != nil {
				msg.Held.Epoch = n.m.committed.Epoch
			}
			return true
		},
		// Said often, which is harmless, so that some are under way at each commit.
		after: func(_ *sim, n *node, _ *Output) { n.m.heldPause = min(n.m.heldPause, 20*time.Millisecond) },
	},
	{
		name:      "connections of an earlier epoch are told under the present one",
		caught:    []string{"connection", "keeper"},
		oldCensus: true,
	},
	{
		name:   "one member is sent other tables",
		caught: []string{"tables"},
		receive: func(_ *sim, n *node, msg *Message) bool {
			if a := msg.Prepare; a != nil && n.id == 2 {
				o := &a.Tables[0].Owner
				i := slices.IndexFunc(o[:], func(p uint8) bool { return p != 0 && p != n.id })
				j := slices.IndexFunc(o[:], func(p uint8) bool { return p != 0 && p != n.id && p != o[max(i, 0)] })
				if j >= 0 {
					o[i], o[j] = o[j], o[i]
				}
			}
			return true
		},
	},
	{
		name:   "a commit is announced once and never asked for",
		caught: []string{"converge", "one"},
		after: func(_ *sim, n *node, out *Output) {
			last, _ := n.memo.(Epoch)
			out.Send = slices.DeleteFunc(out.Send, func(e Envelope) bool {
				return e.Message.Announce != nil && e.Message.Announce.Epoch == last
			})
			if n.m.committed != nil {
				n.memo = n.m.committed.Epoch
			}
			n.m.stuck = time.Time{}
		},
	},
	{
		name:   "a rule that hashes otherwise is taken for the same",
		caught: []string{"one", "connection"},
		blind:  true,
	},
	{
		name:   "a member gives up a later configuration for an earlier one",
		caught: []string{"config"},
		receive: func(_ *sim, n *node, msg *Message) bool {
			if msg.Prepare != nil && n.m.committed == nil {
				n.m.plan = planOf(simRules...)
			}
			return true
		},
	},
	{
		name:   "nobody heeds the later configuration of a newcomer",
		caught: []string{"converge"},
		receive: func(_ *sim, n *node, msg *Message) bool {
			if msg.Info != nil {
				msg.Info.Plan = nil
			}
			if msg.Reject != nil {
				msg.Reject.Plan = nil
			}
			return true
		},
	},
	{
		name:   "coordinator holds on to a plan that a member refused",
		caught: []string{"converge"},
		before: func(_ *sim, n *node) { clear(n.m.refused) },
		after:  func(_ *sim, n *node, _ *Output) { clear(n.m.refused) },
	},
	{
		name:   "a member is held back for longer than all know",
		caught: []string{"converge"},
		config: func(c *Config) {
			c.Dampening.First, c.Dampening.Max, c.Dampening.Forgive = time.Minute, time.Minute, time.Hour
		},
	},
	{
		name:   "members keep changing their minds",
		caught: []string{"quiet", "converge"},
		after: func(s *sim, n *node, _ *Output) {
			if s.now > s.trouble+time.Second && s.rng.IntN(20) == 0 {
				n.m.self.Version++
			}
		},
	},
}

// memory is a machine before a step.
type memory struct {
	prepared *Assignment
	flags    []portrules.Buckets
}

// redeal changes the tables of a proposal before anyone has seen it.
func redeal(n *node, out *Output, change func(*Table)) {
	p := n.m.proposal
	if p == nil || n.memo == p {
		return
	}
	n.memo = p
	for i := range p.assignment.Tables {
		if t := &p.assignment.Tables[i]; t.Targets != (nlbhash.Targets{}) {
			change(t)
		}
	}
	n.m.promise(p.assignment)
	out.Install = n.m.install()
}

// releases reports whether a step tells of a release.
func releases(out *Output) bool {
	return slices.ContainsFunc(out.Send, func(e Envelope) bool { return e.Message.Released != nil })
}

// reflag replaces some flags in what is to be installed.
func reflag(out *Output, from, to portrules.Flags) {
	if out.Install == nil {
		return
	}
	for _, p := range []*Part{out.Install.Now, out.Install.Next} {
		if p == nil {
			continue
		}
		for i := range p.Tables {
			for b, f := range p.Tables[i] {
				if f == from {
					p.Tables[i][b] = to
				}
			}
		}
	}
}
