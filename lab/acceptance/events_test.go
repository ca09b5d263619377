package acceptance

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/lab"
)

// TestEventsExplain: every member's history says why each epoch came about, who asked for
// it, and which buckets moved. node2 runs a program at some, which is slow.
func TestEventsExplain(t *testing.T) {
	beside(t)
	calls := filepath.Join(t.TempDir(), "calls")
	c := start(t, lab.Options{Members: 3, Clients: 10, Edit: func(m *lab.Member) {
		if m.Name == "node2" {
			m.Config["notify"] = map[string]any{
				"command": []string{"/bin/sh", "-c", `echo "$NLB_EVENT $NLB_ABOUT $NLB_MEMBER $NLB_STATE nice $(ps -o ni= -p $$)" >>$0; sleep 600`, calls},
				"timeout": "1500ms", "events": []string{"state", "default_host"},
			}
		}
	}})
	c.act(c.Members[1], control.StateRequest{Action: control.Stop, Members: []string{"node3"}})
	c.waitState("node3", "stopped")
	c.converged(3)
	for _, m := range c.Members {
		e := c.explained(m, "node3 is stopped")
		if e.By != "root at node2" {
			t.Errorf("%s: node3 was stopped by %q", m.Name, e.By)
		}
		c.movedAway(m, e, "node3")
	}
	c.ok(c.Members[0].Kill())
	c.converged(2)
	e := c.explained(c.Members[1], "node1 died")
	c.movedAway(c.Members[1], e, "node1")
	if e.By != "" {
		t.Errorf("node1 died, and was asked to by %q", e.By)
	}
	c.hasEvent(c.Members[1], "default host", "node2 is the default host")
	c.ok(c.Members[0].Start())
	c.converged(3)
	c.explained(c.Members[1], "node1 joined")
	c.explained(c.Members[0], "node1 entered the cluster")

	c.sleep(2 * time.Second) // longer than one run may take
	c.hasEvent(c.Members[1], "hook", "the notify command failed at event default_host: killed after 1.5s, its time limit")
	c.ok(c.Members[1].Stop()) // within its time, with a hook that runs
	text, err := os.ReadFile(calls)
	c.ok(err)
	want := []string{"default_host node1 node2 started nice   0", "state node3 node2 started nice   0", "default_host node2 node2 started nice   0"}
	if got := strings.Split(string(text), "\n"); len(got) < len(want) || !slices.Equal(got[:len(want)], want) {
		t.Errorf("node2's program was called so:\n%s", text)
	}
}

// explained waits for the convergence that a member explains so.
func (c *cluster) explained(m *lab.Member, cause string) control.Event {
	c.t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; c.sleep(50 * time.Millisecond) {
		events, err := m.Control().Events(c.ctx, 0, 0)
		c.ok(err)
		for _, e := range events {
			if e.Kind == "converged" && strings.Contains(e.Cause, cause) {
				return e
			}
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%s has no convergence because %s: %+v", m.Name, cause, events)
		}
	}
}

// movedAway: a third of the buckets of rule web left this member, for both others.
func (c *cluster) movedAway(m *lab.Member, e control.Event, from string) {
	c.t.Helper()
	total := 0
	for _, move := range e.Moved {
		if move.Rule == "web" && move.From == from && move.To != from {
			total += move.Buckets
		}
	}
	if total < 1365 || e.Buckets < total {
		c.t.Errorf("%s: %d buckets of rule web left %s, %d in all: %+v", m.Name, total, from, e.Buckets, e.Moved)
	}
}
