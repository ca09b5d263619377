package agent

import (
	"errors"
	"fmt"
)

// undo is what Run acquired, released in reverse order.
type undo []step

type step struct {
	name string
	run  func() error
}

// add registers how to give back what was just acquired.
func (u *undo) add(name string, run func() error) { *u = append(*u, step{name, run}) }

// run releases everything, even when a release fails.
func (u *undo) run() error {
	var errs []error
	for i := len(*u) - 1; i >= 0; i-- {
		if err := (*u)[i].run(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", (*u)[i].name, err))
		}
	}
	*u = nil
	return errors.Join(errs...)
}
