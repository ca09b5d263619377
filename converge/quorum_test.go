package converge

import "testing"

// TestQuorum says which part of a view may serve under partition: majority.
func TestQuorum(t *testing.T) {
	stopped := func(members []Info, p uint8) []Info {
		for i := range members {
			if members[i].Priority == p {
				members[i].State = Stopped
			}
		}
		return members
	}
	for _, row := range []struct {
		name string
		view []Info
		here []Info
		want bool
	}{
		{"all", infos(1, 2, 3), infos(1, 2, 3), true},
		{"two of three", infos(1, 2, 3), infos(2, 3), true},
		{"one of three", infos(1, 2, 3), infos(1), false},
		{"half with the lowest", infos(1, 2, 3, 4), infos(1, 4), true},
		{"half without the lowest", infos(1, 2, 3, 4), infos(2, 3), false},
		{"one of two, the lowest", infos(1, 2), infos(1), true},
		{"one of two, the other", infos(1, 2), infos(2), false},
		{"who had stopped does not count", stopped(infos(1, 2, 3), 1), infos(2), true},
		{"newcomers do not count", infos(1, 2, 3), infos(3, 4, 5, 6), false},
	} {
		in := &Machine{plan: &Plan{Majority: true}, committed: &Assignment{Members: row.view}}
		out := &Machine{plan: &Plan{Majority: true}, later: &Assignment{Members: row.view}}
		serve := &Machine{plan: &Plan{}, committed: &Assignment{Members: row.view}}
		if in.quorum(row.here) != row.want || out.quorum(row.here) != row.want {
			t.Errorf("%s: %t in the view, %t after leaving it, want %t", row.name, in.quorum(row.here), out.quorum(row.here), row.want)
		}
		if !serve.quorum(row.here) {
			t.Errorf("%s: silent under partition: serve", row.name)
		}
	}
	if founder := (&Machine{plan: &Plan{Majority: true}}); !founder.quorum(infos(1)) {
		t.Error("a cluster cannot be founded")
	}
}

// TestOutvoted: only who is silent for want of a majority says so.
func TestOutvoted(t *testing.T) {
	lost := &Assignment{Epoch: Epoch{N: 3}, Members: infos(1, 2, 3)}
	alone := func(majority bool, later *Assignment) *Machine {
		plan := planOf(simRules...)
		plan.Majority = majority
		m := New(Config{Plan: plan, Timing: DefaultTiming, Lease: simLease}, info(3), t0)
		m.later = later
		return m
	}
	in := alone(true, nil)
	in.committed = lost
	for _, row := range []struct {
		name string
		m    *Machine
		want bool
	}{
		{"one of three", alone(true, lost), true},
		{"partition: serve", alone(false, lost), false},
		{"starting", alone(true, nil), false},
		{"in the view", in, false},
	} {
		if got := row.m.Outvoted(); got != row.want {
			t.Errorf("%s: %v", row.name, got)
		}
	}
}

// TestMinorityFallsSilent: at once, and only under partition: majority.
func TestMinorityFallsSilent(t *testing.T) {
	for _, majority := range []bool{true, false} {
		a := agreement(5, 1, nil, infos(1, 2, 3))
		plan := *a.Plan
		a.Plan, plan.Majority = &plan, majority
		m := inView(3, a)
		if m.Peers(t0, peersOf(2)); !m.Serving() {
			t.Error("silent with two of three")
		}
		if m.Peers(t0, nil); m.Serving() == majority {
			t.Errorf("majority %t, alone of three: serves %t", majority, m.Serving())
		}
	}
}
