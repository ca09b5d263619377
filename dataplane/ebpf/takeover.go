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

// inherit takes over the active policy of a predecessor, so that the new programs
// know the VIPs whose traffic they must drop before they replace the old ones.
func (o *objects) inherit(p pins, old *nlbControl) error {
	if old.Layout != layout {
		return fmt.Errorf("pins %s were left by another version of nlbd (layout %d, not %d): run `nlbd --cleanup` when no VIP is on this host, or start that version and stop it in order",
			p, old.Layout, layout)
	}
	policy, err := p.load(pinPolicy)
	if policy == nil { // it died before its first Install
		return err
	}
	defer policy.Close()
	if err := o.policies.Put(uint32(0), policy); err != nil {
		return fmt.Errorf("take over predecessor's policy: %w", err)
	}
	return nil
}
