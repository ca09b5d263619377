package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/opennlb/opennlb/config"
	"github.com/opennlb/opennlb/control"
)

// applyTimeout bounds a change of the configuration, which waits for all members.
const applyTimeout = 45 * time.Second

func (c *cli) apply() *cobra.Command {
	var r control.ApplyRequest
	var force bool
	cmd := &cobra.Command{
		Use:   "apply FILE",
		Short: "Replace the configuration of the whole cluster",
		Long: `Replace the configuration of the whole cluster, at one instant on all members, by the
section cluster of a file ("-" is standard input). Nothing is changed unless every member
can take it. Connections that the change does not concern go on.

A file that nlbctl config printed says in its first line which version it is; it
replaces just that one, so that two administrators do not undo each other's changes.
--force replaces whatever is in force.`,
		Example: `  nlbctl config >cluster.yaml
  $EDITOR cluster.yaml
  nlbctl apply cluster.yaml --dry-run
  nlbctl apply cluster.yaml --note "ticket 4711"`,
		Args: exactly("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := readFile(cmd.InOrStdin(), args[0])
			if err != nil {
				return err
			}
			r.File, r.YAML = args[0], text
			if !force && r.Version == 0 {
				r.Version = versionOf(text)
			}
			if _, err := config.ParseCluster(r.File, []byte(r.YAML)); err != nil {
				return err
			}
			res, err := askWithin(cmd.Context(), c, applyTimeout, func(ctx context.Context, client *control.Client) (control.ApplyResult, error) {
				return client.Apply(ctx, r)
			})
			return c.applied(res, err)
		},
	}
	cmd.Flags().BoolVar(&r.DryRun, "dry-run", false, "only show what would change, having asked all members")
	cmd.Flags().StringVar(&r.Note, "note", "", "words to keep with the version")
	cmd.Flags().Uint64Var(&r.Version, "version", 0, "replace only this version")
	cmd.Flags().BoolVar(&force, "force", false, "replace whatever version is in force")
	return cmd
}

// firstLine is how nlbctl config begins.
var firstLine = regexp.MustCompile(`\A\x{feff}?# version ([0-9]{1,19}) of `)

// versionOf is the version that a file was made from, 0 if it does not say.
func versionOf(text string) uint64 {
	m := firstLine.FindStringSubmatch(text)
	if m == nil {
		return 0
	}
	n, _ := strconv.ParseUint(m[1], 10, 64) // too large: no such version
	return n
}

func readFile(stdin io.Reader, name string) (string, error) {
	in := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return "", fmt.Errorf("read the configuration: %w", err)
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, config.MaxSize+1))
	if err != nil {
		return "", fmt.Errorf("read the configuration: %w", err)
	}
	return string(text), nil
}

// applied prints what a change did, or would do.
func (c *cli) applied(res control.ApplyResult, err error) error {
	if err != nil {
		return err
	}
	failed := false
	for _, m := range res.Members {
		failed = failed || !m.OK
	}
	if err := c.print(res, func(w io.Writer) { c.applyTable(w, res) }); err != nil {
		return err
	}
	if failed {
		return errReported
	}
	return nil
}

func (c *cli) applyTable(w io.Writer, res control.ApplyResult) {
	if len(res.Changes) == 0 {
		fmt.Fprintf(w, "Nothing to change: version %d, which is in force, says the same.\n", res.Was)
		return
	}
	for _, change := range res.Changes {
		fmt.Fprintln(w, printable(change))
	}
	if res.Buckets > 0 {
		fmt.Fprintf(w, "%d buckets get another owner:\n", res.Buckets)
		columns(w, moveRows(res.Moves))
	}
	for _, warning := range res.Warnings {
		fmt.Fprintln(w, c.paint(yellow, "Warning:").String()+" "+printable(warning))
	}
	switch {
	case res.DryRun:
		fmt.Fprintln(w, "All members can take it. Nothing was changed.")
	case res.Done:
		fmt.Fprintf(w, "Version %d is in force (it was %d).\n", res.Version, res.Was)
	}
	for _, m := range res.Members {
		if !m.OK {
			fmt.Fprintf(w, "%s %s\n", printable(m.Member), c.paint(red, printable(m.Error)))
		}
	}
}

func (c *cli) config() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Print the configuration of the cluster, and its history",
		Long:  "Print the configuration of the cluster that is in force, in the form that nlbctl apply takes.",
		Args:  c.noVerb,
		RunE:  func(cmd *cobra.Command, _ []string) error { return c.showConfig(cmd.Context(), 0) },
	}
	var dry bool
	rollback := &cobra.Command{
		Use:   "rollback N",
		Short: "Bring back version N, as a new version",
		Args:  exactly("N"),

		ValidArgsFunction: c.completeVersions,
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := versionNumber(args[0])
			if err != nil {
				return err
			}
			res, err := askWithin(cmd.Context(), c, applyTimeout, func(ctx context.Context, client *control.Client) (control.ApplyResult, error) {
				return client.Rollback(ctx, control.RollbackRequest{Version: n, DryRun: dry})
			})
			return c.applied(res, err)
		},
	}
	rollback.Flags().BoolVar(&dry, "dry-run", false, "only show what would change, having asked all members")
	cmd.AddCommand(
		&cobra.Command{
			Use:   "show [N]",
			Short: "Print version N, or that in force",
			Args: func(cmd *cobra.Command, args []string) error {
				if len(args) == 0 {
					return nil
				}
				return exactly("N")(cmd, args)
			},

			ValidArgsFunction: c.completeVersions,
			RunE: func(cmd *cobra.Command, args []string) error {
				if len(args) == 0 {
					return c.showConfig(cmd.Context(), 0)
				}
				n, err := versionNumber(args[0])
				if err != nil {
					return err
				}
				return c.showConfig(cmd.Context(), n)
			},
		},
		&cobra.Command{
			Use:   "history",
			Short: "List the versions that the member asked keeps",
			Args:  exactly(),
			RunE:  func(cmd *cobra.Command, _ []string) error { return c.configHistory(cmd.Context()) },
		},
		rollback,
	)
	return cmd
}

func versionNumber(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil || n == 0 {
		return 0, usageError{fmt.Errorf("version %q is not a number from 1: nlbctl config history lists them", s)}
	}
	return n, nil
}

func (c *cli) showConfig(ctx context.Context, version uint64) error {
	v, err := ask(ctx, c, func(ctx context.Context, client *control.Client) (control.ConfigVersion, error) {
		return client.Config(ctx, version)
	})
	if err != nil {
		return err
	}
	if v.YAML == "" {
		return errors.New("nlbd told no configuration: nlbctl and nlbd may be of different versions")
	}
	return c.print(v, func(w io.Writer) {
		fmt.Fprintf(w, "# version %d of cluster %s, by %s, %s", v.Version, oneLine(v.Cluster), oneLine(v.By), v.At.Format(time.RFC3339))
		if v.Note != "" {
			fmt.Fprintf(w, ", %s", oneLine(v.Note))
		}
		fmt.Fprintf(w, "\n%s", v.YAML)
	})
}

func (c *cli) configHistory(ctx context.Context) error {
	list, err := ask(ctx, c, func(ctx context.Context, client *control.Client) ([]control.ConfigVersion, error) {
		return client.ConfigHistory(ctx)
	})
	if err != nil {
		return err
	}
	return c.print(list, func(w io.Writer) {
		rows := [][]cell{header("VERSION", "AT", "BY", "NOTE", "CHANGES")}
		for _, v := range list {
			n := strconv.FormatUint(v.Version, 10)
			if v.InForce {
				n += " *"
			}
			rows = append(rows, []cell{text(n), text(v.At.Local().Format(time.DateTime)), text(v.By), text(v.Note), text(strings.Join(v.Changes, "; "))})
		}
		columns(w, rows)
	})
}

// moveRows lists who gets buckets from whom.
func moveRows(moves []control.Move) (rows [][]cell) {
	for _, m := range moves {
		rule := "rule " + m.Rule
		if m.Rule == "" {
			rule = "what no rule covers"
		}
		rows = append(rows, []cell{text("  " + rule), text(cmp.Or(m.From, "nobody") + " to " + cmp.Or(m.To, "nobody")), number(m.Buckets)})
	}
	return rows
}
