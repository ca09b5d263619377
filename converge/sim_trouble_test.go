package converge

import (
	"maps"
	"slices"
	"time"
)

// simCalm bounds the time from the last trouble to convergence, with datagrams
// still being lost, and nobody being held back.
const simCalm = 6 * time.Second

// disturb does something to one member, or to the segment.
func (s *sim) disturb(n *node) {
	k := s.rng.IntN(24)
	switch {
	case k < 3:
		s.divide()
	case !n.up:
		s.boot(n)
	case n.frozen:
	case k < 6:
		s.crash(n)
	case k < 8:
		n.doomed = true
	case k < 10:
		s.freeze(n, s.jitter(2*time.Second))
	case k < 11:
		s.freeze(n, simLease-s.jitter(50*time.Millisecond))
	case k < 12:
		n.stall = s.jitter(time.Second)
	case k < 17:
		state := State(s.rng.IntN(4))
		s.note(n, "is told to be %s", state)
		s.step(n, func(now time.Time) Output { return n.m.SetState(now, state) })
	case k >= 20:
		s.apply(n)
	default:
		rule := simRules[s.rng.IntN(len(simRules))].Name
		shares := maps.Clone(n.m.self.Shares)
		if shares == nil {
			shares = make(map[string]Share)
		}
		shares[rule] = Share{Weight: uint8(s.rng.IntN(101)), Priority: uint8(1 + s.rng.IntN(8)), State: State(max(0, s.rng.IntN(6)-3))}
		s.note(n, "is told its shares: %v", shares)
		s.step(n, func(now time.Time) Output { return n.m.SetShares(now, shares) })
	}
}

func (s *sim) crash(n *node) {
	s.note(n, "crashes")
	if !n.frozen {
		n.silent = s.now
	}
	n.up, n.doomed, n.stall, s.trouble = false, false, 0, s.now
	s.missBeacons()
	s.membership(simDetect)
}

func (s *sim) freeze(n *node, d time.Duration) {
	s.note(n, "freezes for %s", d)
	n.frozen, n.silent = true, s.now
	s.missBeacons()
	life := n.life
	s.membership(simDetect)
	s.after(d, func() {
		if n.up && n.life == life {
			s.thaw(n)
		}
	})
}

// missBeacons: when the one falls silent whose beacons would have settled who yields after
// a split, its lease has to end first, or another to speak for its group.
func (s *sim) missBeacons() {
	if s.excused() {
		s.split.ended = s.now
	}
}

// thaw lets a member go on where it stopped; what waited comes in no order.
func (s *sim) thaw(n *node) {
	s.note(n, "thaws")
	n.frozen, n.awake = false, s.now
	n.healthy, s.trouble = s.now, s.now
	if rest := n.rest; rest != nil {
		n.rest = nil
		rest()
	}
	heard := n.heard
	n.heard = nil
	for _, b := range heard {
		s.step(n, func(now time.Time) Output { return n.m.Beacon(now, b) })
	}
	inbox := n.inbox
	n.inbox = nil
	s.rng.Shuffle(len(inbox), func(i, j int) { inbox[i], inbox[j] = inbox[j], inbox[i] })
	for _, msg := range inbox {
		s.deliver(n, msg)
	}
	s.membership(0)
	s.membership(simObject)
}

// divide cuts the members in two, or joins them again. Most cuts are of the
// segment; some block membership alone.
func (s *sim) divide() {
	if s.split.on {
		s.join()
		return
	}
	s.split.on, s.split.began, s.split.whole = true, s.now, s.rng.IntN(5) == 0
	s.strangers = !s.united()
	for _, n := range s.nodes {
		n.side = s.rng.IntN(2)
		s.note(n, "is on side %d, whole segment %t", n.side, s.split.whole)
	}
	if s.excused() { // groups that had not met are mixed, and whoever beacons for one may be elsewhere
		s.split.ended = s.now + simDetect + simLearn
	}
	s.trouble = s.now
	s.membership(simDetect)
}

func (s *sim) join() {
	for _, n := range s.nodes {
		n.side, n.healthy = 0, s.now
		n.conns = set{} // two may serve the same client: one will lose it
	}
	if !s.split.whole {
		s.split.ended = s.now
	}
	s.split.on, s.split.whole, s.trouble = false, false, s.now
	if s.log != nil {
		s.log("%10s the sides are joined", s.now)
	}
	s.membership(0)
}

// calm ends all trouble and waits for the members to converge, and to stay so.
func (s *sim) calm() {
	if s.split.on {
		s.join()
	}
	for _, n := range s.nodes {
		n.doomed, n.stall = false, 0
		if s.majority && !n.up { // or the others may have to wait for it
			s.boot(n)
		}
	}
	s.trouble = s.now
	for !s.converged() {
		if s.now > s.trouble+simCalm+s.dampening.Max {
			s.fail("converge", "not all have converged, %s after the last trouble", s.now-s.trouble)
		}
		s.runUntil(s.now + simTick)
	}
	s.settling = s.now - s.trouble
	s.checkQuiet()
}

// united reports whether all that run are of one view.
func (s *sim) united() bool {
	var epoch Epoch
	for _, n := range s.nodes {
		switch {
		case !n.up:
		case !n.m.Serving():
			return false
		case epoch == Epoch{}:
			epoch = n.m.Committed().Epoch
		case n.m.Committed().Epoch != epoch:
			return false
		}
	}
	return true
}

// converged reports whether membership had time to tell of the last trouble, and the
// view of every running member is just those that run.
func (s *sim) converged() bool {
	if s.now < s.trouble+simDetect+simLearn || s.excused() {
		return false
	}
	var running []Info
	for _, n := range s.nodes {
		if n.up {
			running = append(running, n.m.self)
		}
	}
	return !slices.ContainsFunc(s.nodes, func(n *node) bool {
		return n.frozen || n.up && !(n.m.Converged() && !n.m.self.Newcomer && sameMembers(n.m.Committed().Members, running))
	})
}
