package converge

import (
	"fmt"
	"slices"
	"time"
)

const (
	simDetect = 500 * time.Millisecond // silence is death no sooner; membership.EarliestDeath
	simObject = 100 * time.Millisecond // within this, all hear the objection of one that is awake again
	simLearn  = 150 * time.Millisecond // within this, news of membership reaches all
	simHeal   = 500 * time.Millisecond // within this after a split of the segment, one owner again
)

// split is a partition: members on different sides receive no messages of each
// other and, unless the segment is whole, not the same client frames.
type split struct {
	on    bool
	whole bool          // membership alone is blocked
	began time.Duration // the last one
	ended time.Duration // 0: there was none
}

// reaches reports whether messages get from one member to another.
func (s *sim) reaches(a, b *node) bool { return a.side == b.side }

// hear reports whether two members hear the same client frames.
func (s *sim) hear(a, b *node) bool { return s.split.whole || a.side == b.side }

// excused reports whether two owners are no fault of the protocol: until those that
// heard other frames have heard each other's beacons.
func (s *sim) excused() bool {
	return s.split.ended > 0 && s.now < s.split.ended+simHeal
}

// broadcast puts a beacon on the segment. The kernels of all who hear it judge it at
// the same point of the frame stream, frozen agents or not; the agents learn later.
func (s *sim) broadcast(from *node, b Beacon) {
	for _, to := range s.nodes {
		if to == from || !s.hear(from, to) || s.fault != nil && s.fault.deaf || s.rng.Float64() < s.loss/5 {
			continue
		}
		if b.View&(1<<(to.id-1)) == 0 && b.Epoch.N >= to.epoch && (s.fault == nil || !s.fault.unfenced) {
			to.fence = max(to.fence, b.Epoch.N+1)
		}
		if to.next != nil && b.InForce && (b.Epoch == to.next.Commit || s.fault != nil && s.fault.eager) && b.View&(1<<(to.id-1)) != 0 {
			s.activate(to, to.next.Next)
			to.next = nil
			defer s.check(to) // after all have heard it
		}
		life := to.life
		s.after(50*time.Microsecond+s.jitter(3*time.Millisecond), func() {
			switch {
			case !to.up || to.life != life:
			case to.frozen:
				to.heard = append(to.heard, b)
			default:
				s.step(to, func(now time.Time) Output { return to.m.Beacon(now, b) })
			}
		})
	}
}

// transmit puts a message on the wire: lost, late, or twice.
func (s *sim) transmit(from *node, e *Envelope) {
	to := s.nodes[e.To.Priority-1]
	loss, copies := s.loss, 1
	if e.Message.Reliable() {
		loss /= 5
	}
	if s.rng.IntN(50) == 0 {
		copies = 2
	}
	for range copies {
		if s.rng.Float64() < loss {
			continue
		}
		delay := 200*time.Microsecond + s.jitter(2*time.Millisecond)
		if s.rng.IntN(30) == 0 {
			delay += s.jitter(400 * time.Millisecond)
		}
		msg, life := e.Message.clone(), to.life
		s.after(delay, func() {
			if s.reaches(from, to) && to.up && to.life == life {
				s.deliver(to, msg)
			}
		})
	}
}

func (s *sim) deliver(to *node, msg Message) {
	if to.frozen {
		if len(to.inbox) < 256 {
			to.inbox = append(to.inbox, msg)
		}
		return
	}
	if f := s.fault; f != nil && f.receive != nil && !f.receive(s, to, &msg) {
		return
	}
	if s.log != nil && brief(msg) != "" {
		s.note(to, "gets %s by %s", brief(msg), msg.From.Name)
	}
	s.step(to, func(now time.Time) Output { return to.m.Receive(now, msg) })
}

// membership lets every running member learn, a while from now, what is the case then.
func (s *sim) membership(from time.Duration) {
	for _, n := range s.nodes {
		s.after(from+s.jitter(simLearn), func() {
			if !n.up || n.frozen {
				return
			}
			peers := make([]Peer, 0, len(s.nodes))
			for _, o := range s.nodes {
				if s.alive(n, o) {
					peers = append(peers, o.m.self.peer())
				}
			}
			if slices.Equal(peers, n.peers) {
				return
			}
			n.peers = peers
			s.step(n, func(now time.Time) Output { return n.m.Peers(now, peers) })
		})
	}
}

// alive is what n's membership holds of o. Silence is death only after a while,
// and one that woke up shortly before may be declared dead all the same.
func (s *sim) alive(n, o *node) bool {
	switch {
	case o.m == nil:
		return false
	case (!o.up || o.frozen || s.now < o.awake+simObject) && s.now >= o.silent+simDetect:
		return false
	}
	return s.reaches(n, o) || s.now < s.split.began+simDetect
}

// brief names a message in the log, unless it is mere routine.
func brief(m Message) string {
	switch {
	case m.Prepare != nil:
		return fmt.Sprintf("Prepare %v of %d members from %v", m.Prepare.Epoch, len(m.Prepare.Members), m.Prepare.Base)
	case m.Prepared != nil:
		return fmt.Sprintf("Prepared %v, %d extra", m.Prepared.Epoch, len(m.Prepared.Extra))
	case m.Release != nil:
		return fmt.Sprintf("Release %v", m.Release.Epoch)
	case m.Released != nil:
		return fmt.Sprintf("Released %v", m.Released.Epoch)
	case m.Reject != nil:
		return fmt.Sprintf("Reject %v: %s", m.Reject.Epoch, m.Reject.Reason)
	}
	return ""
}
