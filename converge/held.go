package converge

import "time"

// Connections tells in which buckets of each slot this member has connections.
// Residual buckets without any are given up for good.
func (m *Machine) Connections(now time.Time, live []Bitmap) Output {
	m.observe(now)
	if !m.settled() || len(live) != len(m.flags) {
		return m.step()
	}
	changed := false
	for i := range m.committed.Tables {
		t := &m.committed.Tables[i]
		held := t.holding(m.self.Priority)
		if held == nil || held.Empty() {
			continue
		}
		var used Bitmap
		for slot, table := range m.committed.SlotTable {
			if table == i {
				used.or(&live[slot])
			}
		}
		before := *held
		held.and(&used)
		changed = changed || *held != before
	}
	if changed {
		m.heldPause = m.heldEvery()
		m.activate() // once: that of hundreds of tables takes milliseconds
	}
	return m.step()
}

// heldEvery is the least time between two words on what this member holds: all tell
// all, so the larger the cluster, the rarer.
func (m *Machine) heldEvery() time.Duration {
	return time.Second * time.Duration(1+len(m.alive)/8)
}

// heldSeldom is how often a member repeats what has not changed for long.
const heldSeldom = 30 * time.Second

// tellHeld tells the view what this member still holds, once that is less than what
// was agreed, and repeats it, ever more rarely, in case it was lost.
func (m *Machine) tellHeld() {
	if !m.settled() || m.now.Sub(m.heldSent) < m.heldPause {
		return
	}
	held := make([]Bitmap, len(m.committed.Tables))
	holder := false
	for i := range held {
		if h := m.committed.Tables[i].holding(m.self.Priority); h != nil {
			held[i], holder = *h, true
		}
	}
	if !holder {
		return
	}
	m.heldSent, m.heldPause = m.now, min(2*m.heldPause, heldSeldom)
	word := &Held{Epoch: m.committed.Epoch, Tables: held}
	for _, i := range m.committed.Members {
		if p := i.peer(); p != m.self.peer() && m.isAlive(p) {
			m.send(p, Message{Held: word})
		}
	}
}

// onHeld shrinks what the sender is believed to hold; it never grows.
func (m *Machine) onHeld(from Peer, h *Held) {
	if m.committed == nil || m.committed.Epoch != h.Epoch || len(h.Tables) != len(m.committed.Tables) {
		return
	}
	changed := false
	for i := range h.Tables {
		held := m.committed.Tables[i].holding(from.Priority)
		if held == nil {
			continue
		}
		before := *held
		held.and(&h.Tables[i])
		changed = changed || *held != before
	}
	if changed && m.settled() {
		m.activate()
	}
}
