// Command nlblab shows a whole cluster at work on one machine, in network
// namespaces that vanish with it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes; 2 is for wrong usage, as nlbctl has it.
const (
	exitFailed = 1
	exitUsage  = 2
)

// env is the world as the command sees it.
type env struct {
	out, err io.Writer
	colour   bool // the output may be coloured
	root     bool
}

// errUsage marks errors in the arguments.
type errUsage struct{ error }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, env{out: os.Stdout, err: os.Stderr, colour: coloured(os.Stdout), root: os.Geteuid() == 0}, os.Args[1:])
	stop()
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "nlblab:", err)
	if errors.As(err, &errUsage{}) {
		os.Exit(exitUsage)
	}
	os.Exit(exitFailed)
}

func run(ctx context.Context, e env, args []string) error {
	root := &cobra.Command{
		Use:           "nlblab",
		Short:         "A whole cluster on one machine, in network namespaces",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          func(_ *cobra.Command, args []string) error { return noArgs(args) },
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return errUsage{err} })
	root.SetOut(e.out)
	root.SetErr(e.err)
	root.SetArgs(args)
	root.AddCommand(
		clusterCommand(e, "demo", "Show in half a minute what a cluster does, and check it", runDemo),
		clusterCommand(e, "up", "Run a cluster to play with until Ctrl-C", runUp),
	)
	return root.ExecuteContext(ctx)
}

func noArgs(args []string) error {
	if len(args) > 0 {
		return errUsage{fmt.Errorf("unexpected %q: see nlblab --help", args[0])}
	}
	return nil
}
