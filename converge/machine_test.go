package converge

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opennlb/opennlb/portrules"
)

var t0 = time.Unix(1000, 0)

// info is member p as the simulation has it, too.
func info(p uint8) Info {
	return Info{Name: fmt.Sprintf("n%d", p), Priority: p, Instance: uint64(p) << 32, Version: 1}
}

func infos(ps ...uint8) (all []Info) {
	for _, p := range ps {
		all = append(all, info(p))
	}
	return all
}

func peersOf(ps ...uint8) (all []Peer) {
	for _, p := range ps {
		all = append(all, info(p).peer())
	}
	return all
}

// first is the configuration that these tests agree on.
var first = func() *Plan {
	p := planOf(simRules...)
	p.Version = 1
	return p
}()

// agreement is an epoch made by a member, from base.
func agreement(n uint64, by uint8, base *Assignment, members []Info) *Assignment {
	a := build(base, members, first)
	a.Epoch = Epoch{N: n, By: by, Instance: info(by).Instance}
	return a
}

// member is a machine that has just heard who else is alive.
func member(p uint8, alive ...uint8) *Machine {
	m := New(Config{Plan: first, Timing: DefaultTiming, Lease: simLease}, info(p), t0)
	m.Peers(t0, peersOf(alive...))
	return m
}

// inView is a member that has committed a.
func inView(p uint8, a *Assignment) *Machine {
	var alive []uint8
	for _, i := range a.Members {
		alive = append(alive, i.Priority)
	}
	m := member(p, alive...)
	m.see(a.Epoch.N)
	m.promise(a)
	m.commit(a)
	m.told, m.announced, m.heldSent = t0, t0, t0
	m.step()
	clear(m.trust)
	return m
}

func msg(from uint8, m Message) Message {
	m.From = info(from).peer()
	return m
}

// answer is the one message of a kind in an output.
func answer[T any](out Output, pick func(Message) *T) *T {
	for _, e := range out.Send {
		if x := pick(e.Message); x != nil {
			return x
		}
	}
	return nil
}

func prepared(m Message) *Prepared  { return m.Prepared }
func released(m Message) *Release   { return m.Released }
func reject(m Message) *Reject      { return m.Reject }
func prepare(m Message) *Assignment { return m.Prepare }
func infoMsg(m Message) *InfoMsg    { return m.Info }

func hasEvent(out Output, kind string) bool {
	return slices.ContainsFunc(out.Events, func(e Event) bool { return e.Kind == kind })
}

// TestEpochsAreNotUsedUp: whatever number somebody claims to have seen, or the disk does, the
// next epoch is one that the others follow.
func TestEpochsAreNotUsedUp(t *testing.T) {
	for _, claim := range []uint64{maxSeen, maxSeen + 1, maxEpoch - 1, maxEpoch, 1<<64 - 1} {
		m := inView(1, agreement(5, 1, nil, infos(1, 2)))
		m.Receive(t0, wordOf(2, 1, Epoch{N: 5, By: 1, Instance: info(1).Instance}, claim))
		m.Receive(t0, msg(2, Message{Announce: &Announce{Epoch: Epoch{N: claim, By: 2}, View: 3}}))
		m.Beacon(t0, Beacon{Epoch: Epoch{N: claim, By: 9}, View: 3})
		p := answer(m.SetState(t0, Draining), prepare)
		if p == nil || p.valid() != nil {
			t.Fatalf("after a claim of %d proposes what nobody can take", claim)
		}
		m = New(Config{Plan: first, Timing: DefaultTiming, Lease: simLease, Seen: claim}, info(1), t0)
		for now := t0; now.Before(t0.Add(2 * DefaultTiming.Alone)); now = now.Add(simTick) {
			m.Tick(now)
		}
		if a := m.Committed(); a == nil || a.valid() != nil {
			t.Errorf("with %d on the disk founds what nobody can take", claim)
		}
	}
}

func TestPromise(t *testing.T) {
	five := agreement(5, 1, nil, infos(1, 2, 3))
	seven := agreement(7, 1, five, infos(1, 2, 3))
	change := func(a *Assignment, f func(*Assignment)) *Assignment { c := a.clone(); f(c); return c }
	for _, c := range []struct {
		name     string
		from     uint8
		prepare  *Assignment
		refusal  string // "": promised
		nothing  bool
		promised uint64
	}{
		{"above the promise", 1, agreement(8, 1, five, infos(1, 2, 3)), "", false, 8},
		{"of another coordinator", 3, agreement(8, 3, five, infos(2, 3)), "", false, 8},
		{"promised already", 1, seven, "", false, 7},
		{"in force already", 1, five, "", false, 7},
		{"below the promise", 1, agreement(6, 1, five, infos(1, 2, 3)), "promised a later epoch", false, 7},
		{"same number by another", 3, agreement(7, 3, five, infos(2, 3)), "promised a later epoch", false, 7},
		{"dealt from an older view", 1, agreement(8, 1, nil, infos(1, 2, 3)), "knows a later epoch", false, 7},
		{"an earlier configuration", 1, change(agreement(8, 1, five, infos(1, 2, 3)), func(a *Assignment) { a.Plan = planOf(simRules...) }), "knows a later configuration", false, 7},
		{"not made by the sender", 3, agreement(8, 1, five, infos(1, 2, 3)), "", true, 7},
		{"without this member", 1, agreement(8, 1, five, infos(1, 3)), "", true, 7},
		{"with an earlier start of this member", 1, change(agreement(8, 1, five, infos(1, 2, 3)), func(a *Assignment) { a.Members[1].Instance = 9 }), "", true, 7},
		{"too few slots", 1, change(agreement(8, 1, five, infos(1, 2, 3)), func(a *Assignment) { a.SlotTable = a.SlotTable[1:] }), "", true, 7},
		{"by a dead member", 9, agreement(8, 9, five, infos(2, 9)), "", true, 7},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := inView(2, five.clone())
			m.Receive(t0, msg(1, Message{Prepare: seven.clone()}))
			out := m.Receive(t0, msg(c.from, Message{Prepare: c.prepare.clone()}))
			yes, no := answer(out, prepared), answer(out, reject)
			switch {
			case m.promised.N != c.promised:
				t.Errorf("promised %v, want %d", m.promised, c.promised)
			case c.nothing && (yes != nil || no != nil):
				t.Errorf("answered %v, %v", yes, no)
			case !c.nothing && c.refusal == "" && (yes == nil || yes.Epoch != c.prepare.Epoch):
				t.Errorf("answered Prepared %v", yes)
			case c.refusal != "" && (no == nil || no.Reason != c.refusal):
				t.Errorf("answered Reject %v", no)
			case c.refusal != "" && no.Seen < 7:
				t.Errorf("Reject says %d is the highest number", no.Seen)
			}
		})
	}
}

// TestTakeover follows buckets from one member to another through the two phases.
func TestTakeover(t *testing.T) {
	before := agreement(5, 1, nil, infos(1, 2))
	after := agreement(6, 1, before, infos(1, 2, 3))
	loser, gainer := inView(2, before.clone()), member(3, 1, 2)

	out := loser.Receive(t0, msg(1, Message{Prepare: after.clone()}))
	if out.Install == nil || *out.Install.table(0) != loser.flagsOf(before)[0] || !answer(out, prepared).Gives {
		t.Fatal("promised without laying ready what comes, or released before it was asked to")
	}
	out = loser.Receive(t0, msg(1, Message{Release: &Release{Epoch: after.Epoch}}))
	if answer(out, released) == nil {
		t.Fatal("no word of the release")
	}
	for b, f := range out.Install.Now.Tables[out.Install.Now.SlotTable[0]] {
		want := portrules.Flags(0)
		switch was, is := before.Slot(0).Owner[b], after.Slot(0).Owner[b]; {
		case was == 2 && is == 2:
			want = portrules.Own
		case was == 2:
			want = portrules.Residual
		}
		if f != want {
			t.Fatalf("released: bucket %d has flags %v, want %v", b, f, want)
		}
	}
	out = gainer.Receive(t0, msg(1, Message{Prepare: after.clone()}))
	if gainer.Serving() || answer(out, prepared) == nil {
		t.Fatal("the gainer should have promised, and wait")
	}
	next := out.Install.Next
	if next == nil || out.Install.Commit != after.Epoch {
		t.Fatalf("the gainer should have laid its part ready: %+v", out.Install)
	}
	out = gainer.Receive(t0, msg(1, Message{Announce: &Announce{Epoch: after.Epoch, View: after.mask(), Stamp: first.Stamp()}}))
	if out.Install == nil || !gainer.Serving() {
		t.Fatal("the gainer should have committed")
	}
	if out.Install.Now != next || out.Install.Next != nil {
		t.Error("what is in force is not what was laid ready")
	}
	for b, f := range out.Install.Now.Tables[out.Install.Now.SlotTable[0]] {
		want := portrules.Flags(0)
		if after.Slot(0).Owner[b] == 3 {
			want = portrules.Own | portrules.Foreign
		}
		if f != want {
			t.Fatalf("committed: bucket %d has flags %v, want %v", b, f, want)
		}
	}
}

// TestSuccession: a Prepare dealt from an epoch that is only promised proves that it was
// committed; and a promise can be taken back in the kernel.
func TestSuccession(t *testing.T) {
	five := agreement(5, 1, nil, infos(1, 2, 3))
	six := agreement(6, 1, five, infos(1, 2, 3))
	seven := agreement(7, 1, six, infos(1, 2, 3))
	m := inView(2, five.clone())
	out := m.Receive(t0, msg(1, Message{Prepare: six.clone()}))
	if out.Install.Commit != six.Epoch || out.Install.Next.Epoch != 6 {
		t.Fatalf("the beacon of %v switches, to the part of epoch %d", out.Install.Commit, out.Install.Next.Epoch)
	}
	out = m.Receive(t0, msg(1, Message{Prepare: seven.clone()}))
	if m.Committed().Epoch != six.Epoch || answer(out, prepared) == nil || out.Install.Now.Epoch != 6 || out.Install.Commit != seven.Epoch {
		t.Errorf("in force is %v, %+v", m.Committed().Epoch, out.Install)
	}
	out = m.Tick(t0.Add(time.Second))
	if m.Serving() || out.Install == nil || out.Install.Next != nil {
		t.Error("after a pause longer than the lease the kernel would still switch")
	}
}

// TestCoordinatorReleasesLast: what the coordinator gives away it serves until its commit.
func TestCoordinatorReleasesLast(t *testing.T) {
	before := agreement(5, 1, nil, infos(1, 2))
	m := inView(1, before.clone())
	m.Peers(t0, peersOf(2, 3))
	three := infos(1, 2, 3)[2]
	out := m.Receive(t0, msg(3, Message{Info: &InfoMsg{Info: three, Stamp: first.Stamp()}}))
	if m.proposal == nil {
		t.Fatal("no proposal")
	}
	if out.Install.Next == nil || *out.Install.table(0) != m.flagsOf(before)[0] {
		t.Fatal("the coordinator should have laid its next part ready, and gone on with all it owns")
	}
	next, epoch := out.Install.Next, m.proposal.assignment.Epoch
	m.Receive(t0, msg(2, Message{Prepared: &Prepared{Epoch: epoch}}))
	out = m.Receive(t0, msg(3, Message{Prepared: &Prepared{Epoch: epoch}}))
	if out.Install == nil || out.Install.Now != next || len(out.Beacons) != 1 {
		t.Errorf("no commit, or without a beacon: %+v", out)
	}
}

func TestAnnounce(t *testing.T) {
	mine := agreement(5, 1, nil, infos(1, 2, 3))
	for _, c := range []struct {
		name string
		from uint8
		an   Announce
		out  bool
	}{
		{"heartbeat", 1, Announce{Epoch: mine.Epoch, View: 0b111}, false},
		{"later, with this member", 1, Announce{Epoch: Epoch{N: 6, By: 1}, View: 0b111}, false},
		{"later, without this member", 1, Announce{Epoch: Epoch{N: 6, By: 1}, View: 0b101}, true},
		{"earlier, without this member", 1, Announce{Epoch: Epoch{N: 4, By: 1}, View: 0b101}, false},
		{"larger rival group", 5, Announce{Epoch: Epoch{N: 4, By: 5}, View: 0b1111_0000}, true},
		{"smaller rival group", 5, Announce{Epoch: Epoch{N: 9, By: 5}, View: 0b1_1000}, false},
		{"equal rival group, higher numbers", 5, Announce{Epoch: Epoch{N: 9, By: 5}, View: 0b11_1000}, false},
		{"later rival group that shares a member", 5, Announce{Epoch: Epoch{N: 9, By: 5}, View: 0b1_0100}, true},
		{"earlier rival group that shares a member", 5, Announce{Epoch: Epoch{N: 4, By: 5}, View: 0b1111_0100}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := inView(2, mine.clone())
			m.Peers(t0, peersOf(1, 3, 5))
			out := m.Receive(t0, msg(c.from, Message{Announce: &c.an}))
			if m.Serving() == c.out || hasEvent(out, "out") != c.out {
				t.Errorf("serving %t, events %v", m.Serving(), out.Events)
			}
			if c.out && (m.Holding() != 0 || m.DefaultHost() || out.Install == nil || *out.Install.table(0) != portrules.Buckets{}) {
				t.Error("out of the view, and yet not silent")
			}
		})
	}
}

func (in *Install) table(slot int) *portrules.Buckets { return &in.Now.Tables[in.Now.SlotTable[slot]] }

// TestRivalsAgree: of two groups that can be, exactly one yields.
func TestRivalsAgree(t *testing.T) {
	group := func(e Epoch, view uint32) *Assignment {
		a := &Assignment{Epoch: e}
		for p := uint8(1); p <= 6; p++ {
			if view&(1<<(p-1)) != 0 {
				a.Members = append(a.Members, info(p))
			}
		}
		return a
	}
	for x := uint32(1); x < 64; x++ {
		for y := uint32(1); y < 64; y++ {
			for _, n := range []uint64{6, 7, 8} {
				ex, ey := Epoch{N: 7, By: 1}, Epoch{N: n, By: 2}
				ay, by := yields(y, ey, group(ex, x)), yields(x, ex, group(ey, y))
				if ay == by {
					t.Fatalf("%06b at %d and %06b at %d: %t, %t", x, ex.N, y, ey.N, ay, by)
				}
			}
		}
	}
}

func TestPause(t *testing.T) {
	a := agreement(5, 1, nil, infos(1, 2))
	m := inView(2, a.clone())
	if m.Tick(t0.Add(simLease - 1)); !m.Serving() {
		t.Fatal("a pause below the lease is none")
	}
	m = inView(2, a.clone())
	m.Receive(t0, msg(1, Message{Prepare: agreement(6, 1, a, infos(1, 2))}))
	out := m.Tick(t0.Add(simLease))
	if m.Serving() || m.prepared != nil || out.Install == nil {
		t.Error("a pause of a lease: it should have left the view and forgotten what it prepared")
	}
	if m.promised.N != 6 {
		t.Errorf("promised %v: a promise outlives a pause", m.promised)
	}
	if i := answer(out, infoMsg); i == nil || i.Info.Version != 3 || i.View != (Epoch{}) {
		t.Errorf("said %+v; want that it is in no view", i)
	}
}

// TestEveryInputSeesPause: whatever comes first after a pause as long as the lease, others
// may have taken over since.
func TestEveryInputSeesPause(t *testing.T) {
	base := agreement(5, 1, nil, infos(1, 2, 3))
	next := agreement(6, 1, base, infos(1, 2))
	for name, input := range map[string]func(*Machine, time.Time){
		"tick": func(m *Machine, now time.Time) { m.Tick(now) },
		"message": func(m *Machine, now time.Time) {
			m.Receive(now, msg(1, Message{Announce: &Announce{Epoch: next.Epoch, View: next.mask()}}))
		},
		"beacon": func(m *Machine, now time.Time) {
			m.Beacon(now, Beacon{Epoch: next.Epoch, View: next.mask(), InForce: true})
		},
		"peers":       func(m *Machine, now time.Time) { m.Peers(now, peersOf(1, 3)) },
		"connections": func(m *Machine, now time.Time) { m.Connections(now, make([]Bitmap, len(simRules)+1)) },
		"state":       func(m *Machine, now time.Time) { m.SetState(now, Draining) },
		"shares":      func(m *Machine, now time.Time) { m.SetShares(now, nil) },
		"informed":    func(m *Machine, now time.Time) { m.SetInformed(now) },
		"plan":        func(m *Machine, now time.Time) { m.SetPlan(now, nextPlan()) },
	} {
		m := inView(2, base.clone())
		m.Receive(t0, msg(1, Message{Prepare: next.clone()}))
		if input(m, t0.Add(simLease)); m.Serving() || m.Committed() != nil {
			t.Errorf("%s: it goes on with epoch %d", name, m.Committed().Epoch.N)
		}
	}
}

// A member that has left its view is a newcomer at once, and is not let in as it was.
func TestNewcomer(t *testing.T) {
	a := agreement(5, 1, nil, infos(1, 2))
	m := inView(2, a.clone())
	m.cfg.Newcomer = true
	out := m.Tick(t0.Add(simLease))
	if i := answer(out, infoMsg); i == nil || !i.Info.Newcomer {
		t.Fatalf("says %+v; want that it is a newcomer", i)
	}
	now := t0.Add(simLease)
	out = m.Receive(now, msg(1, Message{Prepare: agreement(6, 1, a, infos(1, 2))}))
	if m.prepared != nil || answer(out, reject) == nil {
		t.Errorf("promises to come back as it was: %+v", out)
	}
	members := infos(1, 2)
	members[1] = m.Self()
	m.Receive(now, msg(1, Message{Prepare: agreement(7, 1, a, members)}))
	if m.prepared == nil {
		t.Error("is not let in as it is")
	}
}

// TestStuck: a promise without its commit, and an epoch never prepared.
func TestStuck(t *testing.T) {
	a := agreement(5, 1, nil, infos(1, 2, 3))
	for name, input := range map[string]Message{
		"promise without commit": {Prepare: agreement(6, 1, a, infos(1, 2, 3))},
		"never prepared":         {Announce: &Announce{Epoch: Epoch{N: 6, By: 1}, View: 0b111}},
	} {
		t.Run(name, func(t *testing.T) {
			m := inView(2, a.clone())
			m.Receive(t0, msg(1, input))
			now, said := t0, (*InfoMsg)(nil)
			for range 40 {
				now = now.Add(simTick)
				if i := answer(m.Tick(now), infoMsg); i != nil && said == nil {
					said = i
				}
			}
			if said == nil || said.Info.Version < 2 {
				t.Errorf("said %+v, want a higher version, so that a new epoch is due", said)
			}
		})
	}
}

func TestNames(t *testing.T) {
	for s := Started; s <= Suspended; s++ {
		var back State
		if text, err := s.MarshalText(); err != nil || back.UnmarshalText(text) != nil || back != s {
			t.Errorf("%s reads back as %s", s, back)
		}
	}
	var s State
	if err := s.UnmarshalText([]byte("up")); err == nil || !strings.Contains(err.Error(), "use started") {
		t.Errorf("error %v", err)
	}
}
