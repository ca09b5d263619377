package converge

import (
	"time"

	"github.com/opennlb/opennlb/portrules"
)

// release takes away what a gives to others. Where this member may have
// connections it keeps them, and returns those that a does not count.
func (m *Machine) release(a *Assignment) []Extra {
	var extras []Extra
	for slot := range m.flags {
		t := a.Slot(slot)
		mine := t.holding(m.self.Priority)
		var unknown Bitmap
		for b, owner := range t.Owner {
			f := &m.flags[slot][b]
			if owner == m.self.Priority || *f == 0 {
				continue
			}
			if !m.self.State.holds() {
				*f = 0
				continue
			}
			*f = portrules.Residual
			if mine == nil || !mine.Has(b) {
				unknown.Set(b)
			}
		}
		if !unknown.Empty() {
			extras = append(extras, Extra{Slot: slot, Buckets: unknown})
		}
	}
	m.dirty = true
	return extras
}

// activate sets the flags that the committed assignment gives this member.
func (m *Machine) activate() {
	self := m.self.Priority
	for slot := range m.flags {
		t := m.committed.Slot(slot)
		mine := t.holding(self)
		for b, owner := range t.Owner {
			f := &m.flags[slot][b]
			switch {
			case owner == self && t.heldByOther(self, b):
				*f = portrules.Own | portrules.Foreign
			case owner == self:
				*f = portrules.Own
			case mine != nil && mine.Has(b):
				*f = portrules.Residual
			default:
				*f = 0
			}
		}
	}
	m.dirty = true
}

func (m *Machine) clearFlags() {
	for slot := range m.flags {
		m.flags[slot] = portrules.Buckets{}
	}
	m.dirty = true
}

// settled reports whether the flags are those of the view: nothing is promised.
func (m *Machine) settled() bool { return m.committed != nil && m.prepared == nil }

// install renders the flags; slots that are alike share a table.
func (m *Machine) install() *Install {
	in := &Install{SlotTable: make([]int, len(m.flags))}
	if m.committed != nil {
		in.Epoch = m.committed.Epoch.N
	}
	shared := make(map[portrules.Buckets]int)
	for slot := range m.flags {
		i, ok := shared[m.flags[slot]]
		if !ok {
			i = len(in.Tables)
			shared[m.flags[slot]] = i
			in.Tables = append(in.Tables, m.flags[slot])
		}
		in.SlotTable[slot] = i
	}
	return in
}

// Connections tells in which buckets of each slot this member has connections.
// Residual buckets without any are given up for good.
func (m *Machine) Connections(now time.Time, live []Bitmap) Output {
	m.observe(now)
	if !m.settled() || len(live) != len(m.flags) {
		return m.step()
	}
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
		if *held != before {
			m.heldSent = time.Time{}
			m.activate()
		}
	}
	return m.step()
}

// tellHeld repeats to the view what this member still holds, every second.
func (m *Machine) tellHeld() {
	if !m.settled() || m.now.Sub(m.heldSent) < time.Second {
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
	m.heldSent = m.now
	for _, i := range m.committed.Members {
		if p := i.peer(); p != m.self.peer() && m.isAlive(p) {
			m.send(p, Message{Held: &Held{Epoch: m.committed.Epoch, Tables: held}})
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
