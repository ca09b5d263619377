package main

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/opennlb/opennlb/control"
)

// completionPatience is how long somebody who pressed Tab waits for nlbd.
const completionPatience = time.Second

// statusForShell asks what there is to offer. Without nlbd that is nothing, and no message
// belongs into the line that is being typed.
func (c *cli) statusForShell(cmd *cobra.Command) control.Status {
	if c.check(cmd) != nil { // nothing has run before a completion
		return control.Status{}
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionPatience)
	defer cancel()
	s, err := c.askStatus(ctx)
	if err != nil {
		return control.Status{}
	}
	return s
}

// completeVersions offers the versions of the configuration that the member keeps, the
// latest first, as the only argument.
func (c *cli) completeVersions(cmd *cobra.Command, args []string, begin string) (offers []string, _ cobra.ShellCompDirective) {
	if c.check(cmd) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionPatience)
	defer cancel()
	list, _ := ask(ctx, c, func(ctx context.Context, client *control.Client) ([]control.ConfigVersion, error) {
		return client.ConfigHistory(ctx)
	})
	for _, v := range list {
		n := strconv.FormatUint(v.Version, 10)
		if len(args) > 0 || !strings.HasPrefix(n, begin) {
			continue
		}
		words := "by " + v.By
		if v.Note != "" {
			words += ": " + v.Note
		}
		offers = append(offers, n+"\t"+oneLine(words))
	}
	return offers, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// completeFlag offers words for a flag that takes one of them.
func completeFlag(cmd *cobra.Command, flag string, words ...string) {
	// It fails for a flag that is not there, or for one that has it already.
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}

// completeVIPs offers the virtual IPs as the only argument.
func (c *cli) completeVIPs(cmd *cobra.Command, args []string, begin string) ([]string, cobra.ShellCompDirective) {
	var out []string
	for _, vip := range c.statusForShell(cmd).VIPs {
		if s := vip.String(); len(args) == 0 && strings.HasPrefix(s, begin) {
			out = append(out, s)
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}
