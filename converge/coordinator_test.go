package converge

import (
	"testing"
	"time"
)

// wordOf is what p says about itself in some view.
func wordOf(p uint8, version uint64, view Epoch, seen uint64) Message {
	i := info(p)
	i.Version = version
	return msg(p, Message{Info: &InfoMsg{Info: i, Stamp: first.Stamp(), View: view, Seen: seen}})
}

func TestFounder(t *testing.T) {
	later, fresh := wordOf(3, 1, Epoch{}, 0), wordOf(1, 1, Epoch{}, 0)
	later.Info.Stamp, fresh.Info.Stamp = Stamp{2, "x"}, Stamp{0, "x"}
	for _, c := range []struct {
		name    string
		alive   []uint8
		words   []Message
		after   time.Duration
		founder uint8 // 0: nobody
	}{
		{"alone, still listening", nil, nil, 900 * time.Millisecond, 0},
		{"alone", nil, nil, time.Second, 2},
		{"somebody has not spoken", []uint8{3}, nil, 900 * time.Millisecond, 0},
		{"somebody never speaks", []uint8{1}, nil, 1100 * time.Millisecond, 2},
		{"lowest of two", []uint8{3}, []Message{wordOf(3, 1, Epoch{}, 0)}, time.Second, 2},
		{"a lower one", []uint8{1}, []Message{wordOf(1, 1, Epoch{}, 0)}, time.Second, 1},
		{"one with a later configuration", []uint8{3}, []Message{later}, time.Second, 3},
		{"a lower one without an agreed configuration", []uint8{1}, []Message{fresh}, time.Second, 2},
		{"somebody has a view", []uint8{3}, []Message{wordOf(3, 1, Epoch{N: 4}, 4)}, 5 * time.Second, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := member(2, c.alive...)
			for _, w := range c.words {
				m.Receive(t0, w)
			}
			for now := t0; now.Before(t0.Add(c.after)); now = now.Add(simTick) {
				m.now = now
			}
			m.now = t0.Add(c.after)
			if got := m.founder().Priority; got != c.founder {
				t.Errorf("founder %d, want %d", got, c.founder)
			}
		})
	}
}

func TestCoordinator(t *testing.T) {
	a := agreement(5, 1, nil, infos(1, 2, 3))
	for _, c := range []struct {
		name  string
		alive []uint8
		word  *Message
		want  uint8
	}{
		{"the lowest", []uint8{1, 2}, nil, 1},
		{"the lowest that lives", []uint8{2}, nil, 2},
		{"not one that is in no view", []uint8{1, 2}, ptr(wordOf(1, 2, Epoch{}, 5)), 2},
		{"unless it said so before it promised this view", []uint8{1, 2}, ptr(wordOf(1, 2, Epoch{}, 4)), 1},
		{"itself", nil, nil, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := inView(3, a.clone())
			m.Peers(t0, peersOf(c.alive...))
			if c.word != nil {
				m.Receive(t0, *c.word)
			}
			if got := m.coordinator().Priority; got != c.want {
				t.Errorf("coordinator %d, want %d", got, c.want)
			}
		})
	}
}

func ptr[T any](x T) *T { return &x }

// propose makes a coordinator of members 1 to 3 propose epoch 6.
func propose(t *testing.T) (m *Machine, p *Assignment) {
	t.Helper()
	m = inView(1, agreement(5, 1, nil, infos(1, 2, 3)))
	p = answer(m.SetState(t0, Draining), prepare)
	if p == nil || p.Epoch.N != 6 || p.Base.N != 5 {
		t.Fatalf("proposed %+v", p)
	}
	return m, p
}

func TestCommitNeedsEveryPromise(t *testing.T) {
	m, p := propose(t)
	yes := Message{Prepared: &Prepared{Epoch: p.Epoch}}
	for _, who := range []uint8{2, 2, 2} {
		if m.Receive(t0, msg(who, yes)); m.Committed().Epoch.N != 5 {
			t.Fatal("committed without the promise of n3")
		}
	}
	m.Receive(t0, msg(3, Message{Prepared: &Prepared{Epoch: Epoch{N: 4}}}))
	if m.Committed().Epoch.N != 5 {
		t.Fatal("committed with a promise for another epoch")
	}
	out := m.Receive(t0, msg(3, yes))
	if m.Committed().Epoch != p.Epoch || !hasEvent(out, "converged") {
		t.Fatal("did not commit")
	}
	if an := answer(out, func(m Message) *Announce { return m.Announce }); an == nil || an.Epoch != p.Epoch {
		t.Error("did not announce at once")
	}
}

func TestRefusedCoordinatorLearns(t *testing.T) {
	m, p := propose(t)
	later := agreement(9, 2, m.Committed(), infos(1, 2, 3))
	m.Receive(t0, msg(2, Message{Reject: &Reject{Epoch: p.Epoch, Seen: 12, Reason: "knows a later epoch", Committed: later}}))
	if m.proposal != nil {
		t.Fatal("pursues what was refused")
	}
	next := answer(m.Tick(t0.Add(simTick)), prepare)
	if next == nil || next.Epoch.N != 13 || next.Base != later.Epoch {
		t.Errorf("proposed %+v, want epoch 13 from epoch 9", next)
	}
}

// TestRefusedCoordinatorIsOut: what it learns may be that it was left out.
func TestRefusedCoordinatorIsOut(t *testing.T) {
	m, p := propose(t)
	later := agreement(9, 2, m.Committed(), infos(2, 3))
	m.Receive(t0, msg(2, Message{Reject: &Reject{Epoch: p.Epoch, Seen: 9, Reason: "knows a later epoch", Committed: later}}))
	if m.Committed() != nil || m.Serving() {
		t.Errorf("it goes on with epoch %d", m.Committed().Epoch.N)
	}
}

// TestBeaconIsOutbid: a smaller group that is above this one is silenced by a higher epoch.
func TestBeaconIsOutbid(t *testing.T) {
	m := inView(1, agreement(5, 1, nil, infos(1, 2, 3)))
	out := m.Beacon(t0, Beacon{Epoch: Epoch{N: 20, By: 9, Instance: 9}, View: 1 << 8, InForce: true})
	if a := answer(out, prepare); a == nil || a.Epoch.N != 21 {
		t.Errorf("proposed %+v, want epoch 21", a)
	}
}

func TestSilentMemberIsLeftOut(t *testing.T) {
	m, p := propose(t)
	m.Receive(t0, msg(2, Message{Prepared: &Prepared{Epoch: p.Epoch}}))
	refused := false
	var next *Assignment
	now := t0
	for ; now.Before(t0.Add(DefaultTiming.GiveUp + 2*simTick)); now = now.Add(simTick) {
		out := m.Tick(now)
		refused = refused || hasEvent(out, "refused")
		if a := answer(out, prepare); a != nil && a.Epoch != p.Epoch {
			next = a
		}
	}
	if !refused || next == nil || next.has(info(3).peer()) {
		t.Fatalf("refused %t, next %+v: want n3 left out", refused, next)
	}
	out := m.Receive(now, msg(2, Message{Prepared: &Prepared{Epoch: next.Epoch}}))
	if len(out.Beacons) == 0 || m.Committed().Epoch == next.Epoch {
		t.Fatalf("committed %v with %d beacons before: n3 may still answer", m.Committed().Epoch, len(out.Beacons))
	}
	now = now.Add(DefaultTiming.Fence)
	m.Tick(now)
	out = m.Receive(now, wordOf(3, 2, Epoch{}, 9))
	if a := answer(out, prepare); a == nil || !a.has(info(3).peer()) || a.Epoch.N <= 9 {
		t.Errorf("proposed %+v after n3 spoke", a)
	}
}

// TestMuteMemberIsAskedEverMoreRarely: a live member that speaks and never answers a Prepare,
// as when only datagrams reach it, must not cost an epoch every second for ever.
func TestMuteMemberIsAskedEverMoreRarely(t *testing.T) {
	m := inView(1, agreement(5, 1, nil, infos(1, 2)))
	m.Peers(t0, peersOf(1, 2, 3))
	answers := func(out Output, p *Assignment, now time.Time) Output {
		if p == nil {
			return out
		}
		return m.Receive(now, msg(2, Message{Prepared: &Prepared{Epoch: p.Epoch}}))
	}
	asked, now := 0, t0
	var last *Assignment
	for end := t0.Add(time.Minute); now.Before(end); now = now.Add(simTick) {
		p := answer(m.Tick(now), prepare)
		if p == nil {
			p = answer(m.Receive(now, wordOf(3, 1, Epoch{}, m.seen)), prepare)
		}
		if p != nil && (last == nil || p.Epoch != last.Epoch) {
			last = p
			if p.has(info(3).peer()) {
				asked++
			}
		}
		answers(Output{}, p, now)
	}
	if asked < 5 || asked > 10 {
		t.Errorf("asked it with %d epochs in a minute, want 5 to 10", asked)
	}
	if m.Committed().has(info(3).peer()) || m.Committed().Epoch != last.Epoch && last.has(info(3).peer()) == false {
		t.Errorf("epoch %d is in force, epoch %d was proposed last", m.Committed().Epoch.N, last.Epoch.N)
	}
	// Now it can be reached.
	for end := now.Add(maxBan + time.Second); now.Before(end) && !m.Committed().has(info(3).peer()); now = now.Add(simTick) {
		p := answer(m.Tick(now), prepare)
		if p == nil {
			p = answer(m.Receive(now, wordOf(3, 1, Epoch{}, m.seen)), prepare)
		}
		if p != nil && p.has(info(3).peer()) {
			m.Receive(now, msg(3, Message{Prepared: &Prepared{Epoch: p.Epoch}}))
		}
		answers(Output{}, p, now)
	}
	if !m.Committed().has(info(3).peer()) || len(m.banned) > 0 {
		t.Errorf("epoch %d of %d members, %v noted: want n3 in, and nothing", m.Committed().Epoch.N, len(m.Committed().Members), m.banned)
	}
}

// TestSilentGiverIsLeftOut: so is who promised, and then does not release what it loses.
func TestSilentGiverIsLeftOut(t *testing.T) {
	m, p := propose(t)
	for _, who := range []uint8{2, 3} {
		m.Receive(t0, msg(who, Message{Prepared: &Prepared{Epoch: p.Epoch, Gives: true}}))
	}
	m.Receive(t0, msg(2, Message{Released: &Release{Epoch: p.Epoch}}))
	m.Receive(t0, msg(3, Message{Released: &Release{Epoch: m.Committed().Epoch}})) // of another time
	var next *Assignment
	for now := t0; !now.After(t0.Add(DefaultTiming.GiveUp + simTick)); now = now.Add(simTick) {
		if next != nil || m.Committed().Epoch.N != 5 {
			t.Fatalf("epoch %d, proposed %+v: did not wait", m.Committed().Epoch.N, next)
		}
		next = answer(m.Tick(now), prepare)
	}
	if next == nil || next.has(info(3).peer()) || !next.has(info(2).peer()) {
		t.Errorf("proposed %+v, want n3 left out", next)
	}
}

func TestDeathDuringProposal(t *testing.T) {
	m, p := propose(t)
	out := m.Peers(t0, peersOf(2))
	if a := answer(out, prepare); a == nil || a.Epoch.N <= p.Epoch.N || a.has(info(3).peer()) {
		t.Errorf("proposed %+v, want a higher epoch without n3", a)
	}
}

// TestFreshPromiseOutweighsDeath: membership may tell late of a silence that ended.
func TestFreshPromiseOutweighsDeath(t *testing.T) {
	m, p := propose(t)
	for _, who := range []uint8{2, 3} {
		m.Receive(t0, msg(who, Message{Prepared: &Prepared{Epoch: p.Epoch}}))
	}
	m.Peers(t0, peersOf(2))
	if m.proposal != nil {
		t.Fatal("n3 promised just now: it has a lease")
	}
	var next *Assignment
	for now := t0; !now.After(t0.Add(simLease)); now = now.Add(simTick) {
		if next != nil {
			t.Fatal("left out while it may have a lease")
		}
		next = answer(m.Tick(now), prepare)
	}
	if next == nil || next.has(info(3).peer()) {
		t.Errorf("proposed %+v once the lease of n3 is over", next)
	}
}

// TestExtra: a member that holds more than the coordinator knows is heard, however
// often, and whatever answer is lost.
func TestExtra(t *testing.T) {
	base := agreement(5, 1, nil, infos(1, 2))
	m := inView(2, base.clone())
	next := build(nil, []Info{info(1)}, first) // n1 takes everything, and knows of no holder
	next.Members, next.Base = infos(1, 2), base.Epoch
	next.Epoch = Epoch{N: 6, By: 1, Instance: info(1).Instance}
	var first *Prepared
	for range 2 {
		yes := answer(m.Receive(t0, msg(1, Message{Prepare: next.clone()})), prepared)
		if yes == nil || len(yes.Extra) == 0 {
			t.Fatalf("answered %+v, want what n2 holds", yes)
		}
		first = yes
	}

	c, p := propose(t)
	for range 1000 {
		c.Receive(t0, msg(2, Message{Prepared: &Prepared{Epoch: p.Epoch, Extra: first.Extra}}))
		c.abandon()
		c.notBefore = t0
		p = answer(c.Tick(t0), prepare)
	}
	if len(c.extras) > len(c.flags) {
		t.Errorf("keeps %d extras of one member", len(c.extras))
	}
	held := p.Slot(first.Extra[0].Slot).holding(2)
	for b := range p.Slot(0).Owner {
		if first.Extra[0].Buckets.Has(b) && p.Slot(0).Owner[b] != 2 && (held == nil || !held.Has(b)) {
			t.Fatalf("bucket %d: the next proposal forgets what n2 holds", b)
		}
	}
}

// TestExtrasOfSeveral: what each member holds of each slot is noted as that, for as long as
// the slots are those of one plan.
func TestExtrasOfSeveral(t *testing.T) {
	m, p := propose(t) // n1 goes: n2 and n3 share what it had, and n2 is the default host
	ownedBy := func(who uint8) (b Bitmap) {
		for i, owner := range p.Slot(0).Owner {
			if owner == who {
				b.Set(i)
				return b
			}
		}
		t.Fatalf("n%d owns nothing", who)
		return b
	}
	var seven, eight Bitmap
	seven.Set(7)
	eight.Set(8)
	last := len(simRules)
	holds := []extra{{2, Extra{0, ownedBy(3)}}, {3, Extra{0, ownedBy(2)}}, {3, Extra{last, seven}}}
	m.keepExtra(nextPlan(simRules...), 3, Extra{last, eight}) // whatever slot that is in this plan
	for _, e := range holds {
		m.keepExtra(p.Plan, e.priority, e.Extra)
	}
	m.abandon()
	p = answer(m.Tick(t0), prepare)
	for _, e := range holds {
		if got := p.Slot(e.Slot).holding(e.priority); got == nil || *got != e.Buckets {
			t.Errorf("slot %d: not what n%d said it holds", e.Slot, e.priority)
		}
	}
}

// TestRefusedCoordinatorLearnsStates: what a member said about itself may be in the
// later epoch only, and the member does not say it again.
func TestRefusedCoordinatorLearnsStates(t *testing.T) {
	m, p := propose(t)
	changed := infos(1, 2, 3)
	changed[2].State, changed[2].Version = Draining, 2
	later := agreement(9, 2, m.Committed(), changed)
	m.Receive(t0, msg(2, Message{Reject: &Reject{Epoch: p.Epoch, Seen: 9, Reason: "knows a later epoch", Committed: later}}))
	next := answer(m.Tick(t0.Add(simTick)), prepare)
	if next == nil || next.Members[2].State != Draining {
		t.Errorf("proposed %+v, want n3 draining as in epoch 9", next)
	}
}

// TestPromiseGivesWay: a coordinator that promised the epoch of another lets it
// finish, or the two would outdo each other for ever.
func TestPromiseGivesWay(t *testing.T) {
	m, _ := propose(t)
	other := agreement(9, 2, m.Committed(), infos(1, 2, 3))
	if out := m.Receive(t0, msg(2, Message{Prepare: other})); answer(out, prepared) == nil || answer(out, prepare) != nil {
		t.Fatal("should promise, and propose nothing")
	}
	if p := answer(m.Tick(t0.Add(2*DefaultTiming.Retry)), prepare); p != nil {
		t.Errorf("proposed %v at once", p.Epoch)
	}
	if p := answer(m.Tick(t0.Add(4*DefaultTiming.Retry)), prepare); p == nil || p.Epoch.N <= 9 {
		t.Errorf("proposed %+v when the other did not finish, want a higher epoch", p)
	}
}
