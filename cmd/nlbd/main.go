// Command nlbd is one member of a cluster.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, env{stdout: os.Stdout, stderr: os.Stderr, notify: notify}, os.Args[1:])
	stop()
	os.Exit(code)
}

// failed says why the program stops, in one line for each thing that is wrong.
func (e env) failed(err error) int {
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintf(e.stderr, "nlbd: %s\n", strings.TrimSpace(line))
	}
	return 1
}
