package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/opennlb/opennlb/control"
)

// happened fills the log of a fake daemon with one old and three recent events.
func happened(f *fake) {
	now := time.Now()
	f.Add(control.Event{Time: now.Add(-2 * time.Hour), Kind: "join", Message: "old"})
	f.Add(control.Event{Time: now, Kind: "no owner", Message: "second"})
	f.Add(control.Event{Time: now, Kind: "join", Message: "third"})
	f.Add(control.Event{
		Time: now, Kind: "converged", Message: "epoch 18: 2 members", Epoch: 18, Duration: control.Duration(42 * time.Millisecond),
		Cause: "node3 is draining", By: "alice at node1", Buckets: 5000, Moved: []control.Move{
			{Rule: "", From: "node3", To: "node1", Buckets: 4096}, {Rule: "http", From: "node3", To: "", Buckets: 400},
			{Rule: "http", From: "node2", To: "node1", Buckets: 300}, {Rule: "dns", From: "node2", To: "node1", Buckets: 100},
			{Rule: "dns", From: "node2", To: "node3", Buckets: 100},
		},
	})
}

func TestEventFilter(t *testing.T) {
	f := newFake()
	happened(f)
	socket := serve(t, f)
	for args, want := range map[string]string{
		"":                            "old second third epoch",
		"--since 1h":                  "second third epoch",
		"-n 1":                        "epoch",
		"-n 0":                        "",
		"--kind join":                 "old third",
		"--kind join --since 1h":      "third",
		"--kind join,no_owner -n 2":   "second third",
		"--kind no_owner":             "second",
		"--kind hook":                 "",
		"--kind join --kind no_owner": "old second third",
	} {
		o := nlbctl(t, env{}, append([]string{"--socket", socket, "events", "-o", "json"}, strings.Fields(args)...)...)
		var events []control.Event
		if err := json.Unmarshal([]byte(o.stdout), &events); err != nil || o.status != done {
			t.Fatalf("%s: %v: %+v", args, err, o)
		}
		var got []string
		for _, e := range events {
			got = append(got, strings.Fields(e.Message)[0])
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: got %q, want %q", args, got, want)
		}
	}
	nlbctl(t, env{}, "events", "--kind", "joins").expect(t, misuse, "", "write one of join, leave")
	nlbctl(t, env{}, "events", "--since", "-1h").expect(t, misuse, "", "not a time before now")
}

func TestConvergenceIsExplained(t *testing.T) {
	f := newFake()
	happened(f)
	o := nlbctl(t, env{}, "--socket", serve(t, f), "events", "-n", "1")
	o.expect(t, done, "epoch 18: 2 members (42ms): node3 is draining, asked by alice at node1\n", "")
	o.expect(t, done, strings.Repeat(" ", eventIndent)+
		"moved buckets: default host node3 > node1 4096, http node3 > nobody 400, http node2 > node1 300, dns node2 > node1 100, and 104 more\n", "")
	if first, _, _ := strings.Cut(o.stdout, "epoch 18: 2"); len(first) != eventIndent {
		t.Errorf("the message begins at %d:\n%s", len(first), o.stdout)
	}
}
