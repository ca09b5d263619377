package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/opennlb/opennlb/lab"
)

// clusterFlags are the flags that say which cluster to build.
type clusterFlags struct {
	mode, dataplane, nlbd string
	members               int
}

func (f *clusterFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.mode, "mode", "unicast", "how the members share the cluster MAC: unicast, multicast or igmp")
	cmd.Flags().StringVar(&f.dataplane, "dataplane", "auto", "where frames are decided: auto, xdp, tc or afpacket")
	cmd.Flags().IntVar(&f.members, "members", 3, "number of members, 2 to 32; two processors carry about 20")
	cmd.Flags().StringVar(&f.nlbd, "nlbd", "", "the nlbd to run (default: beside nlblab, or from PATH)")
}

// options checks the flags, and then whether the user may do it at all.
func (f *clusterFlags) options(e env) (lab.Options, error) {
	for _, c := range []struct {
		flag, value string
		allowed     []string
	}{
		{"mode", f.mode, []string{"unicast", "multicast", "igmp"}},
		{"dataplane", f.dataplane, []string{"auto", "xdp", "tc", "afpacket"}},
	} {
		if !slices.Contains(c.allowed, c.value) {
			return lab.Options{}, errUsage{fmt.Errorf("--%s %q: use one of %s", c.flag, c.value, strings.Join(c.allowed, ", "))}
		}
	}
	if f.members < 2 || f.members > 32 {
		return lab.Options{}, errUsage{fmt.Errorf("--members %d: use 2 to 32", f.members)}
	}
	if f.nlbd != "" {
		if _, err := os.Stat(f.nlbd); err != nil {
			return lab.Options{}, errUsage{fmt.Errorf("--nlbd: %w", err)}
		}
	}
	if !e.root {
		return lab.Options{}, errors.New("network namespaces need root: run it with sudo")
	}
	return lab.Options{Members: f.members, Mode: f.mode, Dataplane: f.dataplane, Nlbd: f.nlbd}, nil
}

// clusterCommand is a command that builds a cluster as the flags say and runs it.
func clusterCommand(e env, use, short string, run func(context.Context, *printer, lab.Options) error) *cobra.Command {
	var flags clusterFlags
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  func(_ *cobra.Command, args []string) error { return noArgs(args) },
		RunE: func(cmd *cobra.Command, _ []string) error {
			options, err := flags.options(e)
			if err != nil {
				return err
			}
			return run(cmd.Context(), &printer{out: e.out, colour: e.colour}, options)
		},
	}
	flags.add(cmd)
	return cmd
}
