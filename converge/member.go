package converge

import (
	"math/bits"
	"time"
)

// Receive takes a message. One that makes no sense is dropped.
func (m *Machine) Receive(now time.Time, msg Message) Output {
	m.observe(now)
	from := msg.From
	if !m.isAlive(from) {
		return m.step() // dead, or not yet known: it will say it again
	}
	switch {
	case msg.Info != nil:
		m.onInfo(from, msg.Info)
	case msg.Prepare != nil:
		m.onPrepare(from, msg.Prepare)
	case msg.Prepared != nil:
		m.onPrepared(from, msg.Prepared)
	case msg.Release != nil:
		m.onRelease(from, msg.Release)
	case msg.Released != nil:
		m.onReleased(from, msg.Released)
	case msg.Reject != nil:
		m.onReject(from, msg.Reject)
	case msg.Announce != nil:
		m.onAnnounce(from, msg.Announce)
	case msg.Held != nil:
		m.onHeld(from, msg.Held)
	}
	return m.step()
}

// see raises the number that the next proposal must exceed.
func (m *Machine) see(n uint64) {
	if n <= maxSeen {
		m.seen = max(m.seen, n)
	}
}

func (m *Machine) onInfo(from Peer, msg *InfoMsg) {
	if msg.Info.peer() != from {
		return
	}
	m.see(msg.Seen)
	if msg.Info.valid() != nil {
		return
	}
	old, known := m.words[from.Priority]
	if known && old.Info.newer(msg.Info) && old.from == from {
		return
	}
	w := word{from: from, at: m.now, InfoMsg: *msg}
	m.brought = m.brought || w.Plan != nil
	switch {
	case w.Plan != nil && (w.Plan.valid() != nil || w.Plan.Stamp() != w.Stamp):
		w.Plan = nil
	case w.Plan == nil && known && old.from == from && old.Stamp == w.Stamp:
		w.Plan = old.Plan
	}
	m.words[from.Priority] = w
	m.unban(from)
	if msg.View == (Epoch{}) && m.committed != nil {
		m.sendInfo(from) // lest it founds a cluster of its own
	}
}

func (m *Machine) onPrepare(from Peer, a *Assignment) {
	if a.valid() != nil || a.Epoch.By != from.Priority || a.Epoch.Instance != from.Instance || !a.has(m.self.peer()) {
		return
	}
	m.seen = max(m.seen, a.Epoch.N)
	if me, _ := a.Member(m.self.Priority); m.cfg.Newcomer && m.committed == nil && me.Version < m.self.Version {
		m.reject(from, a, "knows this member only as it was in its view")
		return
	}
	if m.beginsAnew(from, a.Plan) {
		return
	}
	if m.prepared != nil && m.prepared.Epoch == a.Base {
		m.commit(m.prepared) // somebody did, or nothing could be dealt from it
	}
	switch {
	case m.committed != nil && m.committed.Epoch == a.Epoch:
		m.send(from, Message{Prepared: &Prepared{Epoch: a.Epoch}}) // the first answer was lost
	case m.prepared != nil && m.prepared.Epoch == a.Epoch:
		m.answerPrepare(from)
	case !a.Epoch.above(m.promised):
		m.reject(from, a, "promised a later epoch")
	case m.committed != nil && m.committed.Epoch.above(a.Base):
		m.reject(from, a, "knows a later epoch")
	case m.plan.newer(a.Plan):
		m.reject(from, a, "knows a later configuration")
	case m.take(a.Plan) != "":
		m.send(from, Message{Reject: &Reject{Epoch: a.Epoch, Seen: max(m.seen, m.promised.N), Refusal: m.take(a.Plan)}})
	default:
		m.abandon()
		m.giveWay(3 * m.cfg.Timing.Retry) // or two coordinators would outdo each other for ever
		m.promise(a)
		m.answerPrepare(from)
	}
}

func (m *Machine) answerPrepare(to Peer) {
	a := m.prepared
	m.send(to, Message{Prepared: &Prepared{Epoch: a.Epoch, Gives: m.gives(a), Extra: m.uncounted(a)}})
}

func (m *Machine) onRelease(from Peer, msg *Release) {
	switch {
	case m.prepared != nil && m.prepared.Epoch == msg.Epoch:
		if m.uncounted(m.prepared) != nil { // its state changed: it keeps its connections after all
			m.answerPrepare(from)
			return
		}
		if m.gives(m.prepared) {
			m.release(m.prepared)
		}
	case m.committed == nil || m.committed.Epoch != msg.Epoch:
		return // of another time
	}
	m.send(from, Message{Released: msg})
}

func (m *Machine) reject(to Peer, a *Assignment, reason string) {
	r := &Reject{Epoch: a.Epoch, Seen: max(m.seen, m.promised.N), Reason: reason}
	if m.committed != nil && m.committed.Epoch.above(a.Base) {
		r.Committed = m.committed
	}
	if m.plan.newer(a.Plan) {
		r.Plan = m.plan
	}
	m.send(to, Message{Reject: r})
}

// promise binds this member to a, and makes its part of a ready to be switched to.
func (m *Machine) promise(a *Assignment) {
	m.promised, m.prepared, m.stuck, m.bound = a.Epoch, a, m.now, m.now
	m.next, m.dirty = render(a.Epoch.N, a.Plan, m.flagsOf(a)), true
}

// forget drops what was promised and not committed; the promise still binds.
func (m *Machine) forget() {
	m.dirty = m.dirty || m.prepared != nil
	m.prepared, m.next = nil, nil
}

func (m *Machine) onAnnounce(from Peer, an *Announce) {
	m.see(an.Epoch.N)
	m.announcer = from
	m.hearHolds(an.HeldBack)
	if w, ok := m.words[from.Priority]; ok && w.from == from {
		w.View = an.Epoch // whatever it said before it was in one
		if w.Stamp != an.Stamp {
			w.Stamp, w.Plan = an.Stamp, nil
		}
		m.words[from.Priority] = w
	}
	mine := an.View&m.self.bit() != 0
	switch {
	case m.prepared != nil && m.prepared.Epoch == an.Epoch:
		m.commit(m.prepared)
	case m.committed != nil && m.committed.Epoch == an.Epoch:
		// Told already.
	case mine && (m.committed == nil || !m.committed.Epoch.above(an.Epoch)):
		if m.stuck.IsZero() {
			m.stuck = m.now
		}
	case m.committed == nil:
		// In no view: tell asks to be let in.
	case m.committed.has(from) && an.Epoch.above(m.committed.Epoch) && !mine:
		m.resign("%s agreed on epoch %d without this member", from.Name, an.Epoch.N)
	case !m.committed.has(from) && !mine && yields(an.View, an.Epoch, m.committed):
		m.resign("the rival group of %s goes first", from.Name)
	}
}

// yields reports whether the group with view ours has to give way to a rival: of
// groups that share a member the later serves, for that member promised it last;
// else the larger, and of equals the one with the lowest priority number.
func yields(theirs uint32, epoch Epoch, ours *Assignment) bool {
	mask := ours.mask()
	if theirs&mask != 0 {
		return epoch.N > ours.Epoch.N || epoch.N == ours.Epoch.N && epoch.By < ours.Epoch.By
	}
	return better(theirs, mask)
}

// better reports whether the group theirs goes before the group ours: it is larger,
// or as large with the lowest priority number.
func better(theirs, ours uint32) bool {
	if t, o := bits.OnesCount32(theirs), bits.OnesCount32(ours); t != o {
		return t > o
	}
	return bits.TrailingZeros32(theirs) < bits.TrailingZeros32(ours)
}

// resign leaves the view: silent, and asking to be let in again.
func (m *Machine) resign(format string, args ...any) {
	m.event("out", format, args...)
	m.abandon()
	if m.committed != nil {
		m.later = m.committed
	}
	m.forget()
	m.committed, m.loose = nil, m.now
	m.self.Newcomer = m.cfg.Newcomer
	m.self.Version++
	m.told, m.stuck = time.Time{}, time.Time{}
	m.clearFlags()
}

// commit makes a the view.
func (m *Machine) commit(a *Assignment) {
	before := m.committed
	m.flags, m.layout, m.part, m.dirty = m.flagsOf(a), a.Plan, nil, true
	if m.prepared == a {
		m.part = m.next // which the data plane has ready
	}
	m.forget()
	m.adopt(a.Plan)
	m.committed, m.later = a, nil
	m.extras, m.stuck = nil, time.Time{}
	m.heldSent, m.heldPause = m.now, m.heldEvery() // a says what this member holds
	m.beacons, m.spoken = atCommit, m.now
	m.notBefore = time.Time{}
	for _, i := range a.Members {
		delete(m.banned, i.peer()) // it has promised, if to another coordinator
	}
	m.trustView(a)
	m.countDepartures(before)
	m.reportChange(before)
	m.event("converged", "epoch %d: %d members", a.Epoch.N, len(a.Members))
	m.out.Events[len(m.out.Events)-1].Took = m.now.Sub(m.bound)
}

// reportChange tells who came and who went.
func (m *Machine) reportChange(before *Assignment) {
	for _, i := range m.committed.Members {
		if before == nil || !before.has(i.peer()) {
			m.joined = m.now
			m.eventAbout(i, "join", "%s (priority %d) is in the cluster", i.Name, i.Priority)
		}
	}
	if before == nil {
		return
	}
	for _, i := range before.Members {
		if now, ok := m.committed.Member(i.Priority); !ok {
			m.eventAbout(i, "leave", "%s (priority %d) is out of the cluster", i.Name, i.Priority)
		} else if now.State != i.State {
			m.eventAbout(i, "state", "%s is %s", i.Name, now.State)
		}
	}
}

// eventAbout tells something of one member.
func (m *Machine) eventAbout(i Info, kind, format string, args ...any) {
	m.event(kind, format, args...)
	m.out.Events[len(m.out.Events)-1].Member = i.Name
}
