package lab

import (
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMachineTellsPauses takes a processor from everybody, the watch included. The kernel lets
// others in now and then (fair server), so a second of it is many pauses.
func TestMachineTellsPauses(t *testing.T) {
	needRoot(t)
	const least = 30 * time.Millisecond
	m, err := watchMachine(least)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for range 5 {
		if err := hog(time.Second); err != nil {
			t.Fatal(err)
		}
		if m.Paused(began) != 0 {
			break
		}
	}
	got := m.Paused(began)
	if got < least || got > time.Since(began) {
		t.Errorf("a processor was kept busy, and is told to have been gone for %s", got)
	}
	if got := m.Paused(time.Now()); got != 0 {
		t.Errorf("a pause of %s in no time", got)
	}
}

// hog keeps a processor in a thread that no other one may interrupt.
func hog(d time.Duration) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good
		var ours, one unix.CPUSet
		err := unix.SchedGetaffinity(0, &ours)
		for cpu := 0; one.Count() == 0; cpu++ {
			if ours.IsSet(cpu) {
				one.Set(cpu)
			}
		}
		if err == nil {
			err = unix.SchedSetaffinity(0, &one)
		}
		if err == nil {
			err = unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}, 0)
		}
		for begin := time.Now(); err == nil && time.Since(begin) < d; {
		}
		done <- err
	}()
	return <-done
}

func TestMachineKeepsTheLatest(t *testing.T) {
	var m Machine
	now := time.Now()
	for n := range keptPauses + 5 {
		m.note(pause{now.Add(time.Duration(n)), time.Duration(n)})
	}
	if len(m.pauses) != keptPauses || m.pauses[0].length != 5 || m.Paused(now) != keptPauses+4 {
		t.Errorf("%d pauses from %d on, the longest %d", len(m.pauses), m.pauses[0].length, m.Paused(now))
	}
}
