package dataplane

import (
	"errors"
	"slices"
)

// Undos are how an engine releases what it acquired, in reverse order.
type Undos []undo

type undo struct {
	run     func() error
	remains bool // what it releases may outlive the process: programs on hooks, pins, rules
}

// OnClose registers how to release what belongs to the process only.
func (u *Undos) OnClose(run func() error) { *u = append(*u, undo{run, false}) }

// OnRemove registers how to release what would outlive the process.
func (u *Undos) OnRemove(run func() error) { *u = append(*u, undo{run, true}) }

// Release runs all, last first, even when some fail.
func (u *Undos) Release() error {
	var errs []error
	for _, undo := range slices.Backward(*u) {
		errs = append(errs, undo.run())
	}
	*u = nil
	return errors.Join(errs...)
}

// Leave releases what belongs to the process only: what drops frames stays.
func (u *Undos) Leave() error {
	*u = slices.DeleteFunc(*u, func(u undo) bool { return u.remains })
	return u.Release()
}
