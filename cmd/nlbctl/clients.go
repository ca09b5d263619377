package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/opennlb/opennlb/control"
)

func (c *cli) clients() *cobra.Command {
	r := control.ClientsRequest{}
	cmd := &cobra.Command{
		Use:   "clients RULE",
		Short: "List the clients that a rule keeps on their member",
		Long: `List the clients of a rule that has a timeout, or is of UDP with affinity single or
network, as the member asked knows them. Such a client stays with its member, whatever
becomes of its bucket, until it was silent for that long. Without a timeout it is each flow
of UDP that stays, for 30 s.`,
		Example:           "  nlbctl clients http",
		Args:              exactly("RULE"),
		ValidArgsFunction: c.completeRules,
		RunE: func(cmd *cobra.Command, args []string) error {
			r.Rule = args[0]
			if r.Limit < 1 || r.Limit > control.MaxClients {
				return usageError{fmt.Errorf("--limit %d is out of range: write 1 to %d", r.Limit, control.MaxClients)}
			}
			list, err := ask(cmd.Context(), c, func(ctx context.Context, client *control.Client) (control.ClientList, error) {
				return client.Clients(ctx, r)
			})
			if err != nil {
				return err
			}
			return c.print(list, func(w io.Writer) { clientTable(w, list) })
		},
	}
	cmd.Flags().IntVar(&r.Limit, "limit", 100, "list no more than so many, the latest first")
	return cmd
}

func clientTable(w io.Writer, list control.ClientList) {
	keep := time.Duration(list.Keep)
	fmt.Fprintf(w, "%d clients of rule %s, known to %s; each stays until it was silent for %s\n", list.Total, printable(list.Rule), printable(list.Member), keep)
	if len(list.Clients) == 0 {
		return
	}
	rows := [][]cell{header("CLIENT", "MEMBER", "BUCKET", "OWNER", "SILENT", "STAYS")}
	for _, one := range list.Clients {
		silent := time.Duration(one.Silent).Truncate(100 * time.Millisecond)
		member := one.Member
		if member == "" {
			member = "ask the owner"
		}
		rows = append(rows, []cell{
			text(endpoint(one.Client, one.Port)), text(member), number(one.Bucket), text(one.Owner),
			number(silent), number(max(0, keep-silent)),
		})
	}
	fmt.Fprintln(w)
	columns(w, rows)
	if n := list.Total - len(list.Clients); n > 0 {
		fmt.Fprintf(w, "… and %d more\n", n)
	}
}

// completeRules offers the names of the rules to the shell.
func (c *cli) completeRules(cmd *cobra.Command, args []string, begin string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, r := range c.statusForShell(cmd).Rules {
		if strings.HasPrefix(r.Name, begin) {
			names = append(names, r.Name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
