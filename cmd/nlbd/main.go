// Command nlbd is one member of a cluster.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, env{stdout: os.Stdout, stderr: os.Stderr, notify: notify}, os.Args[1:])
	stop()
	os.Exit(code)
}

// failed prints the one line that says why the program stops.
func (e env) failed(err error) int {
	fmt.Fprintf(e.stderr, "nlbd: %v\n", err)
	return 1
}
