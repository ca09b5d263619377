package main

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	linesKept  = 4096            // lines that wait for a slow reader; more are lost
	linesGrace = 2 * time.Second // for those left at the end
)

// lines writes what it is given beside its caller, who never waits: a full pipe, or a disk
// that stands still, must not cost a member its lease. Lines that find no room are counted,
// and the count is written when there is room again.
type lines struct {
	w     io.Writer
	queue chan []byte
	done  chan struct{}

	mu     sync.Mutex
	lost   int
	closed bool
}

func newLines(w io.Writer) *lines {
	l := &lines{w: w, queue: make(chan []byte, linesKept), done: make(chan struct{})}
	go l.run()
	return l
}

// Write implements io.Writer, for whole lines. It never fails.
func (l *lines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return len(line), nil
	}
	select {
	case l.queue <- bytes.Clone(line):
	default:
		l.lost++
	}
	return len(line), nil
}

// Close waits a while for the lines that are left.
func (l *lines) Close() {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		close(l.queue)
	}
	l.mu.Unlock()
	select {
	case <-l.done:
	case <-time.After(linesGrace):
	}
}

func (l *lines) run() {
	defer close(l.done)
	for line := range l.queue {
		_, _ = l.w.Write(line) // there is nobody to tell
		l.mu.Lock()
		n := l.lost
		if l.lost = 0; len(l.queue) > linesKept/2 {
			l.lost, n = n, 0 // it is not over yet
		}
		l.mu.Unlock()
		if n > 0 {
			fmt.Fprintf(l.w, "(%d lines of this log were lost: whoever reads it is too slow)\n", n)
		}
	}
}
