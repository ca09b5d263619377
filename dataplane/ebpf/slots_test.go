package ebpf

import (
	"math/rand/v2"
	"testing"
)

// Whatever the agent and the programs do, in whatever order, a slot is written only
// after a whole grace period in which it was not in use at any time.
func TestSlotsRest(t *testing.T) {
	enterNamespace(t)
	e := openEngine(t, "tc", options{})
	s := e.slots
	rng := rand.New(rand.NewPCG(5, 6))
	var (
		step     int
		lastUse  [policySlots]int // the step in which a slot was in use last
		started  = map[uint64]int{}
		finished int // the latest step at which a grace period that is over had started
		waited   int
	)
	use := func() {
		word := s.control.slots()
		for _, i := range []uint32{word.active(), word.prepared()} {
			if i < policySlots {
				lastUse[i] = step
			}
		}
	}
	begin := func() uint64 {
		period := s.begin()
		started[period] = step
		return period
	}
	var pending []uint64
	for step = 1; step < 1000; step++ {
		switch rng.IntN(5) {
		case 0: // the programs switch
			if word := s.control.slots(); word.prepared() < policySlots {
				use()
				s.control.setSlots(word.prepared(), noSlot)
			}
		case 1:
			pending = append(pending, begin())
		case 2:
			if len(pending) > 0 {
				finished = max(finished, started[pending[0]])
				s.completed = max(s.completed, pending[0])
				pending = pending[1:]
			}
		default: // the agent writes and switches
			began := s.began
			number, err := s.free(noSlot)
			if err != nil {
				t.Fatal(err)
			}
			if s.began != began {
				finished = step
				waited++
			} else if lastUse[number] >= finished && finished > 0 {
				t.Fatalf("step %d: slot %d was in use at step %d, and no grace period began since", step, number, lastUse[number])
			}
			use()
			active := s.control.slots().active()
			if rng.IntN(2) == 0 {
				active, number = number, noSlot
			}
			s.control.setSlots(active, number)
			s.mark()
		}
		use()
	}
	if waited == 0 || waited > step/2 {
		t.Errorf("waited %d times in %d steps", waited, step)
	}
}
