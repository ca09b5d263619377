package converge

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/opennlb/opennlb/portrules"
)

// nextPlan follows first.
func nextPlan(rules ...Rule) *Plan {
	return &Plan{Version: 2, Digest: "e", Dampen: true, Rules: rules}
}

func TestStampAbove(t *testing.T) {
	for _, c := range []struct {
		a, b Stamp
		want bool
	}{
		{Stamp{2, "a"}, Stamp{1, "b"}, true},
		{Stamp{1, "b"}, Stamp{1, "a"}, true},
		{Stamp{1, "a"}, Stamp{1, "a"}, false},
		{Stamp{1, "a"}, Stamp{0, "z"}, true},
		{Stamp{0, "z"}, Stamp{0, "a"}, false}, // files, which nobody agreed on
	} {
		if c.a.Above(c.b) != c.want || c.want && c.b.Above(c.a) {
			t.Errorf("%v above %v: %t, want %t", c.a, c.b, !c.want, c.want)
		}
	}
}

// TestCarry: only packets and hash say which slots are the same.
func TestCarry(t *testing.T) {
	renamed, rehashed, wider := simRules[0], simRules[1], simRules[2]
	renamed.Name, rehashed.Hash, wider.Match = "new", "b", "2,9"
	for _, c := range []struct {
		name  string
		rules []Rule
		carry []int
		like  []int
	}{
		{"the same", simRules, []int{0, 1, 2, 3, 4}, []int{0, 1, 2, 3, 4}},
		{"in another order", []Rule{simRules[3], simRules[0], simRules[1], simRules[2]}, []int{3, 0, 1, 2, 4}, []int{3, 0, 1, 2, 4}},
		{"with another name", []Rule{renamed, simRules[1], simRules[2], simRules[3]}, []int{0, 1, 2, 3, 4}, []int{0, 1, 2, 3, 4}},
		{"with another hash", []Rule{simRules[0], rehashed, simRules[2], simRules[3]}, []int{0, -1, 2, 3, 4}, []int{0, 1, 2, 3, 4}},
		{"with other packets", []Rule{simRules[0], simRules[1], wider, simRules[3]}, []int{0, 1, -1, 3, -1}, []int{0, 1, 2, 3, 4}},
		{"without a rule", simRules[:3], []int{0, 1, 2, -1}, []int{0, 1, 2, 4}},
	} {
		p := nextPlan(c.rules...)
		if got := carry(p, first); !slices.Equal(got, c.carry) {
			t.Errorf("%s: the same slots %v, want %v", c.name, got, c.carry)
		}
		if got := predecessors(p, first); !slices.Equal(got, c.like) {
			t.Errorf("%s: dealt like %v, want %v", c.name, got, c.like)
		}
	}
}

// TestBuildPlan: a rule that is new moves nothing of the others, and everybody may have
// connections where packets go elsewhere than before.
func TestBuildPlan(t *testing.T) {
	light := info(2)
	light.Shares = map[string]Share{"r0": {Weight: 7, Priority: 2}}
	members := []Info{info(1), light, info(3)}
	base := agreement(5, 1, agreement(4, 1, nil, infos(1, 3)), members)
	added := Rule{Name: "new", Match: "7", Hash: "a", Mode: portrules.Multiple}
	p := nextPlan(append([]Rule{added}, simRules...)...)
	a := build(base, members, p)
	for slot := range simRules {
		if a.Slot(slot+1).Owner != base.Slot(slot).Owner {
			t.Errorf("rule %s has other owners", simRules[slot].Name)
		}
	}
	for _, p := range []uint8{1, 2, 3} {
		held := a.Slot(0).holding(p)
		for b, owner := range a.Slot(0).Owner {
			if owner != p && (held == nil || !held.Has(b)) {
				t.Fatalf("n%d may have connections in bucket %d of the new rule, which nobody knows", p, b)
			}
		}
	}
}

// TestSetPlan: the coordinator takes a plan that follows, one at a time, and gives it up
// when a member of the view refuses it.
func TestSetPlan(t *testing.T) {
	a := agreement(5, 1, nil, infos(1, 2))
	other := inView(2, a.clone())
	if _, err := other.SetPlan(t0, nextPlan()); !errors.Is(err, ErrNotCoordinator) {
		t.Errorf("not the coordinator: %v", err)
	}
	if _, err := member(1).SetPlan(t0, nextPlan()); err == nil {
		t.Error("taken in no view")
	}
	m := inView(1, a.clone())
	if _, err := m.SetPlan(t0, &Plan{Version: 3, Digest: "x"}); !errors.Is(err, ErrConflict) {
		t.Errorf("a version too many: %v", err)
	}
	m.cfg.Take = func(*Plan) error { return errors.New("no room") }
	if _, err := m.SetPlan(t0, nextPlan()); err == nil || !strings.Contains(err.Error(), "no room") {
		t.Errorf("cannot take it: %v", err)
	}
	m.cfg.Take = nil
	p := nextPlan(simRules[1:]...)
	out, err := m.SetPlan(t0, p)
	if err != nil || m.proposal == nil || m.proposal.assignment.Plan != p || out.Install == nil || len(out.Install.Next.SlotTable) != 4 {
		t.Fatalf("proposes %+v: %v", m.proposal, err)
	}
	if _, err := m.SetPlan(t0, nextPlan()); !errors.Is(err, ErrConflict) {
		t.Errorf("two at a time: %v", err)
	}
	epoch := m.proposal.assignment.Epoch
	m.Receive(t0, msg(2, Message{Reject: &Reject{Epoch: Epoch{N: epoch.N - 1, By: 1}, Refusal: "disliked the last one"}}))
	if pending, refusal := m.Asked(p.Stamp()); !pending || refusal != "" || m.proposal == nil {
		t.Errorf("a refusal of another proposal: pending %t, %q", pending, refusal)
	}
	out = m.Receive(t0, msg(2, Message{Reject: &Reject{Epoch: epoch, Refusal: "dislikes it"}}))
	pending, refusal := m.Asked(p.Stamp())
	if pending || !strings.Contains(refusal, "n2: dislikes it") || !hasEvent(out, "config") {
		t.Errorf("refused: pending %t, %q", pending, refusal)
	}
	for range 20 {
		m.Tick(m.now.Add(simTick))
	}
	if m.plan != first || m.proposal != nil && m.proposal.assignment.Plan.Stamp() == p.Stamp() {
		t.Errorf("it goes on with %v", m.plan.Stamp())
	}
}

// TestNewcomerMisfit: a newcomer that cannot take the plan in force stays out, by name.
func TestNewcomerMisfit(t *testing.T) {
	m := inView(1, agreement(5, 1, nil, infos(1, 2)))
	m.Peers(t0, peersOf(2, 3))
	m.Receive(t0, wordOf(3, 1, Epoch{}, 0))
	if m.proposal == nil {
		t.Fatal("does not let it in")
	}
	m.Receive(t0, msg(3, Message{Reject: &Reject{Epoch: m.proposal.assignment.Epoch, Refusal: "dislikes it"}}))
	for range 20 {
		m.Tick(m.now.Add(simTick))
	}
	if got := m.Misfits(); !slices.Equal(got, []Misfit{{"n3", "dislikes it"}}) {
		t.Errorf("misfits %v", got)
	}
	if reason := m.misfit(info(3).peer(), nextPlan()); reason != "" {
		t.Errorf("stays out under another configuration, too: %s", reason)
	}
	if m.proposal == nil || len(m.proposal.assignment.Members) != 2 { // what was promised has to be replaced
		t.Errorf("proposed is %v", m.proposal)
	}
}

// TestWhoRefuses: a newcomer that cannot take a new plan does not stop it, and a member of
// the view that cannot take the one in force any more is left out.
func TestWhoRefuses(t *testing.T) {
	m := inView(1, agreement(5, 1, nil, infos(1, 2)))
	m.Peers(t0, peersOf(2, 3))
	m.Receive(t0, wordOf(3, 1, Epoch{}, 0))
	p := nextPlan(simRules[1:]...)
	if _, err := m.SetPlan(t0, p); err != nil || m.proposal.assignment.Plan == p {
		t.Fatal(err, "proposed at once, with another proposal under way")
	}
	m.abandon()
	m.Tick(t0)
	refuse := func(who uint8) *Assignment {
		t.Helper()
		m.Receive(m.now, msg(who, Message{Reject: &Reject{Epoch: m.proposal.assignment.Epoch, Refusal: "dislikes it"}}))
		for m.proposal == nil {
			m.Tick(m.now.Add(simTick))
		}
		return m.proposal.assignment
	}
	if a := refuse(3); a.Plan != p || len(a.Members) != 2 {
		t.Errorf("proposed %v for %d members", a.Plan.Stamp(), len(a.Members))
	}
	m.Receive(m.now, msg(2, Message{Prepared: &Prepared{Epoch: m.proposal.assignment.Epoch}}))
	if m.Plan() != p {
		t.Fatal("did not commit")
	}
	third := *p
	third.Version = 3
	if _, err := m.SetPlan(m.now, &third); err != nil {
		t.Errorf("the next change: %v", err)
	}
	if a := refuse(2); a.Plan != p || len(a.Members) != 2 {
		t.Errorf("proposed %v for %d members after a member refused a new one", a.Plan.Stamp(), len(a.Members))
	}
	if a := refuse(2); a.Plan != p || len(a.Members) != 1 {
		t.Errorf("proposed %v for %d members after a member refused that in force", a.Plan.Stamp(), len(a.Members))
	}
}

// TestNewcomerBringsUnfitPlan: a later configuration that the coordinator cannot take keeps
// out who brings it.
func TestNewcomerBringsUnfitPlan(t *testing.T) {
	m := inView(1, agreement(5, 1, nil, infos(1, 2)))
	m.Peers(t0, peersOf(2, 3))
	m.cfg.Take = func(*Plan) error { return errors.New("no room") }
	later := nextPlan(simRules[2:]...)
	w := wordOf(3, 1, Epoch{}, 0)
	w.Info.Stamp, w.Info.Plan = later.Stamp(), later
	m.Receive(t0, w)
	if got := m.Misfits(); m.proposal != nil || !slices.Equal(got, []Misfit{{"n3", "brings version 2 of the configuration: no room"}}) {
		t.Errorf("misfits %v, proposes %+v", got, m.proposal)
	}
}

// TestNewcomerBringsPlan: who comes with a later configuration makes it that of all.
func TestNewcomerBringsPlan(t *testing.T) {
	m := inView(1, agreement(5, 1, nil, infos(1, 2)))
	m.Peers(t0, peersOf(2, 3))
	later := nextPlan(simRules[2:]...)
	w := wordOf(3, 1, Epoch{}, 0)
	w.Info.Stamp = later.Stamp()
	m.Receive(t0, w)
	if m.proposal != nil {
		t.Fatal("lets it in under an earlier configuration")
	}
	w.Info.Plan = later
	m.Receive(t0, w)
	if m.proposal == nil || m.proposal.assignment.Plan != later || len(m.proposal.assignment.Members) != 3 {
		t.Errorf("proposes %+v", m.proposal)
	}
}

// TestBeginsAnewOutside: who has to begin anew for the configuration in force takes it over
// from a proposal and promises nothing. What is only proposed it promises, like all.
func TestBeginsAnewOutside(t *testing.T) {
	later := nextPlan(simRules...)
	a := build(nil, infos(1, 3), later)
	a.Epoch = Epoch{N: 6, By: 1, Instance: info(1).Instance}
	for _, c := range []struct {
		name     string
		anew     bool
		silent   bool  // the proposer has said nothing yet
		in       Epoch // of the proposer
		its      Stamp // in force there
		promises bool
	}{
		{"in force", true, false, Epoch{N: 5, By: 1}, later.Stamp(), false},
		{"only proposed", true, false, Epoch{N: 5, By: 1}, first.Stamp(), true},
		{"the proposer's file", true, false, Epoch{}, later.Stamp(), true},
		{"unknown", true, true, Epoch{}, Stamp{}, false},
		{"not for this one", false, false, Epoch{N: 5, By: 1}, later.Stamp(), true},
	} {
		m := member(3, 1)
		m.cfg.Anew = func(p *Plan) bool { return p == later && c.anew }
		w := wordOf(1, 1, c.in, 5)
		w.Info.Stamp = c.its
		if !c.silent {
			m.Receive(t0, w)
		}
		m.Receive(t0, msg(1, Message{Prepare: a.clone()}))
		if promised := m.prepared != nil; promised != c.promises || (m.Plan() == later) != (!c.promises && !c.silent) {
			t.Errorf("%s: promised %t, configuration %v", c.name, promised, m.Plan().Stamp())
		}
	}
}
