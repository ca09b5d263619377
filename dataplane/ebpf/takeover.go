package ebpf

import "fmt"

// silence ends the lease of a dead predecessor, which may have some time to run,
// and returns a copy of its control words; nil without a predecessor.
func (p pins) silence() (*nlbControl, error) {
	m, err := p.load(pinAgent)
	if m == nil {
		return nil, err
	}
	defer m.Close()
	c, err := mapControl(m)
	if err != nil {
		return nil, err
	}
	c.setLease(0)
	words := *c.words()
	return &words, c.close()
}

// takeOver puts the active policy of a predecessor into the slot that its pin is named
// after, so that the new programs know the VIPs whose traffic they must drop before
// they replace the old ones.
func (s *slots) takeOver(old *nlbControl) error {
	if old.Layout != layout {
		return fmt.Errorf("pins %s were left by another version of nlbd (layout %d, not %d): run `nlbd --cleanup` when no VIP is on this host, or start that version and stop it in order",
			s.pins, old.Layout, layout)
	}
	number := slotWord(old.Slots).active()
	policy, err := s.pins.load(policyPin(number))
	if policy == nil { // it died before its first Install
		return err
	}
	s.list[number%policySlots].pages = policy
	if err := s.outer.Put(number, policy); err != nil {
		return fmt.Errorf("take over predecessor's policy: %w", err)
	}
	s.control.setSlots(number, noSlot)
	return nil
}
