// Package hook runs a program of the administrator's, once for each thing that
// happened, without ever keeping waiting who reports it.
package hook

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"
)

const (
	room  = 64              // calls that wait
	grace = 3 * time.Second // for those that wait when Run is to end
)

// Options says what to run.
type Options struct {
	Command []string      // program and arguments
	Timeout time.Duration // of one run; then its process group is killed
	Log     *slog.Logger
	Failed  func(Call, error) // called by Run, before the next call begins
}

// Call is one run of the program.
type Call struct {
	Name  string   // for the log
	Env   []string // NAME=value, the whole environment
	Stdin []byte
}

// Hook runs the program for one call after the other, in order.
type Hook struct {
	opt   Options
	queue chan Call
	lost  atomic.Uint64
}

// New returns a Hook; nothing runs before Run does.
func New(opt Options) *Hook {
	return &Hook{opt: opt, queue: make(chan Call, room)}
}

// Push adds a call and returns at once. It reports whether there was room: if not, the
// call is dropped and counted.
func (h *Hook) Push(c Call) bool {
	select {
	case h.queue <- c:
		return true
	default:
		h.lost.Add(1)
		return false
	}
}

// Lost is how many calls were dropped so far.
func (h *Hook) Lost() uint64 { return h.lost.Load() }

// Run runs the program for each call until ctx ends; then for those that wait, which have
// a few seconds in all.
func (h *Hook) Run(ctx context.Context) error {
	calls, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	unhook := context.AfterFunc(ctx, func() { time.AfterFunc(grace, stop) })
	defer unhook()
	told := uint64(0)
	for {
		select {
		case c := <-h.queue:
			h.run(calls, c)
		case <-ctx.Done():
			select {
			case c := <-h.queue:
				h.run(calls, c)
			default:
				return nil
			}
		}
		if lost := h.Lost(); lost > told {
			h.opt.Log.Warn("the notify command is too slow: calls were dropped", "dropped", lost-told, "in_all", lost)
			told = lost
		}
		if calls.Err() != nil {
			return nil
		}
	}
}

// run carries out one call and logs what came of it.
func (h *Hook) run(ctx context.Context, c Call) {
	begin := time.Now()
	limited, cancel := context.WithTimeout(ctx, h.opt.Timeout)
	defer cancel()
	output, err := execute(limited, h.opt.Command, c)
	switch {
	case ctx.Err() != nil:
		err = errors.New("killed, since nlbd ends")
	case limited.Err() != nil:
		err = errors.New("killed after " + h.opt.Timeout.String() + ", its time limit")
	}
	attrs := []any{"call", c.Name, "took", time.Since(begin).Round(time.Millisecond).String()}
	if output != "" {
		attrs = append(attrs, "output", output)
	}
	if err == nil {
		h.opt.Log.Info("the notify command ended well", attrs...)
		return
	}
	h.opt.Log.Warn("the notify command failed", append(attrs, "error", err)...)
	h.opt.Failed(c, err)
}
