package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/opennlb/opennlb/control"
)

func TestRates(t *testing.T) {
	before := []control.Counter{{Rule: "http", Reason: "new", Packets: 100}, {Rule: "http", Reason: "not-owner", Packets: 5}, {Rule: "dns", Reason: "owner", Packets: 1000}}
	now := []control.Counter{
		{Rule: "http", Reason: "new", Packets: 160}, {Rule: "http", Reason: "new", Packets: 40}, // of tc and of XDP
		{Rule: "http", Reason: "owner", Packets: 10}, {Rule: "http", Reason: "not-owner", Packets: 25}, {Rule: "http", Reason: "lease-over", Packets: 4},
		{Rule: "dns", Reason: "owner", Packets: 3}, // nlbd was started anew
		{Rule: "", Reason: "beacon", Packets: 99}, {Rule: "", Reason: "not-default", Packets: 2}, {Rule: "", Reason: "of-tomorrow", Packets: 6},
	}
	got := rates(before, now, 2*time.Second)
	for rule, want := range map[string]rate{
		"http": {fresh: 50, accepted: 55, others: 10, dropped: 2}, "dns": {}, "": {others: 1, dropped: 3},
	} {
		if got[rule] != want {
			t.Errorf("%q: got %+v, want %+v", rule, got[rule], want)
		}
	}
	if got := rates(before, now, 0); len(got) != 0 {
		t.Errorf("in no time: %+v", got)
	}
}

func TestClip(t *testing.T) {
	for _, tt := range []struct {
		line  string
		width int
		want  string
	}{
		{"abc", 0, "abc"}, {"abc", 3, "abc"}, {"abcd", 3, "abc"}, {"äöü…", 3, "äöü"},
		{green + "abcd" + reset + "e", 3, green + "abc" + reset},
		{green + "ab" + reset + "cde", 3, green + "ab" + reset + "c"},
		{"ab" + red + "c" + reset, 3, "ab" + red + "c" + reset},
	} {
		if got := clip(tt.line, tt.width); got != tt.want {
			t.Errorf("%q to %d: got %q, want %q", tt.line, tt.width, got, tt.want)
		}
	}
}

// screen is what a terminal was sent, and the frames in it.
type screen struct{ bytes.Buffer }

func (s *screen) frames() []string { return strings.Split(s.String(), "\x1b[H")[1:] }

// TestLiveView: frames are written over each other without clearing the screen, a new epoch
// and the latest events show, q ends it, and the terminal is as it was.
func TestLiveView(t *testing.T) {
	f := newFake()
	f.Add(control.Event{Kind: "join", Message: "node2 is \x1b[2J in"})
	var out screen
	var stderr bytes.Buffer
	keys, rounds, restored := make(chan byte), 0, false
	e := env{
		stdout: &out, stderr: &stderr, terminal: true,
		keys: func() (<-chan byte, func()) { return keys, func() { restored = true } },
		size: func() (int, int) { return 72, 40 },
		sleep: func(ctx context.Context, d time.Duration) error {
			if d != 2*time.Second {
				t.Errorf("sleeps for %v", d)
			}
			rounds++
			f.mu.Lock()
			f.status.Epoch = 18
			f.mu.Unlock()
			if rounds == 3 {
				keys <- 'x'
				keys <- 'q'
				<-ctx.Done()
			}
			return ctx.Err()
		},
	}
	if status := run(t.Context(), e, []string{"--socket", serve(t, f), "status", "--watch", "2s"}); status != done || stderr.Len() > 0 {
		t.Errorf("exit %d: %s", status, &stderr)
	}
	frames := out.frames()
	if len(frames) != 3 || !restored {
		t.Fatalf("%d frames, keys restored: %v\n%q", len(frames), restored, out.String())
	}
	if !strings.HasPrefix(out.String(), "\x1b[?1049h\x1b[?25l") || !strings.HasSuffix(out.String(), "\x1b[?25h\x1b[?1049l") {
		t.Errorf("the screen is not taken and given back: %q", out.String())
	}
	if strings.Contains(out.String(), "\x1b[2J") {
		t.Error("the screen is cleared")
	}
	for i, frame := range frames {
		frame, _, ended := strings.Cut(frame, "\x1b[J")
		if !ended {
			t.Errorf("frame %d leaves what is below it: %q", i, frame)
		}
		for line := range strings.SplitSeq(frame, "\n") {
			plain := strings.NewReplacer("\x1b[K", "", red, "", green, "", yellow, "", reverse, "", reset, "").Replace(line)
			if !strings.HasSuffix(line, "\x1b[K") || len([]rune(plain)) > 72 || strings.Contains(plain, "\x1b") {
				t.Errorf("frame %d has a line %q", i, line)
			}
		}
		for _, want := range []string{"node2", "12 connections left", "http", "Packets per second at node1", "Warning: clock ?[2Jskew", "node2 is"} {
			if !strings.Contains(frame, want) {
				t.Errorf("frame %d lacks %q: %q", i, want, frame)
			}
		}
		if got := strings.Contains(frame, reverse+"epoch 18, was 17"+reset); got != (i > 0) {
			t.Errorf("frame %d: the epoch stands out: %v", i, got)
		}
	}
	if strings.Count(frames[2], "node2 is ?[2J") != 1 {
		t.Errorf("an event is shown not once: %q", frames[2])
	}
}

func TestLiveViewRemembers(t *testing.T) {
	f := newFake()
	v := live{cli: &cli{env: env{terminal: true}}, interval: time.Second}
	at := time.Unix(1000, 0)
	v.take(f.status, at)
	next := f.status
	next.Dataplane.Counters = []control.Counter{{Rule: "http", Reason: "new", Packets: 1235}}
	v.take(next, at.Add(2*time.Second))
	frame := string(v.draw(at))
	if !strings.Contains(frame, "http     80-443  multiple    615         615          0          0  node1 66.7%") {
		t.Errorf("rates: %s", frame)
	}
	v.lost = errors.New("cannot reach nlbd")
	if frame := string(v.draw(at)); !strings.Contains(frame, "as of "+v.at.Format(time.TimeOnly)+": cannot reach nlbd") || !strings.Contains(frame, "node2") {
		t.Errorf("without an answer: %s", frame)
	}
	next.Epoch = 18
	for i := range 7 {
		v.take(next, at.Add(time.Minute))
		if got := strings.Contains(string(v.draw(at)), "was 17"); got != (i < markFrames) {
			t.Errorf("frame %d: the epoch stands out: %v", i, got)
		}
	}
	v.size = func() (int, int) { return 80, 5 }
	frame = string(v.draw(at))
	if n := strings.Count(frame, "\n"); n != 4 || !strings.Contains(frame, "more lines: make the window larger") {
		t.Errorf("%d lines in a window of 5: %s", n+1, frame)
	}
}

// TestWatchElsewhere: where stdout is no terminal, or carries data, it is one status after the other.
func TestWatchElsewhere(t *testing.T) {
	for args, want := range map[string]string{"--watch": "Cluster       web", "-w -o json": `"cluster": "web"`, "-w -o yaml": "---\ncluster: web\n", "--watch=3s": "Cluster       web"} {
		ctx, cancel := context.WithCancel(t.Context())
		rounds := 0
		var stdout, stderr bytes.Buffer
		e := env{stdout: &stdout, stderr: &stderr, terminal: strings.Contains(args, "json"), sleep: func(ctx context.Context, d time.Duration) error {
			if (d == 3*time.Second) != strings.Contains(args, "3s") {
				t.Errorf("%s: sleeps for %v", args, d)
			}
			if rounds++; rounds == 3 {
				cancel()
			}
			return ctx.Err()
		}}
		status := run(ctx, e, append([]string{"--socket", serve(t, newFake()), "status"}, strings.Fields(args)...))
		if n := strings.Count(stdout.String(), want); status != done || stderr.Len() > 0 || n != 3 || strings.Contains(stdout.String(), "\x1b") {
			t.Errorf("%s: exit %d, shown %d times: %s", args, status, n, &stderr)
		}
		cancel()
	}
	for args, want := range map[string]string{
		"status --watch soon": "not an interval", "status --watch=1ms": "out of range", "status --watch -1s": "unknown shorthand",
		"status 5s": "unexpected argument", "status --watch 2s 3s": "unexpected argument", "status --watch=0s": "out of range",
	} {
		nlbctl(t, env{}, strings.Fields(args)...).expect(t, misuse, "", want)
	}
	nlbctl(t, env{terminal: true}, "--socket", t.TempDir()+"/s", "status", "-w").expect(t, failed, "\x1b[?1049l", "cannot reach nlbd")
}
