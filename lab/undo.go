package lab

import (
	"errors"
	"sync"
)

// undo is a stack of steps that give back what was acquired.
type undo struct {
	mu    sync.Mutex
	steps []func() error
}

// add registers a step; call it on the line after the acquisition.
func (u *undo) add(step func() error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.steps = append(u.steps, step)
}

// run takes the steps off the stack, last in first out, and runs every one even
// when some fail. A second run finds nothing to do.
func (u *undo) run() error {
	var errs []error
	for {
		u.mu.Lock()
		if len(u.steps) == 0 {
			u.mu.Unlock()
			return errors.Join(errs...)
		}
		last := len(u.steps) - 1
		step := u.steps[last]
		u.steps = u.steps[:last]
		u.mu.Unlock()
		errs = append(errs, step())
	}
}
