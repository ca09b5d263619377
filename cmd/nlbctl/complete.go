package main

import "github.com/spf13/cobra"

// completeFlag offers words for a flag that takes one of them.
func completeFlag(cmd *cobra.Command, flag string, words ...string) {
	// It fails for a flag that is not there, or for one that has it already.
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}
