package ebpf

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// slots are the places where policies lie ready for the programs. A policy is written
// in place, into memory that the kernel shares, because putting a new map into a slot
// takes a grace period of the kernel, 10 ms and more, in which the buckets that move
// would have no owner. In return a slot may be written only when no program can still be
// reading it: a whole grace period must have passed since it was last in use, as the
// active or the prepared one.
type slots struct {
	outer   *ebpf.Map
	spec    *ebpf.MapSpec // of the maps in the slots
	idle    *ebpf.Map     // an empty one, to wait with
	pins    pins
	control *control

	mu        sync.Mutex // guards what follows
	list      [policySlots]slot
	began     uint64 // grace periods; a slot in use at the beginning of one has its number
	completed uint64
	waiting   sync.WaitGroup
}

// slot is one place.
type slot struct {
	pages  *ebpf.Map // nil: not made yet
	memory []byte    // of the pages; nil where they are a predecessor's
	used   uint64    // the latest grace period that had begun when it was seen in use
}

func newSlots(o *objects, p pins, c *control) (*slots, error) {
	s := &slots{outer: o.policies, spec: o.page, pins: p, control: c, began: 1, completed: 1}
	s.control.setSlots(0, noSlot) // empty still
	var err error
	s.idle, err = s.make(1)
	return s, err
}

// write stores a policy in a slot that is not in use, nor is it except, and returns
// the slot's number.
func (s *slots) write(pages []page, except uint32) (uint32, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	number, err := s.free(except)
	if err != nil {
		return noSlot, err
	}
	for i := range s.list { // all at the first time: later there is no time
		if i == int(number) || s.list[i].pages == nil {
			if err := s.grow(uint32(i), len(pages)); err != nil {
				return noSlot, err
			}
		}
	}
	for i := range pages {
		copy(s.list[number].memory[i*pageLength:], pages[i][:])
	}
	return number, nil
}

// free finds a slot that no program reads; if need be it waits for one.
func (s *slots) free(except uint32) (uint32, error) {
	word := s.mark()
	found := uint32(noSlot)
	for i := range uint32(policySlots) {
		if i == word.active() || i == word.prepared() || i == except {
			continue
		}
		found = i
		if s.list[i].used < s.completed {
			return i, nil
		}
	}
	return found, s.pass()
}

// settle returns when no program works any more by what was in use when it was called
// and is not now.
func (s *slots) settle() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pass()
}

// pass lets a grace period pass.
func (s *slots) pass() error {
	period := s.begin()
	if err := s.wait(); err != nil {
		return err
	}
	s.completed = max(s.completed, period)
	return nil
}

// mark notes which slots are in use. The programs change that too.
func (s *slots) mark() slotWord {
	word := s.control.slots()
	for _, i := range []uint32{word.active(), word.prepared()} {
		if i < policySlots {
			s.list[i].used = s.began
		}
	}
	return word
}

// begin numbers a grace period that is about to begin.
func (s *slots) begin() uint64 {
	s.began++
	s.mark()
	return s.began
}

// wait takes a grace period: programs that run when it is called have ended when it
// returns. An update of a map of maps does that (maybe_wait_bpf_programs in the
// kernel's bpf/syscall.c), also that of a place that no program looks at.
func (s *slots) wait() error {
	if err := s.outer.Put(uint32(policySlots), s.idle); err != nil {
		return fmt.Errorf("wait for programs that read policies: %w", err)
	}
	return nil
}

// rest waits in the background, so that the next write need not.
func (s *slots) rest() {
	s.mu.Lock()
	period := s.begin()
	s.mu.Unlock()
	s.waiting.Go(func() {
		if s.wait() != nil {
			return // the next write tries again, and tells
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.completed = max(s.completed, period)
	})
}

// grow gives a slot that is not in use a map of at least this many pages.
func (s *slots) grow(number uint32, pages int) error {
	sl := &s.list[number]
	if len(sl.memory) >= pages*pageLength {
		return nil
	}
	if err := sl.close(); err != nil {
		return err
	}
	m, err := s.make(pages + pages/2 + 16) // tables come and go
	if err != nil {
		return err
	}
	sl.pages = m
	if sl.memory, err = unix.Mmap(m.FD(), 0, int(m.MaxEntries())*pageLength, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return fmt.Errorf("map pages of policy into memory: %w", err)
	}
	if err := s.outer.Put(number, m); err != nil {
		return fmt.Errorf("store policy: %w", err)
	}
	return s.pins.put(policyPin(number), m)
}

func (s *slots) make(pages int) (*ebpf.Map, error) {
	spec := s.spec.Copy()
	spec.MaxEntries = uint32(pages)
	m, err := ebpf.NewMap(spec)
	if err != nil {
		return nil, fmt.Errorf("create map of %d pages for policy: %w", pages, err)
	}
	return m, nil
}

func (s *slots) close() error {
	s.waiting.Wait()
	errs := []error{s.idle.Close()}
	for i := range s.list {
		errs = append(errs, s.list[i].close())
	}
	return errors.Join(errs...)
}

// close lets go of the map; its place in the outer map holds it still.
func (sl *slot) close() error {
	var errs []error
	if sl.memory != nil {
		errs = append(errs, unix.Munmap(sl.memory))
	}
	if sl.pages != nil {
		errs = append(errs, sl.pages.Close())
	}
	sl.memory, sl.pages = nil, nil
	return errors.Join(errs...)
}
