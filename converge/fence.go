package converge

import (
	"math/bits"
	"time"
)

// The fence: what the members say on the segment that carries the clients' frames.
// Messages of membership may be lost or blocked while those frames reach everyone;
// then two groups could both believe themselves alone. But whoever hears the same
// frames hears the same beacons. In the kernel a beacon whose view leaves this
// member out silences it at once, unless the epoch in force here is higher. Here,
// of two groups the better one outbids the other, which leaves its view and
// stays silent for as long as it hears beacons.

// rival is the beacon with the highest epoch of a view that this member is not in,
// and when any such was heard last.
type rival struct {
	Beacon
	at time.Time
}

// Beacon takes what was heard on the segment.
func (m *Machine) Beacon(now time.Time, b Beacon) Output {
	m.observe(now)
	if b.Epoch.By != m.self.Priority { // an own one came back, or is of an earlier life
		m.onBeacon(b)
	}
	return m.step()
}

func (m *Machine) onBeacon(b Beacon) {
	m.see(b.Epoch.N)
	if b.View&m.self.bit() != 0 {
		if m.committed != nil && b.Epoch.N == m.committed.Epoch.N {
			m.spoken = m.now
		}
		if m.prepared != nil && m.prepared.Epoch == b.Epoch && b.InForce {
			m.commit(m.prepared)
		}
		return
	}
	if b.Epoch.N < m.floor() {
		return // outdated, or recorded and replayed: a group that is here has heard of ours and is above it
	}
	if b.Epoch.N >= m.rival.Epoch.N {
		m.rival.Beacon = b
	}
	m.rival.at = m.now
	if m.committed == nil && m.prepared == nil {
		return // in no view: founder waits for the beacons to end
	}
	if p := m.prepared; m.committed == nil && b.Epoch.N < p.Epoch.N && b.View&^p.mask() == 0 {
		return // the epoch that lets this member in has yet to replace theirs
	}
	if better(b.View, m.group()&^b.View) {
		m.resign("another group serves this segment with epoch %d: it is larger or has the lowest priority number", b.Epoch.N)
	}
}

// group is whom this member believes to be in one group with itself.
func (m *Machine) group() uint32 {
	if m.prepared != nil {
		return m.prepared.mask()
	}
	mask := m.self.bit()
	for _, i := range m.committed.Members {
		if m.isAlive(i.peer()) {
			mask |= i.bit()
		}
	}
	return mask
}

// fenced reports whether a rival's beacon silences this group in the kernel: only a
// higher epoch ends that.
func (m *Machine) fenced() bool {
	return m.committed != nil && !m.rival.at.IsZero() && m.rival.Epoch.N >= m.committed.Epoch.N
}

// floor is the last epoch that this member was in.
func (m *Machine) floor() uint64 {
	switch {
	case m.committed != nil:
		return m.committed.Epoch.N
	case m.later != nil:
		return m.later.Epoch.N
	}
	return m.cfg.Seen
}

// rivalled reports whether another group served the segment a moment ago.
func (m *Machine) rivalled() bool {
	return !m.rival.at.IsZero() && m.now.Sub(m.rival.at) < m.cfg.Timing.Rival
}

// Rivalled reports whether this member is silent because of another group.
func (m *Machine) Rivalled() bool { return m.committed == nil && m.rivalled() }

// Outvoted reports whether this member is silent because it sees no more than half of
// the members and partition: majority holds.
func (m *Machine) Outvoted() bool { return m.committed == nil && !m.quorum(m.wanted()) }

// mustFence reports whether a leaves out somebody who may still answer, or does not
// know who does, or there is a rival: then its beacon goes ahead of its commit.
func (m *Machine) mustFence(a *Assignment) bool {
	if m.committed == nil || m.rivalled() {
		return true
	}
	for _, i := range m.committed.Members {
		if i.State.holds() && !a.has(i.peer()) {
			return true
		}
	}
	return false
}

// atCommit is how many beacons a commit is worth: one could be lost.
const atCommit = 3

// speak keeps the epoch in force audible on the segment: who made it does, or,
// when that one is not heard, another member in its place.
func (m *Machine) speak() {
	if m.committed == nil {
		return
	}
	every := m.cfg.Timing.Announce
	maker := m.committed.Epoch.By == m.self.Priority && m.committed.Epoch.Instance == m.self.Instance
	switch {
	case maker && m.beacons > 0:
		m.beacons--
	case m.now.Sub(m.beaconed) < every:
		return
	case !maker && m.now.Sub(m.spoken) < 2*every+every*time.Duration(m.rank())/8:
		return
	}
	m.beacon(m.committed, true)
}

// rank is this member's place in the view, from 0.
func (m *Machine) rank() int { return bits.OnesCount32(m.committed.mask() & (m.self.bit() - 1)) }

// fence repeats the beacon of a proposal that all have promised until it may commit.
func (m *Machine) fence(p *proposal) {
	m.beacon(p.assignment, false)
	m.wake(m.now.Add(m.cfg.Timing.Fence / 4))
}

// beacon says on the segment that an epoch is in force, or about to be.
func (m *Machine) beacon(a *Assignment, inForce bool) {
	m.beaconSeq++
	m.beaconed = m.now
	epoch := Epoch{N: a.Epoch.N, By: m.self.Priority, Instance: m.self.Instance} // as its sender signs it
	m.out.Beacons = append(m.out.Beacons, Beacon{Epoch: epoch, View: a.mask(), Seq: m.beaconSeq, InForce: inForce})
}

// quorum reports whether members may serve under partition: majority. They must be
// more than half of the last view, not counting those who had stopped; exactly
// half will do if the lowest priority number is among them.
func (m *Machine) quorum(members []Info) bool {
	last := m.committed
	if last == nil {
		last = m.later
	}
	if !m.plan.Majority || last == nil {
		return true
	}
	in := make(map[uint8]bool)
	for _, i := range members {
		in[i.Priority] = true
	}
	here, all, lowest := 0, 0, uint8(0)
	for _, i := range last.Members {
		if !i.State.holds() {
			continue
		}
		all++
		if lowest == 0 {
			lowest = i.Priority
		}
		if in[i.Priority] {
			here++
		}
	}
	return 2*here > all || 2*here == all && (all == 0 || in[lowest])
}

func (m *Machine) wake(t time.Time) {
	if m.out.Wake.IsZero() || t.Before(m.out.Wake) {
		m.out.Wake = t
	}
}
