package lab

import (
	"fmt"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Pause is how long a processor must have been taken away for it to count. A shorter one no
// member minds; where nothing else runs, none is that long in a whole run of the tests.
const Pause = 150 * time.Millisecond

// Settle is how long a pause may be felt after its end: the members have to agree again.
const Settle = 2 * time.Second

// Machine tells the pauses of the processors that all hosts of a lab share.
type Machine struct {
	least  time.Duration
	mu     sync.Mutex
	pauses []pause // the latest ones
}

type pause struct {
	end    time.Time
	length time.Duration
}

const keptPauses = 1000

// WatchMachine notes, until this process ends, when a thread bound to one of the processors did
// not get it for long: the threads of members did not either.
func WatchMachine() (*Machine, error) { return watchMachine(Pause) }

func watchMachine(least time.Duration) (*Machine, error) {
	var ours unix.CPUSet
	if err := unix.SchedGetaffinity(0, &ours); err != nil {
		return nil, fmt.Errorf("watch the processors: %w", err)
	}
	m := &Machine{least: least}
	for cpu := range 64 * len(ours) {
		if ours.IsSet(cpu) {
			go m.watch(cpu)
		}
	}
	return m, nil
}

func (m *Machine) watch(cpu int) {
	runtime.LockOSThread() // for good: no other goroutine gets this thread
	var one unix.CPUSet
	one.Set(cpu)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return // this processor was taken out
	}
	tick := unix.NsecToTimespec(int64(10 * time.Millisecond))
	for last := time.Now(); ; {
		_ = unix.Nanosleep(&tick, nil) // interrupted: looks earlier
		now := time.Now()
		if length := now.Sub(last); length >= m.least {
			m.note(pause{now, length})
		}
		last = now
	}
}

func (m *Machine) note(p pause) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.pauses) == keptPauses {
		m.pauses = append(m.pauses[:0], m.pauses[1:]...)
	}
	m.pauses = append(m.pauses, p)
}

// Paused is the longest pause that ended after a time, or 0 where none was as long as [Pause].
func (m *Machine) Paused(since time.Time) (longest time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.pauses {
		if p.end.After(since) {
			longest = max(longest, p.length)
		}
	}
	return longest
}
