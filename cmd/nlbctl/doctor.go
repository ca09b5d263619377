package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/doctor"
)

const defaultConfig = "/etc/nlb/nlb.yaml"

// diagnosis is what doctor prints.
type diagnosis struct {
	Problems int              `json:"problems"`
	Warnings int              `json:"warnings"`
	Checks   []doctor.Finding `json:"checks"`
}

func (c *cli) doctor() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Examine this host, and the cluster if nlbd runs here",
		Long: `Examine this host, and the cluster if nlbd runs here: kernel, interface, addresses, other
members, services and more, each with what to do about it. It changes nothing. The exit
status is 1 if there is a problem; warnings are none.

Before the first start, too: it then goes by the configuration file.`,
		Example: `  nlbctl doctor
  nlbctl doctor --config /root/nlb.yaml -o json`,
		Args:              exactly(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if c.remote != "" && !c.local {
				return usageError{errors.New("doctor examines the host that it runs on: run it there, without --remote")}
			}
			source := doctor.Source{ConfigFile: file, Ask: askSocket}
			if version != "unknown" {
				source.Version = version
			}
			if c.local {
				source.Socket = c.socket
			}
			d := diagnosis{Checks: doctor.Examine(doctor.Gather(cmd.Context(), source))}
			for _, f := range d.Checks {
				switch f.Result {
				case doctor.Problem:
					d.Problems++
				case doctor.Warning:
					d.Warnings++
				}
			}
			if err := c.print(d, func(w io.Writer) { c.diagnosisTable(w, d) }); err != nil {
				return err
			}
			if d.Problems > 0 {
				return errReported
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&file, "config", defaultConfig, "configuration `FILE` of nlbd")
	return cmd
}

// askSocket asks the nlbd of this host, which may well not run.
func askSocket(ctx context.Context, socket string) (control.Status, error) {
	if socket == "" {
		socket = defaultSocket
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	client := control.Dial(socket)
	defer client.Close()
	return client.Status(ctx)
}

func (c *cli) diagnosisTable(w io.Writer, d diagnosis) {
	colors := map[doctor.Result]string{doctor.OK: green, doctor.Warning: yellow, doctor.Problem: red}
	var rows [][]cell
	for _, f := range d.Checks {
		rows = append(rows, []cell{c.paint(colors[f.Result], string(f.Result)), text(f.Check), text(f.Message)})
		if f.Advice != "" {
			rows = append(rows, []cell{text(""), text(""), text("  " + f.Advice)})
		}
	}
	columns(w, rows)
	fmt.Fprintf(w, "%s, %s.\n", count(d.Problems, "problem"), count(d.Warnings, "warning"))
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
