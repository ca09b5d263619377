package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/opennlb/opennlb/control"
)

func (c *cli) audit() *cobra.Command {
	n := 50
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "List the changes that were asked for at this member: who, from where, what",
		Long: `List the changes that were asked for at the member that is asked, allowed or refused: when, by whom, from
where, what, and the value before and after. Each member has a log of its own, state_dir/audit.log.`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if n < 1 || n > control.MaxAudit {
				return usageError{fmt.Errorf("-n %d is out of range: write 1 to %d", n, control.MaxAudit)}
			}
			entries, err := ask(cmd.Context(), c, func(ctx context.Context, client *control.Client) ([]control.AuditEntry, error) {
				return client.Audit(ctx, n)
			})
			if err != nil {
				return err
			}
			return c.print(entries, func(w io.Writer) { c.auditTable(w, entries) })
		},
	}
	cmd.Flags().IntVarP(&n, "number", "n", n, "so many, the latest")
	return cmd
}

func (c *cli) auditTable(w io.Writer, entries []control.AuditEntry) {
	rows := [][]cell{header("TIME", "WHO", "ROLE", "FROM", "CHANGE", "RESULT")}
	for _, e := range entries {
		what := strings.Join(append([]string{e.Verb}, e.Targets...), " ")
		if e.Old != "" || e.New != "" {
			what += ": " + e.Old + " -> " + e.New
		}
		rows = append(rows, []cell{
			text(e.Time.Local().Format("2006-01-02 15:04:05")), text(e.Who), text(e.Role), text(e.From), text(what), c.outcome(e),
		})
	}
	columns(w, rows)
}

// outcome is the result with the reasons, by member where they differ.
func (c *cli) outcome(e control.AuditEntry) cell {
	var why []string
	if e.Error != "" {
		why = append(why, e.Error)
	}
	for _, m := range e.Members {
		if e.Error == "" && m.Error != "" {
			why = append(why, m.Member+" "+m.Error)
		}
	}
	if e.Missed > 0 {
		why = append(why, fmt.Sprintf("%d refused before this one are not listed", e.Missed))
	}
	if len(why) > 0 {
		return c.paint(red, e.Result+": "+strings.Join(why, "; "))
	}
	return c.paint(green, e.Result)
}
