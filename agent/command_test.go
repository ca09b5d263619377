package agent

import (
	"log/slog"
	"testing"
	"time"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/converge"
	"github.com/opennlb/opennlb/dataplane"
	"github.com/opennlb/opennlb/portrules"
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

// silent is an engine that takes whatever it is told.
type silent struct{ dataplane.Engine }

func (silent) Install(*portrules.Policy, *dataplane.Next) error { return nil }
func (silent) Renew(dataplane.Instant) error                    { return nil }

// TestDrainDeadline: a time limit is that of the drain that it was given with, and of no
// later one. A member that is stopping takes no command any more.
func TestDrainDeadline(t *testing.T) {
	l, now := alone(t)
	l.log, l.events, l.now.wall = slog.New(slog.DiscardHandler), control.NewEventLog(10), now
	l.engine, l.vips, l.id.clusterMAC, l.askers = silent{}, l.cluster.VIPs, l.cluster.mac, make(map[string]told)
	l.catalog = catalog{l.cfg, map[converge.Stamp]entry{l.cluster.plan.Stamp(): {cluster: l.cluster}}}
	for i, step := range []struct {
		command command
		left    time.Duration // 0: no limit
	}{
		{command{Action: control.Drain, Timeout: control.Duration(time.Minute)}, time.Minute},
		{command{Action: control.Drain, Timeout: control.Duration(time.Hour)}, time.Hour},
		{command{Action: control.Drain}, 0},
		{command{Action: control.Drain, Timeout: control.Duration(time.Minute)}, time.Minute},
		{command{Action: control.Start, Timeout: control.Duration(time.Minute)}, 0},
		{command{Action: control.Drain}, 0},
	} {
		if _, _, err := l.act(step.command); err != nil {
			t.Fatal(err)
		}
		var want time.Time
		if step.left > 0 {
			want = now.Add(step.left)
		}
		if l.drain.deadline != want {
			t.Errorf("step %d: the deadline is %v, want %v", i, l.drain.deadline, want)
		}
	}
	l.leaving = true
	if _, _, err := l.act(command{Action: control.Start}); err == nil || l.machine.Self().State != converge.Draining {
		t.Errorf("while it leaves: %v, %s", err, l.machine.Self().State)
	}
}
