package main

import (
	"errors"
	"io"

	"github.com/spf13/cobra"
)

func (c *cli) completion(root *cobra.Command) *cobra.Command {
	shells := map[string]func(io.Writer) error{
		"bash": func(w io.Writer) error { return root.GenBashCompletionV2(w, true) },
		"fish": func(w io.Writer) error { return root.GenFishCompletion(w, true) },
		"zsh":  root.GenZshCompletion,
	}
	return &cobra.Command{
		Use:       "completion bash|fish|zsh",
		Short:     "Print the completion script for a shell",
		Long:      "Print the completion script for a shell. It offers the names of members and rules, virtual IPs and\nports as the nlbd at --socket has them.",
		Example:   "  source <(nlbctl completion bash)",
		ValidArgs: []string{"bash", "fish", "zsh"},
		Args: func(cmd *cobra.Command, args []string) error {
			if err := exactly("the shell")(cmd, args); err != nil {
				return err
			}
			if shells[args[0]] == nil {
				return usageError{errors.New("unknown shell " + args[0] + ": write bash, fish or zsh")}
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error { return shells[args[0]](c.stdout) },
	}
}
