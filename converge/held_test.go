package converge

import (
	"fmt"
	"testing"
	"time"

	"github.com/opennlb/opennlb/portrules"
)

// moved is a view of 1 to 3 in which n3 took over buckets that others hold.
func moved() *Assignment {
	return agreement(6, 1, agreement(5, 1, nil, infos(1, 2)), infos(1, 2, 3))
}

func count(m *Machine, slot int, f portrules.Flags) (n int) {
	for _, x := range m.flags[slot] {
		if x == f {
			n++
		}
	}
	return n
}

func TestConnectionsEnd(t *testing.T) {
	a := moved()
	holder, owner := inView(1, a.clone()), inView(3, a.clone())
	held := count(holder, 0, portrules.Residual)
	foreign := count(owner, 0, portrules.Own|portrules.Foreign)
	if held == 0 || foreign == 0 {
		t.Fatalf("%d held, %d foreign", held, foreign)
	}
	live := make([]Bitmap, len(simRules)+1)
	first := -1 // one connection is left
	for b, f := range holder.flags[0] {
		if f == portrules.Residual && first < 0 {
			first = b
			live[0].Set(b)
		}
	}
	holder.heldSent = t0.Add(-heldSeldom) // told long ago
	out := holder.Connections(t0, live)
	if n := count(holder, 0, portrules.Residual); n != 1 || holder.flags[0][first] != portrules.Residual {
		t.Errorf("holds %d buckets, want the one with a connection", n)
	}
	told := answer(out, func(m Message) *Held { return m.Held })
	if told == nil {
		t.Fatal("told nobody")
	}
	owner.Receive(t0, msg(1, Message{Held: told}))
	if n := count(owner, 0, portrules.Own|portrules.Foreign); n >= foreign || n == 0 {
		t.Errorf("%d foreign of %d after all connections but one ended", n, foreign)
	}
}

func TestHeldNeverGrows(t *testing.T) {
	a := moved()
	full, none := make([]Bitmap, len(a.Tables)), make([]Bitmap, len(a.Tables))
	for i := range full {
		for b := range full[i] {
			full[i][b] = 0xff
		}
	}
	m := inView(3, a.clone())
	before := count(m, 0, portrules.Own|portrules.Foreign)
	for name, h := range map[string]Held{
		"more than before":    {a.Epoch, full},
		"of another epoch":    {Epoch{N: 5, By: 1}, none},
		"of too few tables":   {a.Epoch, none[1:]},
		"of too many":         {a.Epoch, append(none, Bitmap{})},
		"nothing, of nothing": {a.Epoch, nil},
	} {
		m.Receive(t0, msg(1, Message{Held: &h}))
		if n := count(m, 0, portrules.Own|portrules.Foreign); n != before {
			t.Errorf("%s: %d foreign buckets, want %d", name, n, before)
		}
	}
	m.Receive(t0, msg(1, Message{Held: &Held{a.Epoch, none}}))
	m.Receive(t0, msg(1, Message{Held: &Held{a.Epoch, full}}))
	if n := count(m, 0, portrules.Own|portrules.Foreign); n >= before {
		t.Errorf("%d foreign buckets: what was given up came back", n)
	}
}

// TestConnectionsWait: a count says nothing while a promise is pending.
func TestConnectionsWait(t *testing.T) {
	a := moved()
	m := inView(1, a.clone())
	m.Receive(t0, msg(2, Message{Prepare: agreement(7, 2, a, infos(1, 2, 3))}))
	before := m.Holding()
	m.Connections(t0, make([]Bitmap, len(simRules)+1))
	if m.Holding() != before {
		t.Error("gave up buckets between a promise and its commit")
	}
	m.Connections(t0, nil)
}

func TestStoppedMemberHoldsNothing(t *testing.T) {
	a := agreement(5, 1, nil, infos(1, 2))
	m := inView(2, a.clone())
	m.SetState(t0, Stopped)
	stopped := infos(1, 2)
	stopped[1].State, stopped[1].Version = Stopped, 2
	b := agreement(6, 1, a, stopped)
	m.Receive(t0, msg(1, Message{Prepare: b}))
	out := m.Receive(t0, msg(1, Message{Release: &Release{Epoch: b.Epoch}}))
	if m.Holding() != 0 || *out.Install.table(0) != (portrules.Buckets{}) {
		t.Error("a member that stops still answers")
	}
}

// TestConnectionsOfManyTables: that every one of hundreds of tables holds less than before costs
// about as much as their commit, not as much for each: the lease would be over.
func TestConnectionsOfManyTables(t *testing.T) {
	p := &Plan{Version: 1, Digest: "many"}
	members := infos(1, 2)
	for i := range members {
		members[i].Shares = make(map[string]Share)
	}
	for i := range portrules.MaxRules {
		name := fmt.Sprintf("r%d", i)
		p.Rules = append(p.Rules, Rule{Name: name, Match: name, Mode: portrules.Multiple})
		members[0].Shares[name] = Share{Weight: uint8(1 + i%100), Priority: 1}
		members[1].Shares[name] = Share{Weight: uint8(1 + i/100), Priority: 2}
	}
	before := build(nil, members[:1], p)
	a := build(before, members, p)
	a.Epoch = Epoch{N: 6, By: 1, Instance: members[0].Instance}
	m := New(Config{Plan: p, Timing: DefaultTiming, Lease: simLease}, members[0], t0)
	m.Peers(t0, peersOf(1, 2))
	m.promise(a)
	least := func(f func()) time.Duration {
		shortest := time.Hour
		for range 5 {
			began := time.Now()
			f()
			shortest = min(shortest, time.Since(began))
		}
		return shortest
	}
	live := make([]Bitmap, len(p.Rules)+1)
	commit := least(func() { m.commit(a.clone()) })
	count := least(func() {
		m.commit(a.clone())
		m.Connections(t0, live)
	})
	if n := m.Holding(); len(a.Tables) < 200 || n > 0 {
		t.Errorf("%d tables, %d buckets are still held", len(a.Tables), n)
	}
	if count > 20*commit {
		t.Errorf("a count of connections takes %s, a commit %s", count, commit)
	}
	t.Logf("%d tables: a commit takes %s, with a count of connections %s", len(a.Tables), commit, count)
}
