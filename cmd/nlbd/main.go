// Command nlbd is one member of a cluster.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
)

// gcPercent lets the heap, which has a few megabytes, grow to some 16 before it is
// collected: messages of members make garbage all the time, and collecting it at 4 was
// a fifth of what an idle member costs.
const gcPercent = 400

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
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
