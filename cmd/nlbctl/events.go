package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/opennlb/opennlb/config"
	"github.com/opennlb/opennlb/control"
)

// pollTime is how long one question for further events waits.
const pollTime = 30 * time.Second

// eventFilter says which events to show.
type eventFilter struct {
	kinds []string
	since time.Duration // 0: all that are kept
	last  int           // so many of those kept; -1: all
}

func (c *cli) events() *cobra.Command {
	var follow bool
	var f eventFilter
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Show joins, failures, convergences, drains and conflicts",
		Long: `Show joins, failures, convergences, drains and conflicts, as the member asked saw them. It keeps
the last thousand. A convergence is shown with what caused it, who asked for that, how long
it took and which buckets moved; -o json has the moves rule by rule.`,
		Example: `  nlbctl events --since 1h --kind converged
  nlbctl events --follow -n 10`,
		Args:              exactly(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return usageError{err}
			}
			client, err := c.dial()
			if err != nil {
				return err
			}
			defer client.Close()
			if follow {
				return untilInterrupted(cmd.Context(), c.follow(cmd.Context(), client, f))
			}
			events, err := nextEvents(cmd.Context(), client, 0, 0)
			if err != nil {
				return err
			}
			events = f.keep(events, time.Now())
			return c.print(events, func(w io.Writer) { eventTable(w, events) })
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "wait for more until interrupted, also while nlbd is started anew; -o json prints one object a line")
	cmd.Flags().StringSliceVar(&f.kinds, "kind", nil, "only of this kind, such as converged or no_owner; may be given several times")
	cmd.Flags().DurationVar(&f.since, "since", 0, "only of the time before now, such as 1h; 0s = all that are kept")
	cmd.Flags().IntVarP(&f.last, "last", "n", -1, "only the last so many; -1 = all that are kept")
	completeFlag(cmd, "kind", config.EventKinds()...)
	return cmd
}

func (f *eventFilter) check() error {
	if f.since < 0 {
		return fmt.Errorf("--since %v is not a time before now: write one such as 1h", f.since)
	}
	for _, k := range f.kinds {
		if !slices.Contains(config.EventKinds(), eventWord(k)) {
			return fmt.Errorf("unknown kind %q: write one of %s", k, strings.Join(config.EventKinds(), ", "))
		}
	}
	return nil
}

// eventWord is a kind as one word, as flags, configuration and the hook's environment have it.
func eventWord(kind string) string { return strings.ReplaceAll(kind, " ", "_") }

// wants reports whether an event is of a kind to be shown.
func (f *eventFilter) wants(e control.Event) bool {
	return len(f.kinds) == 0 || slices.ContainsFunc(f.kinds, func(k string) bool { return eventWord(k) == eventWord(e.Kind) })
}

// keep returns those to be shown of the events that are kept.
func (f *eventFilter) keep(events []control.Event, now time.Time) []control.Event {
	events = slices.DeleteFunc(events, func(e control.Event) bool {
		return !f.wants(e) || f.since > 0 && now.Sub(e.Time) > f.since
	})
	if f.last >= 0 && len(events) > f.last {
		events = events[len(events)-f.last:]
	}
	return events
}

// follow prints those that are kept and then each one as it comes. An nlbd that ends, to begin
// anew perhaps, is waited for: that is what one follows events for.
func (c *cli) follow(ctx context.Context, client *control.Client, f eventFilter) error {
	last, first, lost := uint64(0), true, false
	var seen time.Time // when the last event was
	for {
		events, err := nextEvents(ctx, client, last, pollTime)
		var refused *control.Error
		switch {
		case err == nil:
		case first || ctx.Err() != nil || errors.As(err, &refused):
			return err
		default:
			if !lost {
				fmt.Fprintf(c.stderr, "nlbctl: %s: waiting for it\n", printable(err.Error()))
			}
			last, lost = 0, true // it may count from 1 again
			if err := c.pause(ctx); err != nil {
				return err
			}
			continue
		}
		if n := len(events); n > 0 {
			last = events[n-1].Seq
		}
		if lost {
			events = slices.DeleteFunc(events, func(e control.Event) bool { return !e.Time.After(seen) })
			lost = false
		}
		if n := len(events); n > 0 {
			seen = events[n-1].Time
		}
		if first {
			events = f.keep(events, time.Now())
		}
		first = false
		for _, e := range events {
			if !f.wants(e) {
				continue
			}
			if err := c.printEvent(e); err != nil {
				return err
			}
		}
	}
}

func nextEvents(ctx context.Context, client *control.Client, after uint64, wait time.Duration) ([]control.Event, error) {
	ctx, cancel := context.WithTimeout(ctx, wait+answerTimeout)
	defer cancel()
	return client.Events(ctx, after, wait)
}

// printEvent prints one event of a stream: a line, or a YAML document.
func (c *cli) printEvent(e control.Event) error {
	switch c.format {
	case "json":
		text, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("write JSON: %w", err)
		}
		return c.write(append(text, '\n'))
	case "yaml":
		if err := c.write([]byte("---\n")); err != nil {
			return err
		}
	}
	return c.print(e, func(w io.Writer) { eventTable(w, []control.Event{e}) })
}

func eventTable(w io.Writer, events []control.Event) {
	for _, e := range events {
		fmt.Fprintln(w, eventLine(e))
		if len(e.Moved) > 0 {
			fmt.Fprintf(w, "%*s%s\n", eventIndent, "", oneLine(movesLine(e)))
		}
	}
}

// eventIndent is where the message of an eventLine begins, mostly.
const eventIndent = 51

// eventLine has columns of fixed width, since later events are not known yet.
func eventLine(e control.Event) string {
	message := e.Message
	if e.Duration != 0 {
		message += " (" + time.Duration(e.Duration).Round(time.Millisecond).String() + ")"
	}
	if e.Cause != "" {
		message += ": " + e.Cause
	}
	if e.By != "" {
		message += ", asked by " + e.By
	}
	return fmt.Sprintf("%s  %-12s  epoch %-4d  %s", e.Time.Local().Format("2006-01-02 15:04:05.000"), oneLine(e.Kind), e.Epoch, oneLine(message))
}

// shownMoves is how many of an event's moves a line has room for.
const shownMoves = 4

// movesLine says which buckets changed their owner.
func movesLine(e control.Event) string {
	parts, left := []string{}, e.Buckets
	for _, m := range e.Moved[:min(len(e.Moved), shownMoves)] {
		rule := m.Rule
		if rule == "" {
			rule = "default host"
		}
		parts = append(parts, fmt.Sprintf("%s %s > %s %d", rule, orNobody(m.From), orNobody(m.To), m.Buckets))
		left -= m.Buckets
	}
	if left > 0 {
		parts = append(parts, fmt.Sprintf("and %d more", left))
	}
	return "moved buckets: " + strings.Join(parts, ", ")
}
