package converge

import (
	"testing"
	"time"
)

// many is a coordinator with n members in its view, and n+1 and n+2 alive beside it.
func many(t *testing.T, n uint8) *Machine {
	t.Helper()
	var view, alive []uint8
	for p := uint8(1); p <= n+2; p++ {
		if alive = append(alive, p); p <= n {
			view = append(view, p)
		}
	}
	m := inView(1, agreement(5, 1, nil, infos(view...)))
	m.Peers(t0, peersOf(alive...))
	return m
}

// TestNewcomersShareAnEpoch: the second of two newcomers waits, a change of state does not.
func TestNewcomersShareAnEpoch(t *testing.T) {
	m := many(t, 12)
	m.joined = t0.Add(-50 * time.Millisecond)
	if a := answer(m.Receive(t0, wordOf(13, 1, Epoch{}, 0)), prepare); a != nil {
		t.Errorf("proposed epoch %d 50 ms after the last newcomer came in", a.Epoch.N)
	}
	m.Receive(t0, wordOf(14, 1, Epoch{}, 0))
	a := answer(m.Tick(m.joined.Add(m.joinPause())), prepare)
	if a == nil || len(a.Members) != 14 {
		t.Fatal("did not take in both newcomers with one epoch")
	}

	m = many(t, 12)
	m.joined = t0
	if a := answer(m.SetState(t0, Draining), prepare); a == nil {
		t.Error("a planned change waited for newcomers")
	}
	if m = many(t, 2); m.joinPause() != 0 {
		t.Errorf("a small cluster makes newcomers wait for %s", m.joinPause())
	}
}

// TestRetriesGetRarer: a member that is late because it has much to do must not get more.
func TestRetriesGetRarer(t *testing.T) {
	m, _ := propose(t)
	var sent []time.Duration
	for d := simTick; d < DefaultTiming.GiveUp; d += simTick {
		if answer(m.Tick(t0.Add(d)), prepare) != nil {
			sent = append(sent, d)
		}
	}
	if len(sent) < 2 || len(sent) > 3 {
		t.Errorf("sent a Prepare again after %v, want 2 or 3 times", sent)
	}
}

// TestNewcomerKeepsItsPromise: until its epoch commits, the beacons of the one before
// go on without it.
func TestNewcomerKeepsItsPromise(t *testing.T) {
	before := agreement(5, 1, nil, infos(1, 2))
	next := agreement(6, 1, before, infos(1, 2, 3))
	for name, c := range map[string]struct {
		beacon Beacon
		stays  bool
	}{
		"of the epoch before":  {Beacon{Epoch: Epoch{N: 5, By: 2}, View: before.mask(), Seq: 1}, true},
		"of a higher epoch":    {Beacon{Epoch: Epoch{N: 7, By: 2}, View: before.mask(), Seq: 1}, false},
		"of a group of others": {Beacon{Epoch: Epoch{N: 5, By: 4}, View: 0xff << 3, Seq: 1}, false},
	} {
		m := member(3, 1, 2)
		m.Receive(t0, msg(1, Message{Prepare: next.clone()}))
		if m.prepared == nil {
			t.Fatal("did not promise")
		}
		if m.Beacon(t0, c.beacon); (m.prepared != nil) != c.stays {
			t.Errorf("a beacon %s: keeps its promise %t, want %t", name, m.prepared != nil, c.stays)
		}
	}
}

// TestHeldGetsRarer: what a member holds is said when it gets less, then ever more rarely.
func TestHeldGetsRarer(t *testing.T) {
	m := inView(1, moved().clone())
	said := 0
	live := make([]Bitmap, len(simRules)+1)
	now := t0
	for end := t0.Add(2 * time.Minute); now.Before(end); now = now.Add(simTick) {
		if out := m.Connections(now, live); answer(out, func(m Message) *Held { return m.Held }) != nil {
			said++
		}
	}
	if said < 4 || said > 10 {
		t.Errorf("said %d times in two minutes that it holds nothing", said)
	}
}

// TestCommitLiftsBan: whom a former coordinator left out may be let in by another.
func TestCommitLiftsBan(t *testing.T) {
	m := inView(2, agreement(5, 2, nil, infos(2, 3)))
	m.Peers(t0, peersOf(1, 2, 3))
	n1 := info(1).peer()
	m.ban([]Peer{n1})
	next := agreement(6, 1, m.Committed(), infos(1, 2, 3))
	m.Receive(t0, msg(1, Message{Prepare: next}))
	m.Receive(t0, msg(1, Message{Announce: &Announce{Epoch: next.Epoch, View: next.mask(), Stamp: first.Stamp()}}))
	if m.Committed().Epoch != next.Epoch || m.isBanned(n1) {
		t.Errorf("at epoch %d, n1 banned %t", m.Committed().Epoch.N, m.isBanned(n1))
	}
}
