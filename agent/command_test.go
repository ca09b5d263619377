package agent

import (
	"testing"
	"time"
)

// TestStaleCommands: what waited while this process stood still is refused, for its sender
// has told that it was not done.
func TestStaleCommands(t *testing.T) {
	l := &loop{}
	now := time.Unix(1000, 0)
	for i, step := range []struct {
		after time.Duration
		want  bool
	}{
		{0, false}, // the first step of all
		{50 * time.Millisecond, false},
		{time.Second, false}, // whoever asked is still waiting
		{4 * time.Second, true},
		{50 * time.Millisecond, true},
		{500 * time.Millisecond, true},
		{500 * time.Millisecond, false},
		{50 * time.Millisecond, false},
	} {
		now = now.Add(step.after)
		l.advance(moment{wall: now})
		if got := l.stale(); got != step.want {
			t.Errorf("step %d: %v", i, got)
		}
	}
}
