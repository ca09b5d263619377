package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/opennlb/opennlb/control"
)

// states returns the verbs that change the state of members.
func (c *cli) states() []*cobra.Command {
	var all []*cobra.Command
	for _, v := range []struct{ action, short, done string }{
		{control.Start, "Let members answer their share", "started"},
		{control.Stop, "Stop members at once; their connections break", "stopped"},
		{control.Drain, "Stop members once their connections have ended", "draining"},
		{control.Suspend, "Stop members and make them ignore start", "suspended"},
		{control.Resume, "End a suspension; the members stay stopped", "resumed"},
	} {
		var r control.StateRequest
		var timeout time.Duration
		var wait bool
		cmd := &cobra.Command{
			Use:               v.action + " [MEMBER...|--all]",
			Short:             v.short,
			Long:              v.short + ".\n\nWithout MEMBER or --all, it is the member that is asked.",
			Args:              func(_ *cobra.Command, args []string) error { return checkMembers(args, r.All) },
			ValidArgsFunction: c.completeMembers,
			RunE: func(cmd *cobra.Command, args []string) error {
				r.Action, r.Members, r.Timeout = v.action, args, control.Duration(timeout)
				if timeout < 0 || timeout > control.MaxDrain {
					return usageError{fmt.Errorf("timeout %v is out of range: give 0s to %v", timeout, control.MaxDrain)}
				}
				return c.setState(cmd.Context(), r, v.done, wait)
			},
		}
		cmd.Flags().BoolVar(&r.All, "all", false, "all members, those out of reach too")
		if v.action == control.Drain {
			cmd.Flags().DurationVar(&timeout, "timeout", 0, "break the connections that are left after this time; 0s = never")
			cmd.Flags().BoolVar(&wait, "wait", false, "show the connections left until the members have stopped")
		}
		all = append(all, cmd)
	}
	return all
}

func checkMembers(names []string, all bool) error {
	if all && len(names) > 0 {
		return usageError{errors.New("name members or give --all, not both")}
	}
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			return usageError{fmt.Errorf("member %q is named twice", name)}
		}
	}
	return nil
}

// setState sends the request and prints what became of it at each member.
func (c *cli) setState(ctx context.Context, r control.StateRequest, what string, wait bool) error {
	results, err := ask(ctx, c, func(ctx context.Context, client *control.Client) ([]control.Result, error) {
		return client.SetState(ctx, r)
	})
	if err != nil {
		return err
	}
	err = c.print(results, func(w io.Writer) {
		var rows [][]cell
		for _, result := range results {
			outcome := c.paint(green, what)
			if !result.OK {
				outcome = c.paint(red, result.Error)
			}
			rows = append(rows, []cell{text(result.Member), outcome})
		}
		columns(w, rows)
	})
	if err != nil {
		return err
	}
	var waitFor []string
	for _, result := range results {
		if result.OK {
			waitFor = append(waitFor, result.Member)
		}
	}
	if wait {
		if err := c.waitDrained(ctx, waitFor); err != nil {
			return err
		}
	}
	if len(waitFor) < len(results) {
		return errReported
	}
	return nil
}

// completeMembers offers the names of the members to the shell.
func (c *cli) completeMembers(cmd *cobra.Command, args []string, begin string) ([]string, cobra.ShellCompDirective) {
	var names []string
	for _, m := range c.statusForShell(cmd).Members {
		if strings.HasPrefix(m.Name, begin) && !slices.Contains(args, m.Name) {
			names = append(names, m.Name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
