package main

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/opennlb/opennlb/control"
)

// rule returns the verbs that change the part of members in a rule.
func (c *cli) rule() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rule",
		Short: "Enable, disable or drain a rule on members",
		Args:  c.noVerb,
		RunE:  func(*cobra.Command, []string) error { return usageError{fmt.Errorf("say enable, disable or drain")} },
	}
	for _, v := range []struct{ action, short, done string }{
		{control.Enable, "Let members answer their share of a rule", "enabled"},
		{control.Disable, "Take members out of a rule at once; its connections there break", "disabled"},
		{control.Drain, "Give members no new connections of a rule; those that are open go on", "draining"},
	} {
		cmd.AddCommand(c.ruleVerb(v.action, "RULE", v.short, func(control.RuleRequest) string { return v.done }))
	}
	return cmd
}

// weight returns the verbs that set figures of members in a rule.
func (c *cli) weight() []*cobra.Command {
	figure := func(r control.RuleRequest) string { return fmt.Sprintf("%s %d", r.Action, r.Value) }
	return []*cobra.Command{
		c.ruleVerb(control.Weight, "RULE N", "Set the weight of members in a rule of mode multiple, 0 to 100", figure),
		c.ruleVerb(control.Handling, "RULE N", "Set the handling priority of members in a rule of mode single, 1 (first) to 32", figure),
	}
}

func (c *cli) ruleVerb(action, usage, short string, what func(control.RuleRequest) string) *cobra.Command {
	r := control.RuleRequest{Action: action}
	names := []string{"RULE"}
	if usage != "RULE" {
		names = append(names, "N")
	}
	cmd := &cobra.Command{
		Use:               action + " " + usage + " [--member MEMBER...|--all]",
		Short:             short,
		Long:              short + ".\n\nWithout --member or --all, it is the member that is asked. A restart forgets it, unless\nmember.retain_state is true.",
		Args:              exactly(names...),
		ValidArgsFunction: c.completeRules,
		RunE: func(cmd *cobra.Command, args []string) error {
			r.Rule = args[0]
			if len(args) > 1 {
				n, err := strconv.ParseUint(args[1], 10, 8)
				if err != nil {
					bounds := "0 to 100"
					if action == control.Handling {
						bounds = "1 (first) to 32"
					}
					return usageError{fmt.Errorf("%q is not a %s: give a whole number, %s", args[1], action, bounds)}
				}
				r.Value = uint8(n)
			}
			if err := checkMembers(r.Members, r.All); err != nil {
				return err
			}
			if err := r.Check(); err != nil {
				return usageError{err}
			}
			results, err := ask(cmd.Context(), c, func(ctx context.Context, client *control.Client) ([]control.Result, error) {
				return client.SetRule(ctx, r)
			})
			if err != nil {
				return err
			}
			return c.results(results, what(r))
		},
	}
	cmd.Flags().StringSliceVar(&r.Members, "member", nil, "this member; may be given several times")
	cmd.Flags().BoolVar(&r.All, "all", false, "all members, those out of reach too")
	if err := cmd.RegisterFlagCompletionFunc("member", c.completeMembers); err != nil {
		panic(err) // the flag is defined above
	}
	return cmd
}

// results prints what became of a request at each member.
func (c *cli) results(results []control.Result, what string) error {
	failed := false
	for _, r := range results {
		failed = failed || !r.OK
	}
	err := c.print(results, func(w io.Writer) {
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
	if err == nil && failed {
		return errReported
	}
	return err
}
