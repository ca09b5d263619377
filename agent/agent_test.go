package agent

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/converge"
	"github.com/opennlb/opennlb/nlbhash"
)

func TestUndoRunsBackwardsAndGoesOnAfterErrors(t *testing.T) {
	var u undo
	var order []string
	boom := errors.New("boom")
	for _, name := range []string{"a", "b", "c"} {
		u.add(name, func() error {
			order = append(order, name)
			if name == "b" {
				return boom
			}
			return nil
		})
	}
	err := u.run()
	if got := strings.Join(order, ""); got != "cba" {
		t.Errorf("order %s", got)
	}
	if !errors.Is(err, boom) || !strings.Contains(err.Error(), "b: boom") {
		t.Errorf("error %v", err)
	}
	if err := u.run(); err != nil || len(order) != 3 {
		t.Errorf("a second run did something: %v %v", err, order)
	}
}

func TestKeysDependOnAll(t *testing.T) {
	key := deriveKey("beacon", "web", []byte("k1"))
	if key != deriveKey("beacon", "web", []byte("k1")) {
		t.Error("not the same twice")
	}
	for _, other := range []nlbhash.Key{
		deriveKey("client hash", "web", []byte("k1")), deriveKey("beacon", "mail", []byte("k1")), deriveKey("beacon", "web", []byte("k2")),
	} {
		if other == key {
			t.Error("purpose, cluster or key make no difference")
		}
	}
}

func TestNextState(t *testing.T) {
	const started, draining, stopped, suspended = converge.Started, converge.Draining, converge.Stopped, converge.Suspended
	type row struct {
		from   converge.State
		action string
		to     converge.State
		err    string
	}
	for _, r := range []row{
		{stopped, control.Start, started, ""},
		{draining, control.Start, started, ""},
		{started, control.Start, started, ""},
		{suspended, control.Start, 0, "resume it first"},
		{started, control.Stop, stopped, ""},
		{suspended, control.Stop, 0, "resume it first"},
		{started, control.Drain, draining, ""},
		{stopped, control.Drain, 0, "nothing to drain"},
		{suspended, control.Drain, 0, "resume it first"},
		{started, control.Suspend, suspended, ""},
		{suspended, control.Suspend, suspended, ""},
		{suspended, control.Resume, stopped, ""},
		{started, control.Resume, 0, "nothing to resume"},
		{started, "dance", 0, "unknown action"},
	} {
		got, err := nextState(r.from, r.action)
		switch {
		case r.err == "" && (err != nil || got != r.to):
			t.Errorf("%s when %s: %s, %v; want %s", r.action, r.from, got, err, r.to)
		case r.err != "" && (err == nil || !strings.Contains(err.Error(), r.err)):
			t.Errorf("%s when %s: error %v; want %q", r.action, r.from, err, r.err)
		}
	}
}

func TestPlural(t *testing.T) {
	if plural(1, "packet") != "1 packet" || plural(2, "packet") != "2 packets" {
		t.Error(plural(1, "packet"), plural(2, "packet"))
	}
}

// TestDrains: a drain that the members have not agreed on yet cannot be at its end.
func TestDrains(t *testing.T) {
	n1, n2 := infoOf("n1", 1), infoOf("n2", 2)
	draining, restarted := n2, n2
	draining.State, restarted.State, restarted.Instance = converge.Draining, converge.Draining, 99
	for _, c := range []struct {
		name    string
		members []converge.Info
		self    converge.Info
		want    bool
	}{
		{"started", []converge.Info{n1, n2}, n2, false},
		{"asked for", []converge.Info{n1, n2}, draining, false},
		{"agreed on", []converge.Info{n1, draining}, draining, true},
		{"started again", []converge.Info{n1, draining}, n2, false},
		{"of an earlier process", []converge.Info{n1, restarted}, draining, false},
		{"left out", []converge.Info{n1}, draining, false},
	} {
		if got := drains(&converge.Assignment{Members: c.members}, c.self); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// TestLeftIsNotGuessed: before a draining member has counted, nobody says how many
// connections it has left; least of all that it is none, or as many as in a drain before.
func TestLeftIsNotGuessed(t *testing.T) {
	l, now := alone(t)
	l.log, l.events, l.now.wall = slog.New(slog.DiscardHandler), control.NewEventLog(10), now
	l.reports = map[string]report{"n2": {Connections: 57}}
	l.connections = 12
	own, other := control.Member{Name: "n1", State: "draining"}, control.Member{Name: "n2", State: "draining"}
	look := func(m control.Member, left int, counting bool) {
		t.Helper()
		if n, c := l.connectionsOf(m); n != left || c != counting {
			t.Errorf("%s: %d left, counting %v; want %d, %v", m.Name, n, c, left, counting)
		}
	}
	look(own, 0, true)
	l.leftKnown = true
	look(own, 12, false)
	look(other, 57, false)
	l.tell([]converge.Event{{Kind: "state", Member: "n2", Text: "n2 is draining"}})
	look(other, 0, true)
	l.reports["n2"] = report{Connections: 3}
	look(other, 3, false)
	other.State = "started"
	look(other, 0, false)
}
