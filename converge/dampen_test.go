package converge

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// TestDepart plays departures of one member and wants these holds.
func TestDepart(t *testing.T) {
	const s, min = time.Second, time.Minute
	for _, c := range []struct {
		name  string
		at    []time.Duration
		holds []time.Duration // after each
	}{
		{"a crash", []time.Duration{0}, []time.Duration{0}},
		{"six, but slowly", []time.Duration{0, 13 * s, 26 * s, 39 * s, 52 * s, 65 * s}, make([]time.Duration, 6)},
		{"six in a minute", []time.Duration{0, 12 * s, 24 * s, 36 * s, 48 * s, 60 * s}, []time.Duration{5: s}},
		{
			"on and on",
			[]time.Duration{0, 5 * s, 10 * s, 20 * s, 25 * s, 30 * s, 80 * s, 150 * s, 250 * s, 400 * s, 650 * s},
			[]time.Duration{5: s, 2 * s, 4 * s, 8 * s, 15 * s, 15 * s},
		},
		{
			"forgiven after five minutes",
			[]time.Duration{0, 1 * s, 2 * s, 3 * s, 4 * s, 5 * s, 4 * min, 9*min + s, 9*min + 5*s, 9*min + 9*s},
			[]time.Duration{5: s, 2 * s, 0, 0, 0},
		},
	} {
		d, f := DefaultDampening, flaps{}
		for i, at := range c.at {
			f = d.depart(f, "n1", t0.Add(at))
			hold := time.Duration(0)
			if f.level > 0 {
				hold = d.length(f.level)
			}
			if hold != c.holds[i] {
				t.Errorf("%s: departure %d at %s: held back for %s, want %s", c.name, i+1, at, hold, c.holds[i])
			}
			if len(f.recent) > d.Departures {
				t.Errorf("%s: remembers %d departures", c.name, len(f.recent))
			}
		}
	}
	f := flaps{}
	for i := range 6 {
		f = DefaultDampening.depart(f, "n1", t0.Add(time.Duration(i)*s))
	}
	if f = DefaultDampening.depart(f, "n2", t0.Add(6*s)); f.level != 0 || f.count != 1 {
		t.Error("another member with that priority inherits the past")
	}
	if l := DefaultDampening.length(1 << 20); l != 15*s {
		t.Errorf("hold of a high level: %s", l)
	}
}

// dampened is n1, which coordinates n2 and n3, and n3 has left often enough.
func dampened(change func(members []Info)) *Machine {
	members := infos(1, 2)
	if change != nil {
		change(members)
	}
	m := inView(1, agreement(5, 1, nil, members))
	m.cfg.Dampening = DefaultDampening
	for range 7 {
		m.flaps[3] = m.cfg.Dampening.depart(m.flaps[3], "n3", t0)
	}
	return m
}

func TestHeldBack(t *testing.T) {
	m := dampened(nil)
	back := t0.Add(300 * time.Millisecond) // the hold runs from here
	told := 0
	if hasEvent(m.Peers(back, peersOf(2, 3)), "held back") {
		told++
	}
	if answer(m.Receive(back, wordOf(3, 1, Epoch{}, 0)), prepare) != nil {
		t.Fatal("let in at once")
	}
	for now := back; now.Before(back.Add(2 * time.Second)); now = now.Add(simTick) {
		out := m.Tick(now)
		if hasEvent(out, "held back") {
			told++
		}
		if answer(out, prepare) != nil {
			t.Fatalf("let in after %s", now.Sub(back))
		}
		if an := answer(out, func(m Message) *Announce { return m.Announce }); an != nil && (len(an.HeldBack) != 1 || an.HeldBack[0].Departures != 7) {
			t.Fatalf("announces %+v", an.HeldBack)
		}
		if h := m.HeldBack(); len(h) != 1 || h[0].Priority != 3 || h[0].Left != back.Add(2*time.Second).Sub(now) {
			t.Fatalf("after %s: %+v", now.Sub(back), h)
		}
		if !m.Converged() {
			t.Fatal("waits for who is held back")
		}
	}
	if told != 1 {
		t.Errorf("told %d times", told)
	}
	if a := answer(m.Tick(back.Add(2*time.Second)), prepare); a == nil || !a.has(info(3).peer()) {
		t.Error("not let in when the time was over")
	}
}

func TestWhoIsNotHeldBack(t *testing.T) {
	stopped := func(members []Info) { members[0].State, members[1].State = Stopped, Draining }
	for name, m := range map[string]*Machine{
		"nobody else answers": dampened(stopped),
		"switched off":        func() *Machine { m := dampened(nil); m.cfg.Dampening = Dampening{}; return m }(),
		"another member now":  func() *Machine { m := dampened(nil); f := m.flaps[3]; f.name = "x"; m.flaps[3] = f; return m }(),
		"promised already": func() *Machine {
			m := dampened(nil)
			m.prepared = agreement(6, 1, m.committed, infos(1, 2, 3))
			return m
		}(),
	} {
		if stopped := name == "nobody else answers"; stopped {
			m.self.State = Stopped
		}
		m.Peers(t0, peersOf(2, 3))
		m.onInfo(info(3).peer(), wordOf(3, 1, Epoch{}, 0).Info)
		if in := m.wanted(); !slices.ContainsFunc(in, func(i Info) bool { return i.Priority == 3 }) {
			t.Errorf("%s: n3 is held back", name)
		}
		if h := m.HeldBack(); len(h) > 0 {
			t.Errorf("%s: tells %+v", name, h)
		}
	}
}

// TestQuickRestartCounts: a restart before anybody noticed the end is a departure, too,
// though no view was without the member.
func TestQuickRestartCounts(t *testing.T) {
	m := inView(1, agreement(5, 1, nil, infos(1, 2, 3)))
	m.cfg.Dampening = DefaultDampening
	again := info(3)
	again.Instance++
	for i, held := range []bool{5: true} {
		m.flaps[3] = flaps{}
		for range i {
			m.flaps[3] = m.cfg.Dampening.depart(m.flaps[3], "n3", t0)
		}
		m.Peers(t0, []Peer{info(2).peer(), again.peer()})
		m.words[3] = word{from: again.peer(), InfoMsg: InfoMsg{Info: again, Stamp: first.Stamp()}}
		if in := slices.ContainsFunc(m.wanted(), func(i Info) bool { return i.Priority == 3 }); in == held {
			t.Errorf("restart %d: let in %t", i+1, in)
		}
	}
}

// TestPlannedDeparturesDoNotCount: who stops first may go as often as it likes.
func TestPlannedDeparturesDoNotCount(t *testing.T) {
	for state, counts := range map[State]int{Started: 1, Draining: 1, Stopped: 0, Suspended: 0} {
		members := infos(1, 2, 3)
		members[2].State = state
		with := agreement(5, 1, nil, members)
		for name, after := range map[string][]Info{"gone": infos(1, 2), "restarted": infos(1, 2, 3)} {
			if name == "restarted" {
				after[2].Instance++
			}
			m := inView(1, with)
			m.cfg.Dampening = DefaultDampening
			a := agreement(6, 1, with, after)
			m.promise(a)
			m.commit(a)
			if got := m.flaps[3].count; got != counts {
				t.Errorf("%s when %s: counted %d", name, state, got)
			}
			if m.flaps[2].count != 0 {
				t.Error("counts who stayed")
			}
		}
	}
}

func TestHoldsHeard(t *testing.T) {
	m := inView(2, agreement(5, 1, nil, infos(1, 2)))
	an := &Announce{Epoch: m.committed.Epoch, View: m.committed.mask(), Stamp: first.Stamp(), HeldBack: []Hold{
		{3, 10 * time.Second, 4}, {0, time.Second, 3}, {33, time.Second, 3}, {4, 1000 * time.Hour, 3}, {5, -1, 3}, {6, time.Second, -3},
	}}
	m.Receive(t0, msg(1, Message{Announce: an}))
	m.Tick(t0.Add(4 * simTick))
	if h := m.HeldBack(); len(h) != 1 || h[0] != (Hold{3, 10*time.Second - 4*simTick, 4}) {
		t.Errorf("heard %+v", h)
	}
	an.HeldBack = nil
	m.Receive(t0.Add(4*simTick), msg(1, Message{Announce: an}))
	if h := m.HeldBack(); len(h) != 0 {
		t.Errorf("still %+v", h)
	}
}

// TestFlapping lets a member crash over and over in a whole cluster without other
// trouble, and once the coordinator, too.
func TestFlapping(t *testing.T) {
	s := newSim(7)
	s.dampening = DefaultDampening
	if testing.Verbose() {
		s.log = func(format string, args ...any) {
			if strings.Contains(format, "%s: %s") || strings.HasSuffix(format, "crashes") {
				t.Logf(format, args...)
			}
		}
	}
	for p := range uint8(4) {
		s.nodes = append(s.nodes, s.newNode(p+1))
		s.boot(s.nodes[p])
	}
	s.runUntil(3 * time.Second)
	first, fickle := s.nodes[0], s.nodes[2]
	in := func() bool {
		return !slices.ContainsFunc(s.nodes, func(n *node) bool {
			return n.up && (!n.m.Serving() || !n.m.Committed().has(fickle.m.self.peer()))
		})
	}
	comeBack := func() (waited time.Duration) {
		s.crash(fickle)
		s.runUntil(s.now + 800*time.Millisecond)
		s.boot(fickle)
		for began := s.now; !in(); waited = s.now - began {
			if waited > 70*time.Second {
				t.Fatal("never let in again")
			}
			s.runUntil(s.now + simTick)
		}
		s.runUntil(s.now + time.Second)
		return waited
	}
	for i, least := range []time.Duration{5: 1, 6: 2, 7: 4, 8: 8, 9: 15, 10: 15} {
		least *= time.Second
		if i == 7 { // the next coordinator has counted, too
			s.crash(first)
			s.runUntil(s.now + time.Second)
		}
		if got := comeBack(); got < least || got > least+1500*time.Millisecond {
			t.Errorf("crash %d: let in after %s, want %s", i+1, got, least)
		}
	}
	s.runUntil(s.now + DefaultDampening.Forgive)
	if got := comeBack(); got > 1500*time.Millisecond {
		t.Errorf("after five quiet minutes: let in after %s", got)
	}
}
