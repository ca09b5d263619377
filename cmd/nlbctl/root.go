package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/opennlb/opennlb/control"
)

// Exit statuses.
const (
	done   = 0
	failed = 1
	misuse = 2
)

// answerTimeout bounds one question to nlbd; those that wait for events add to it.
const answerTimeout = 15 * time.Second

// env is the world that the commands see.
type env struct {
	stdout, stderr io.Writer
	terminal       bool // stdout is one
	noColor        bool
	sleep          func(context.Context, time.Duration) error
	getenv         func(string) string                       // nil: nothing is set
	keys           func() (keys <-chan byte, restore func()) // nil: none come
	size           func() (columns, rows int)                // of the terminal; nil: not known
}

// cli is what all commands share.
type cli struct {
	env
	target
	format string // table, json or yaml
}

// usageError is a mistake in the command line.
type usageError struct{ error }

// errReported ends a command that has already printed what went wrong.
var errReported = errors.New("reported")

// run executes one command line and returns the exit status.
func run(ctx context.Context, e env, args []string) int {
	c := &cli{env: e}
	root := c.root()
	root.SetArgs(args)
	root.SetOut(e.stdout)
	root.SetErr(e.stderr)
	cmd, err := root.ExecuteContextC(ctx)
	var usage usageError
	switch {
	case err == nil:
		return done
	case errors.Is(err, errReported):
		return failed
	case ctx.Err() != nil:
		fmt.Fprintln(e.stderr, "nlbctl: interrupted")
		return failed
	case errors.As(err, &usage):
		fmt.Fprintf(e.stderr, "nlbctl: %v\nSee `%s --help`.\n", err, cmd.CommandPath())
		return misuse
	}
	fmt.Fprintf(e.stderr, "nlbctl: %s\n", printable(err.Error()))
	return failed
}

func (c *cli) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "nlbctl",
		Short:         "Show and steer the members of an OpenNLB cluster",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          c.noVerb,
		RunE: func(*cobra.Command, []string) error {
			return usageError{errors.New("no verb given")}
		},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			switch c.format {
			case "table", "json", "yaml":
				return c.check(cmd)
			}
			return usageError{fmt.Errorf("unknown output format %q: write table, json or yaml", c.format)}
		},
	}
	if c.getenv == nil {
		c.getenv = func(string) string { return "" }
	}
	c.flags(root, c.getenv)
	root.PersistentFlags().StringVarP(&c.format, "output", "o", "table", "output format: table, json or yaml")
	completeFlag(root, "output", "table", "json", "yaml")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.SuggestionsMinimumDistance = 2
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(c.status())
	root.AddCommand(c.states()...)
	root.AddCommand(c.weight()...)
	root.AddCommand(c.rule(), c.apply(), c.config(), c.explain(), c.queryPort(), c.trace(), c.clients(), c.events(), c.audit(), c.key(), c.ip2mac(), c.keygen(), c.switchConfig(), c.doctor(), c.validate(), c.version(), c.completion(root))
	return root
}

// noVerb refuses what is not the name of a command.
func (c *cli) noVerb(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := fmt.Errorf("unknown verb %q", args[0])
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		err = fmt.Errorf("%w: did you mean %s?", err, strings.Join(near, " or "))
	}
	return usageError{err}
}

// exactly requires as many arguments as there are names.
func exactly(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return usageError{fmt.Errorf("%s is missing", names[len(args)])}
		case len(args) > len(names):
			return usageError{fmt.Errorf("unexpected argument %q", args[len(names)])}
		}
		return nil
	}
}

// untilInterrupted makes an interruption the ordinary end of a command that has no
// other.
func untilInterrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// ask calls f with a client of the daemon and a context that bounds the answer.
func ask[T any](ctx context.Context, c *cli, f func(context.Context, *control.Client) (T, error)) (answer T, err error) {
	return askWithin(ctx, c, answerTimeout, f)
}

// askWithin is ask with another bound.
func askWithin[T any](ctx context.Context, c *cli, timeout time.Duration, f func(context.Context, *control.Client) (T, error)) (answer T, err error) {
	client, err := c.dial()
	if err != nil {
		return answer, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return f(ctx, client)
}

// askStatus asks for the status.
func (c *cli) askStatus(ctx context.Context) (control.Status, error) {
	return ask(ctx, c, func(ctx context.Context, client *control.Client) (control.Status, error) { return client.Status(ctx) })
}
