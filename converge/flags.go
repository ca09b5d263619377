package converge

import "github.com/opennlb/opennlb/portrules"

// uncounted lists where this member may have connections in what a gives to others,
// and a does not know of it. Where a puts other packets into a slot than before, that
// is everywhere.
func (m *Machine) uncounted(a *Assignment) []Extra {
	if !m.self.State.holds() {
		return nil
	}
	var extras []Extra
	before, serving := carry(a.Plan, m.layout), m.serves(^portrules.Flags(0))
	for slot := range a.SlotTable {
		if !m.self.holds(a.Plan, slot) {
			continue
		}
		t, old := a.Slot(slot), before[slot]
		mine := t.holding(m.self.Priority)
		var unknown Bitmap
		for b, owner := range t.Owner {
			had := old < 0 && serving || old >= 0 && m.flags[old][b] != 0
			if had && owner != m.self.Priority && (mine == nil || !mine.Has(b)) {
				unknown.Set(b)
			}
		}
		if !unknown.Empty() {
			extras = append(extras, Extra{Slot: slot, Buckets: unknown})
		}
	}
	return extras
}

// serves reports whether any bucket has one of the flags.
func (m *Machine) serves(f portrules.Flags) bool {
	for slot := range m.flags {
		for b := range m.flags[slot] {
			if m.flags[slot][b]&f != 0 {
				return true
			}
		}
	}
	return false
}

// lost calls f for each bucket that a may give to others: by its owner, or all of a slot
// whose packets go to other slots or buckets of a. kept is what becomes of its flags.
func (m *Machine) lost(a *Assignment, f func(flags *portrules.Flags, kept portrules.Flags)) {
	after := carry(m.layout, a.Plan)
	for slot := range m.flags {
		to, kept := after[slot], portrules.Flags(0)
		if m.self.State.holds() && (to < 0 || m.self.holds(a.Plan, to)) {
			kept = portrules.Residual
		}
		for b := range m.flags[slot] {
			if m.flags[slot][b] != 0 && (to < 0 || a.Slot(to).Owner[b] != m.self.Priority) {
				f(&m.flags[slot][b], kept)
			}
		}
	}
}

// gives reports whether this member takes new flows in what a gives to others or, if it
// does not keep its connections, serves any there.
func (m *Machine) gives(a *Assignment) (gives bool) {
	m.lost(a, func(flags *portrules.Flags, kept portrules.Flags) {
		gives = gives || *flags&portrules.Own != 0 || kept == 0
	})
	return gives
}

// release takes no new flows any more in what a gives to others, and keeps the
// connections there.
func (m *Machine) release(a *Assignment) {
	m.lost(a, func(flags *portrules.Flags, kept portrules.Flags) { *flags = kept })
	m.part, m.dirty = nil, true
}

// flagsOf are the flags that a gives this member when it is committed.
func (m *Machine) flagsOf(a *Assignment) []portrules.Buckets {
	self := m.self.Priority
	flags := make([]portrules.Buckets, len(a.SlotTable))
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
		m.part = render(epoch, m.layout, m.flags)
	}
	in := &Install{Now: m.part, Next: m.next}
	if m.prepared != nil && m.prepared.Epoch.Instance != m.self.Instance {
		in.Commit = m.prepared.Epoch
	}
	return in
}

// render is the flags as the data plane takes them; slots that are alike share a table.
func render(epoch uint64, plan *Plan, flags []portrules.Buckets) *Part {
	p := &Part{Epoch: epoch, Plan: plan, SlotTable: make([]int, len(flags))}
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
