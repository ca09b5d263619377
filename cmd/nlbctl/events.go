package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/opennlb/opennlb/control"
)

// pollTime is how long one question for further events waits.
const pollTime = 30 * time.Second

func (c *cli) events() *cobra.Command {
	var follow bool
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Show joins, failures, convergences, drains and conflicts",
		Args:  exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.dial()
			if err != nil {
				return err
			}
			defer client.Close()
			if follow {
				return untilInterrupted(cmd.Context(), c.follow(cmd.Context(), client))
			}
			events, err := nextEvents(cmd.Context(), client, 0, 0)
			if err != nil {
				return err
			}
			return c.print(events, func(w io.Writer) { eventTable(w, events) })
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "wait for more until interrupted; -o json prints one object a line")
	return cmd
}

// follow prints all events that are kept and then each one as it comes.
func (c *cli) follow(ctx context.Context, client *control.Client) error {
	var last uint64
	for {
		events, err := nextEvents(ctx, client, last, pollTime)
		if err != nil {
			return err
		}
		for _, e := range events {
			last = e.Seq
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
	}
}

// eventLine has columns of fixed width, since later events are not known yet.
func eventLine(e control.Event) string {
	message := e.Message
	if e.Duration != 0 {
		message += " (" + time.Duration(e.Duration).Round(time.Millisecond).String() + ")"
	}
	return fmt.Sprintf("%s  %-12s  epoch %-4d  %s", e.Time.Local().Format("2006-01-02 15:04:05.000"), printable(e.Kind), e.Epoch, printable(message))
}
