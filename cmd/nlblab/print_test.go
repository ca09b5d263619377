package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/opennlb/opennlb/lab"
)

func TestPlainOutput(t *testing.T) {
	var out bytes.Buffer
	p := &printer{out: &out}
	p.step("Title", "why")
	p.bars([]bar{{"node1", 2, "clients"}, {"node10", 1, ""}, {"n", 0, ""}})
	p.table([][]string{{"A", "LONG"}, {"aaa", ""}, {"b", "c"}})
	p.check(true, "%d of %d", 1, 1)
	p.check(false, "other")
	p.paused = func(since time.Time) time.Duration {
		if age := time.Since(since); age < lab.Settle || age > lab.Settle+time.Minute {
			t.Errorf("asks for pauses since %s before now", age)
		}
		return 682 * time.Millisecond
	}
	p.check(true, "in spite of it")
	p.check(false, "slow")
	p.always(false, "twice")
	want := `
1. Title
   why
   node1  ####################..........      2  66.7%  clients
   node10 ##########....................      1  33.3%
   n      ..............................      0   0.0%
   A    LONG
   aaa
   b    c
   kept: 1 of 1
   BROKEN: other
   kept: in spite of it
   not judged: slow
   (other work took this machine's processors for 682 ms meanwhile, which a cluster of real machines would not feel: run the demo again)
   BROKEN: twice
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
	if p.broken != 2 || p.void != 1 || p.steps != 1 {
		t.Errorf("%d broken and %d void of %d steps, want 2 and 1 of 1", p.broken, p.void, p.steps)
	}
}

func TestEmptyBars(t *testing.T) {
	var out bytes.Buffer
	(&printer{out: &out}).bars([]bar{{name: "node1"}})
	if !strings.Contains(out.String(), "0.0%") {
		t.Errorf("got %q", out.String())
	}
}

func TestColour(t *testing.T) {
	var out bytes.Buffer
	p := &printer{out: &out, colour: true}
	p.check(true, "x")
	if !strings.Contains(out.String(), "\x1b[32mkept:\x1b[0m") {
		t.Errorf("got %q", out.String())
	}
}
