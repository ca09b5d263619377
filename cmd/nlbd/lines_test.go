package main

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
)

// TestLines: a reader that stands still costs the writer nothing, and learns what it missed.
func TestLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		l := newLines(w)
		for i := range 2 * linesKept {
			fmt.Fprintf(l, "line %d\n", i)
		}
		synctest.Wait() // one line is in the writer's hand
		read := make(chan []string)
		go func() {
			var got []string
			for s := bufio.NewScanner(r); s.Scan(); {
				got = append(got, s.Text())
			}
			read <- got
		}()
		l.Close()
		w.Close()
		got := <-read
		kept, told := 0, ""
		for _, line := range got {
			if strings.HasPrefix(line, "line ") {
				kept++
			} else {
				told = line
			}
		}
		if want := fmt.Sprintf("(%d lines of this log were lost", 2*linesKept-kept); kept < linesKept || !strings.HasPrefix(told, want) {
			t.Errorf("%d lines are there, and it says %q; want %q", kept, told, want)
		}
		fmt.Fprintln(l, "after the end") // must not panic
	})
}

// TestLinesEnd: a reader that is gone for good holds nobody up for long.
func TestLinesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		l := newLines(w)
		fmt.Fprintln(l, "nobody reads this")
		l.Close()
		r.Close()
	})
}
