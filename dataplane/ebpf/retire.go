package ebpf

import (
	"github.com/opennlb/opennlb/portrules"
)

// nameRules notes the rules of a policy that is about to be placed.
func (e *Engine) nameRules(rules []portrules.Rule) error {
	for _, r := range rules {
		if e.names[r.ID] == r.Name {
			continue
		}
		if err := writeName(e.objects.names, r.ID, r.Name); err != nil {
			return err
		}
		e.names[r.ID] = r.Name
	}
	return nil
}

// retire forgets what was counted and remembered about rules that are in neither policy
// any more. It first waits for programs that still work by an earlier one, some
// milliseconds: rules go seldom.
func (e *Engine) retire() error {
	gone := make(map[uint16]bool)
	for id := range e.names {
		gone[id] = true
	}
	for _, p := range []placed{e.active, e.next} {
		for _, r := range p.rules() {
			delete(gone, r.ID)
		}
	}
	if len(gone) == 0 {
		e.slots.rest()
		return nil
	}
	if err := e.slots.settle(); err != nil {
		return err
	}
	if err := forgetRules(e.objects.clients, gone); err != nil {
		return err
	}
	for id := range gone {
		if err := zeroCounters(e.objects.counters, id); err != nil {
			return err
		}
		if err := writeName(e.objects.names, id, ""); err != nil {
			return err
		}
		delete(e.names, id)
	}
	return nil
}
