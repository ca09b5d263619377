package converge

import "slices"

// clone copies what two members must not share, as the wire would.
func (m Message) clone() Message {
	if p := m.Prepare; p != nil {
		m.Prepare = p.clone()
	}
	if r := m.Reject; r != nil {
		c := *r
		if c.Committed != nil {
			c.Committed = c.Committed.clone()
		}
		m.Reject = &c
	}
	if h := m.Held; h != nil {
		m.Held = &Held{Epoch: h.Epoch, Tables: slices.Clone(h.Tables)}
	}
	return m
}

func (a *Assignment) clone() *Assignment {
	c := *a
	c.Members = slices.Clone(a.Members)
	c.SlotTable = slices.Clone(a.SlotTable)
	c.Tables = slices.Clone(a.Tables)
	for i := range c.Tables {
		c.Tables[i].Held = slices.Clone(c.Tables[i].Held)
	}
	return &c
}
