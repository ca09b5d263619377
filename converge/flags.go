package converge

import (
	"time"

	"github.com/opennlb/opennlb/portrules"
)

// uncounted lists where this member may have connections in what a gives to others,
// and a does not know of it.
func (m *Machine) uncounted(a *Assignment) []Extra {
	if !m.self.State.holds() {
		return nil
	}
	var extras []Extra
	for slot := range m.flags {
		t := a.Slot(slot)
		mine := t.holding(m.self.Priority)
		var unknown Bitmap
		for b, owner := range t.Owner {
			if owner != m.self.Priority && m.flags[slot][b] != 0 && (mine == nil || !mine.Has(b)) {
				unknown.Set(b)
			}
		}
		if !unknown.Empty() {
			extras = append(extras, Extra{Slot: slot, Buckets: unknown})
		}
	}
	return extras
}

// gives reports whether this member takes new flows in what a gives to others or, if it
// does not keep its connections, serves any there.
func (m *Machine) gives(a *Assignment) bool {
	ends := portrules.Own
	if !m.self.State.holds() {
		ends |= portrules.Residual
	}
	for slot := range m.flags {
		for b, owner := range a.Slot(slot).Owner {
			if owner != m.self.Priority && m.flags[slot][b]&ends != 0 {
				return true
			}
		}
	}
	return false
}

// release takes no new flows any more in what a gives to others, and keeps the
// connections there.
func (m *Machine) release(a *Assignment) {
	kept := portrules.Residual
	if !m.self.State.holds() {
		kept = 0
	}
	for slot := range m.flags {
		for b, owner := range a.Slot(slot).Owner {
			if f := &m.flags[slot][b]; owner != m.self.Priority && *f != 0 {
				*f = kept
			}
		}
	}
	m.part, m.dirty = nil, true
}

// flagsOf are the flags that a gives this member when it is committed.
func (m *Machine) flagsOf(a *Assignment) []portrules.Buckets {
	self := m.self.Priority
	flags := make([]portrules.Buckets, len(m.flags))
	for slot := range flags {
		t := a.Slot(slot)
		mine := t.holding(self)
		for b, owner := range t.Owner {
			f := &flags[slot][b]
			switch {
			case owner == self && t.heldByOther(self, b):
				*f = portrules.Own | portrules.Foreign
			case owner == self:
				*f = portrules.Own
			case mine != nil && mine.Has(b):
				*f = portrules.Residual
			}
		}
	}
	return flags
}

// activate sets the flags of the view anew, after what is held became less.
func (m *Machine) activate() {
	m.flags = m.flagsOf(m.committed)
	m.part, m.dirty = nil, true
}

func (m *Machine) clearFlags() {
	for slot := range m.flags {
		m.flags[slot] = portrules.Buckets{}
	}
	m.part, m.dirty = nil, true
}

// settled reports whether the flags are those of the view: nothing is promised.
func (m *Machine) settled() bool { return m.committed != nil && m.prepared == nil }

// install says what is in force and what comes next. A member's own beacons do not come
// back to it.
func (m *Machine) install() *Install {
	if m.part == nil {
		epoch := uint64(0)
		if m.committed != nil {
			epoch = m.committed.Epoch.N
		}
		m.part = render(epoch, m.flags)
	}
	in := &Install{Now: m.part, Next: m.next}
	if m.prepared != nil && m.prepared.Epoch.Instance != m.self.Instance {
		in.Commit = m.prepared.Epoch
	}
	return in
}

// render is the flags as the data plane takes them; slots that are alike share a table.
func render(epoch uint64, flags []portrules.Buckets) *Part {
	p := &Part{Epoch: epoch, SlotTable: make([]int, len(flags))}
	shared := make(map[portrules.Buckets]int)
	for slot := range flags {
		i, ok := shared[flags[slot]]
		if !ok {
			i = len(p.Tables)
			shared[flags[slot]] = i
			p.Tables = append(p.Tables, flags[slot])
		}
		p.SlotTable[slot] = i
	}
	return p
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
			m.heldPause = m.heldEvery()
			m.activate()
		}
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
