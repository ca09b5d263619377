package main

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/opennlb/opennlb/control"
)

// drainWatch follows one member until it has stopped.
type drainWatch struct {
	name  string
	begun bool   // it was seen draining
	shown string // the latest progress printed
}

// waitDrained shows the connections that the members have left, whenever they
// change, until all have stopped. It writes to stderr where stdout carries data. One that
// will not stop is reported, and the others are waited for nevertheless.
func (c *cli) waitDrained(ctx context.Context, names []string) error {
	w := c.stdout
	if c.format != "table" {
		w = c.stderr
	}
	waiting := make([]*drainWatch, len(names))
	for i, name := range names {
		waiting[i] = &drainWatch{name: name}
	}
	lost := false
	for len(waiting) > 0 {
		s, err := c.askStatus(ctx)
		if err != nil {
			return err
		}
		var left []*drainWatch
		for _, d := range waiting {
			stopped, err := d.look(w, s.Members)
			if err != nil {
				fmt.Fprintf(c.stderr, "nlbctl: %s\n", printable(err.Error()))
				lost = true
				continue
			}
			if !stopped {
				left = append(left, d)
			}
		}
		if waiting = left; len(waiting) == 0 {
			break
		}
		if err := c.pause(ctx); err != nil {
			return err
		}
	}
	if lost {
		return errReported
	}
	return nil
}

// look prints what is new about the member and reports whether it has stopped.
func (d *drainWatch) look(w io.Writer, members []control.Member) (stopped bool, err error) {
	i := slices.IndexFunc(members, func(m control.Member) bool { return m.Name == d.name })
	if i < 0 || !members[i].Alive {
		return false, fmt.Errorf("%s left the cluster while draining", d.name)
	}
	m := members[i]
	switch m.State {
	case "stopped", "suspended":
		d.show(w, m.State)
		return true, nil
	case "draining":
		d.begun = true
		d.show(w, left(m))
		return false, nil
	}
	if d.begun {
		return false, fmt.Errorf("%s was started again while draining", d.name)
	}
	return false, nil // the news has not come round yet
}

func (d *drainWatch) show(w io.Writer, progress string) {
	if progress == d.shown {
		return
	}
	d.shown = progress
	fmt.Fprintf(w, "%s: %s\n", printable(d.name), progress)
}
