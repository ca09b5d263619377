package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/opennlb/opennlb/control"
)

func (c *cli) key() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Change the cluster key, and show how the members stand with it",
		Args:  c.noVerb,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var r control.KeyRequest
	rotate := &cobra.Command{
		Use:   "rotate",
		Short: "Give all members a new cluster key, while they run",
		Long: `Give all members a new cluster key, while they run: no connection breaks, and no member
is out of touch with another for a moment. The key is made by the cluster and kept in the
state_dir of each member; membership.key_file stays as it is. Afterwards the old key is
refused: members that were down meanwhile need the new one from nlbctl key show.`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			res, err := ask(cmd.Context(), c, func(ctx context.Context, client *control.Client) (control.KeyResult, error) {
				return client.RotateKey(ctx, r)
			})
			if err != nil {
				return err
			}
			return c.print(res, func(w io.Writer) {
				fmt.Fprintf(w, "All members use the new cluster key, fingerprint %s. The old one, %s, is refused.\n", printable(res.New), printable(res.Old))
			})
		},
	}
	rotate.Flags().BoolVar(&r.Force, "force", false, "do without members that are down for good, and go on with a change that waits for them")
	cmd.AddCommand(rotate,
		&cobra.Command{
			Use:   "status",
			Short: "Show which key the members have, by fingerprint",
			Args:  exactly(),
			RunE:  func(cmd *cobra.Command, _ []string) error { return c.keyStatus(cmd.Context()) },
		},
		&cobra.Command{
			Use:   "show",
			Short: "Print the cluster key, for membership.key_file of a new member",
			Long: `Print the cluster key that is in force, as membership.key_file of a new member holds it.
It is shown on a member only, not with --remote, and that it was is in the audit log.`,
			Example: `  nlbctl key show | ssh root@node4 'umask 077; cat >/etc/nlb/cluster.key'`,
			Args:    exactly(),
			RunE:    func(cmd *cobra.Command, _ []string) error { return c.showKey(cmd.Context()) },
		},
	)
	return cmd
}

func (c *cli) keyStatus(ctx context.Context) error {
	s, err := ask(ctx, c, func(ctx context.Context, client *control.Client) (control.KeyStatus, error) {
		return client.KeyStatus(ctx)
	})
	if err != nil {
		return err
	}
	return c.print(s, func(w io.Writer) {
		fmt.Fprintf(w, "Cluster key %s, generation %d", printable(s.Fingerprint), s.Generation)
		if s.By != "" {
			fmt.Fprintf(w, ", last changed by %s", oneLine(s.By))
		}
		fmt.Fprintln(w)
		if !s.FileIsCurrent {
			fmt.Fprintln(w, "membership.key_file of this member holds an earlier key, which counts no more.")
		}
		if s.UnderWay {
			fmt.Fprintln(w, c.paint(yellow, "It is being changed.").String()+" "+printable(s.Waits))
		}
		rows := [][]cell{header("MEMBER", "GENERATION", "SPEAKS", "UNDERSTANDS TOO")}
		for _, m := range s.Members {
			if m.Error != "" || len(m.Keys) == 0 {
				rows = append(rows, []cell{text(m.Member), text("?"), text(""), text(""), c.paint(red, m.Error)})
				continue
			}
			rows = append(rows, []cell{text(m.Member), text(strconv.FormatUint(m.Generation, 10)), text(m.Keys[0]), text(strings.Join(m.Keys[1:], " "))})
		}
		columns(w, rows)
	})
}

func (c *cli) showKey(ctx context.Context) error {
	s, err := ask(ctx, c, func(ctx context.Context, client *control.Client) (control.KeyShown, error) {
		return client.ShowKey(ctx)
	})
	if err != nil {
		return err
	}
	if s.UnderWay {
		fmt.Fprintln(c.stderr, "nlbctl: the cluster key is being changed: this one will be refused soon; see nlbctl key status")
	}
	return c.print(s, func(w io.Writer) { fmt.Fprintln(w, printable(s.Key)) })
}
