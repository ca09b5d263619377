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
	case msg.Reject != nil:
		m.onReject(from, msg.Reject)
	case msg.Announce != nil:
		m.onAnnounce(from, msg.Announce)
	case msg.Held != nil:
		m.onHeld(from, msg.Held)
	}
	return m.step()
}

func (m *Machine) onInfo(from Peer, msg *InfoMsg) {
	if msg.Info.peer() != from {
		return
	}
	m.seen = max(m.seen, msg.Seen)
	if msg.Digest == m.cfg.Digest && msg.Info.valid(len(m.cfg.Rules)) != nil {
		return
	}
	old, known := m.words[from.Priority]
	if known && old.Info.newer(msg.Info) && old.from == from {
		return
	}
	if msg.Digest != m.cfg.Digest && (!known || old.Digest != msg.Digest || old.from != from) {
		m.event("refused", "%s: its cluster section (name, mode, vips, rules) differs from ours: make them equal and restart it", from.Name)
	}
	m.words[from.Priority] = word{from: from, at: m.now, InfoMsg: *msg}
	delete(m.banned, from)
	if msg.View == (Epoch{}) && m.committed != nil {
		m.sendInfo(from) // lest it founds a cluster of its own
	}
}

func (m *Machine) onPrepare(from Peer, p *Prepare) {
	a := &p.Assignment
	if a.Digest != m.cfg.Digest {
		m.reject(from, p, "another cluster section")
		return
	}
	if a.valid(len(m.cfg.Rules)) != nil || a.Epoch.By != from.Priority || a.Epoch.Instance != from.Instance || !a.has(m.self.peer()) {
		return
	}
	m.seen = max(m.seen, a.Epoch.N)
	switch {
	case m.committed != nil && m.committed.Epoch == a.Epoch,
		m.prepared != nil && m.prepared.Epoch == a.Epoch:
		m.send(from, Message{Prepared: &Prepared{Epoch: a.Epoch}}) // the first answer was lost
	case !a.Epoch.above(m.promised):
		m.reject(from, p, "promised a later epoch")
	case m.committed != nil && m.committed.Epoch.above(p.Base):
		m.reject(from, p, "knows a later epoch")
	default:
		m.abandon()
		extra := m.promise(a)
		m.send(from, Message{Prepared: &Prepared{Epoch: a.Epoch, Extra: extra}})
	}
}

func (m *Machine) reject(to Peer, p *Prepare, reason string) {
	r := &Reject{Epoch: p.Assignment.Epoch, Seen: max(m.seen, m.promised.N), Reason: reason}
	if m.committed != nil && m.committed.Epoch.above(p.Base) {
		r.Committed = m.committed
	}
	m.send(to, Message{Reject: r})
}

// promise binds this member to a, and takes no new flows any more in what a
// gives to others. It returns what a does not know that this member holds.
func (m *Machine) promise(a *Assignment) []Extra {
	m.promised, m.prepared, m.stuck = a.Epoch, a, m.now
	return m.release(a)
}

func (m *Machine) onAnnounce(from Peer, an *Announce) {
	m.seen = max(m.seen, an.Epoch.N)
	mine := an.View&(1<<(m.self.Priority-1)) != 0
	switch {
	case an.Epoch.By != from.Priority || an.Epoch.Instance != from.Instance:
		// Not the one who made it: nothing to learn.
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
	case !m.committed.has(from) && !mine && rivalWins(an.View, m.committed.mask()):
		m.resign("the rival group of %s is larger or has the lowest priority number", from.Name)
	}
}

// rivalWins decides between two groups that hear each other: the larger serves,
// of equals the one with the lowest priority number.
func rivalWins(theirs, ours uint32) bool {
	if t, o := bits.OnesCount32(theirs), bits.OnesCount32(ours); t != o {
		return t > o
	}
	return bits.TrailingZeros32(theirs) < bits.TrailingZeros32(ours)
}

// resign leaves the view: silent, and asking to be let in again.
func (m *Machine) resign(format string, args ...any) {
	m.event("out", format, args...)
	m.abandon()
	m.later, m.committed, m.prepared, m.loose = m.committed, nil, nil, m.now
	m.self.Version++
	m.told, m.stuck = time.Time{}, time.Time{}
	m.clearFlags()
}

// commit makes a the view.
func (m *Machine) commit(a *Assignment) {
	before := m.committed
	m.committed, m.prepared, m.later = a, nil, nil
	m.extras, m.stuck, m.heldSent = nil, time.Time{}, time.Time{}
	m.trustView()
	m.activate()
	m.reportChange(before)
}

// reportChange tells who came and who went.
func (m *Machine) reportChange(before *Assignment) {
	for _, i := range m.committed.Members {
		if before == nil || !before.has(i.peer()) {
			m.event("join", "%s (priority %d) is in the cluster", i.Name, i.Priority)
		}
	}
	if before == nil {
		return
	}
	for _, i := range before.Members {
		if now, ok := m.committed.Member(i.Priority); !ok {
			m.event("leave", "%s (priority %d) is out of the cluster", i.Name, i.Priority)
		} else if now.State != i.State {
			m.event("state", "%s is %s", i.Name, now.State)
		}
	}
}
