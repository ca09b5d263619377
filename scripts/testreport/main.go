// Command testreport turns the stream of `go test -json` into a short account
// of what ran: every top-level test with its time, the whole output of what
// failed, and the closing line of each package as go test prints it.
//
// A skipped test is a failure where it could have run: with -root, the only
// skips that pass are those that name the switch that turns the test on, as in
// t.Skip("set NLB_SOAK=1 to run it").
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
		os.Exit(1)
	}
}

func run(args []string, in io.Reader, out io.Writer) error {
	flags := flag.NewFlagSet("testreport", flag.ContinueOnError)
	root := flags.Bool("root", false, "the tests ran as root: a skipped test is a failure")
	if err := flags.Parse(args); err != nil {
		return err
	}
	r := report{out: out, root: *root, output: map[testID][]string{}}
	if err := r.read(in); err != nil {
		return err
	}
	return r.close()
}

var (
	errFailed  = errors.New("tests failed")
	errNothing = errors.New("no test ran: is the package pattern right?")
)
