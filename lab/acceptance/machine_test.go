package acceptance

import (
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// machine tells the pauses of the processors that all tests share.
var machine watch

// watch notes when a thread bound to one of the processors did not get it for long: other
// threads, those of members among them, did not either.
type watch struct {
	mu     sync.Mutex
	pauses []pause
}

type pause struct {
	end    time.Time
	length time.Duration
}

// start watches until the process ends.
func (w *watch) start() error {
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return err
	}
	for cpu := range runtime.NumCPU() {
		if all.IsSet(cpu) {
			go w.processor(cpu)
		}
	}
	return nil
}

func (w *watch) processor(cpu int) {
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
		if length := now.Sub(last); length >= stalled {
			w.mu.Lock()
			w.pauses = append(w.pauses, pause{now, length})
			w.mu.Unlock()
		}
		last = now
	}
}

// since is the longest pause that ended after a time, or 0.
func (w *watch) since(t time.Time) (longest time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.pauses {
		if p.end.After(t) {
			longest = max(longest, p.length)
		}
	}
	return longest
}
