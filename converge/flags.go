package converge

import "github.com/opennlb/opennlb/portrules"

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
