package agent

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/converge"
)

// dealt is a view of members n1, n2, ..., in which the first shares of all buckets go to
// the members as they come.
func dealt(rules []string, members []converge.Info, tables ...[]int) view {
	a := &converge.Assignment{Members: members, Plan: &converge.Plan{}}
	for _, r := range rules {
		a.Plan.Rules = append(a.Plan.Rules, converge.Rule{Name: r})
	}
	for i, shares := range tables {
		var t converge.Table
		b := 0
		for m, n := range shares {
			for range n {
				t.Owner[b] = members[m].Priority
				b++
			}
		}
		a.Tables = append(a.Tables, t)
		a.SlotTable = append(a.SlotTable, i)
	}
	return view{a}
}

func infoOf(name string, priority uint8) converge.Info {
	return converge.Info{Name: name, Priority: priority, Instance: uint64(priority), Version: 1}
}

func TestMoves(t *testing.T) {
	n := []converge.Info{infoOf("n1", 1), infoOf("n2", 2), infoOf("n3", 3)}
	before := dealt([]string{"web", "old"}, n, []int{2000, 1000, 1096}, []int{4096}, []int{4096})
	after := dealt([]string{"web", "new"}, n[1:], []int{1500, 2596}, []int{0, 4096}, []int{4096})
	got, all := moves(before, after)
	want := []control.Move{
		{Rule: "new", From: "", To: "n3", Buckets: 4096},
		{Rule: "", From: "n1", To: "n2", Buckets: 4096},
		{Rule: "old", From: "n1", To: "", Buckets: 4096},
		{Rule: "web", From: "n1", To: "n2", Buckets: 1500},
		{Rule: "web", From: "n2", To: "n3", Buckets: 1000},
		{Rule: "web", From: "n1", To: "n3", Buckets: 500},
	}
	if !reflect.DeepEqual(got, want) || all != 3*4096+3000 {
		t.Errorf("%d in all: %+v", all, got)
	}
	if got, all := moves(before, before); len(got) != 0 || all != 0 {
		t.Errorf("from a view to itself: %d: %+v", all, got)
	}
	if got, all := moves(view{}, after); len(got) != 0 || all != 0 {
		t.Errorf("from no view: %d: %+v", all, got)
	}

	// Forty rules that share both tables: the largest are listed, all are counted.
	var names []string
	for i := range 40 {
		names = append(names, string(rune('a'+i)))
	}
	before, after = dealt(names, n, []int{4096}), dealt(names, n, []int{4090, 6})
	before.assignment.SlotTable, after.assignment.SlotTable = make([]int, 41), make([]int, 41)
	got, all = moves(before, after)
	if len(got) != control.MaxMoves || all != 41*6 || got[0] != (control.Move{Rule: "a", From: "n1", To: "n2", Buckets: 6}) {
		t.Errorf("%d in all: %+v", all, got)
	}
}

func TestChanges(t *testing.T) {
	change := func(i converge.Info, f func(*converge.Info)) converge.Info {
		f(&i)
		return i
	}
	n1, n2, n3 := infoOf("n1", 1), infoOf("n2", 2), infoOf("n3", 3)
	stopped := change(n3, func(i *converge.Info) { i.State = converge.Stopped })
	for want, views := range map[string][2][]converge.Info{
		"n3 joined":                              {{n1, n2}, {n1, n2, n3}},
		"n3 died":                                {{n1, n2, n3}, {n1, n2}},
		"n3 left":                                {{n1, n2, stopped}, {n1, n2}},
		"n2 was left out: it did not answer":     {{n1, n2}, {n1}},
		"n3 is stopped":                          {{n1, n3}, {n1, stopped}},
		"n2 restarted":                           {{n1, n2}, {n1, change(n2, func(i *converge.Info) { i.Instance = 99 })}},
		"n2 asked for it":                        {{n1, n2}, {n1, change(n2, func(i *converge.Info) { i.Version = 2 })}},
		"weight of n2 for web 50 to 80":          {{n1, n2}, {n1, change(n2, func(i *converge.Info) { i.Shares = map[string]converge.Share{"web": {Weight: 80, Priority: 2}} })}},
		"handling priority of n2 for web 2 to 7": {{n1, n2}, {n1, change(n2, func(i *converge.Info) { i.Shares = map[string]converge.Share{"web": {Weight: 50, Priority: 7}} })}},
		"rule web is draining at n2": {{n1, n2}, {n1, change(n2, func(i *converge.Info) {
			i.Shares = map[string]converge.Share{"web": {Weight: 50, Priority: 2, State: converge.Draining}}
		})}},
		"n2 knows the clients that stay, and takes part": {{n1, change(n2, func(i *converge.Info) { i.Newcomer, i.Version = true, 0 })}, {n1, n2}},
		"an agreement was completed or repeated":         {{n1, n2}, {n1, n2}},
	} {
		before, after := dealt([]string{"web"}, views[0]), dealt([]string{"web"}, views[1])
		got := changes(before, after, func(i converge.Info) bool { return i.Name == "n2" })
		if len(got) != 1 || got[0] != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestAskers: who asked for a change is told with the convergence that brings it, once.
func TestAskers(t *testing.T) {
	l, _ := alone(t)
	n1, n2 := infoOf("n1", 1), infoOf("n2", 2)
	drains := n2
	drains.State, drains.Version = converge.Draining, 2
	l.askers = map[string]told{}
	l.onTold("n2", told{Version: 2, By: "alice at n1"})
	first, second := dealt(nil, []converge.Info{n1, n2}), dealt(nil, []converge.Info{n1, drains})
	if what, by := l.cause(first, second); what != "n2 is draining" || by != "alice at n1" {
		t.Errorf("%q by %q", what, by)
	}
	drains.State, drains.Version = converge.Stopped, 3
	if what, by := l.cause(second, dealt(nil, []converge.Info{n1, drains})); what != "n2 is stopped" || by != "" {
		t.Errorf("the next change, %q, is by %q", what, by)
	}
	long := make([]byte, 1000)
	l.onTold("n2", told{Version: 2, By: string(long)})
	if n := len(l.askers["n2"].By); n != maxAsker {
		t.Errorf("keeps %d bytes of a name", n)
	}
}

// BenchmarkMoves is the worst: 256 rules with a table of their own each, and 32 members whose
// buckets all change their owner.
func BenchmarkMoves(b *testing.B) {
	var rules []string
	var members []converge.Info
	for i := range 32 {
		members = append(members, infoOf(fmt.Sprint("n", i+1), uint8(i+1)))
	}
	for i := range 256 {
		rules = append(rules, fmt.Sprint("rule", i))
	}
	before, after := dealt(rules, members, make([][]int, 257)...), dealt(rules, members, make([][]int, 257)...)
	for i := range before.assignment.Tables {
		for j := range before.assignment.Tables[i].Owner {
			before.assignment.Tables[i].Owner[j] = uint8(1 + j%32)
			after.assignment.Tables[i].Owner[j] = uint8(1 + (j+1+j/32%31)%32)
		}
	}
	for b.Loop() {
		if _, all := moves(before, after); all != 257*4096 {
			b.Fatal(all)
		}
	}
}
