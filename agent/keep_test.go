package agent

import (
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/opennlb/opennlb/config"
	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/converge"
	"github.com/opennlb/opennlb/dataplane"
	"github.com/opennlb/opennlb/dataplane/enginetest"
	"github.com/opennlb/opennlb/portrules"
)

func TestPackClients(t *testing.T) {
	want := []dataplane.Client{
		{Key: portrules.ClientKey{Rule: 1023, Bucket: 4095, Hash: 1<<63 + 7}, Client: portrules.Client{Addr: netip.MustParseAddrPort("192.0.2.7:65535"), Silent: 24 * time.Hour}},
		{Key: portrules.ClientKey{Rule: 9, Bucket: 1, Hash: 0}, Client: portrules.Client{Addr: netip.MustParseAddrPort("[2001:db8::7]:0"), Silent: time.Millisecond}},
	}
	packed := packClients(want)
	got, err := unpackClients(packed, map[uint16]int{1023: 0, 9: 1})
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	if got, err := unpackClients(packed, map[uint16]int{0: 0, 9: 1}); err != nil || !slices.Equal(got, want[1:]) {
		t.Errorf("without rule 1023: got %+v, %v", got, err)
	}
	bucket := packClients([]dataplane.Client{{Key: portrules.ClientKey{Bucket: 4096}}})
	for _, bad := range [][]byte{packed[1:], make([]byte, (partClients+1)*packedSize), bucket} {
		if _, err := unpackClients(bad, map[uint16]int{0: 0}); err == nil {
			t.Errorf("%d bytes are taken", len(bad))
		}
	}
}

func TestRoll(t *testing.T) {
	client := func(hash uint64) []dataplane.Client {
		return []dataplane.Client{{Key: portrules.ClientKey{Hash: hash}}}
	}
	var r *roll
	if r.complete() {
		t.Error("no list is complete")
	}
	r = r.add(clientList{ID: 5, Epoch: 3, Part: 1, Parts: 2}, client(1))
	r = r.add(clientList{ID: 5, Epoch: 3, Part: 1, Parts: 2}, client(1))
	if r.complete() {
		t.Error("one part twice is not two")
	}
	for _, bad := range []clientList{{ID: 4, Part: 0, Parts: 1}, {ID: 5, Part: 0, Parts: 3}, {ID: 6, Part: 2, Parts: 2}, {ID: 6, Parts: maxParts + 1}, {ID: 6, Part: -1, Parts: 2}} {
		if r.add(bad, nil) != nil {
			t.Errorf("taken: %+v", bad)
		}
	}
	if r = r.add(clientList{ID: 5, Epoch: 3, Part: 0, Parts: 2}, client(2)); !r.complete() || len(r.keys) != 2 || r.epoch != 3 {
		t.Errorf("got %+v", r)
	}
	if r = r.add(clientList{ID: 6, Epoch: 3, Part: 0, Parts: 1}, client(9)); !r.complete() || len(r.keys) != 1 {
		t.Errorf("a later list does not replace it: %+v", r)
	}
}

// A member keeps the clients that it answered, of rules that it has, until they have been
// silent for as long as the rule says.
func TestKeeps(t *testing.T) {
	k := newKeeping([]portrules.Rule{
		{Name: "off", ID: 4, Mode: portrules.Disabled, Protocol: portrules.TCP, Timeout: time.Minute},
		{Name: "shop", ID: 9, Protocol: portrules.TCP, Timeout: time.Minute},
	})
	for _, row := range []struct {
		name   string
		rule   uint16
		mine   bool
		silent time.Duration
		want   bool
	}{
		{"just heard", 9, true, 0, true},
		{"by another clock", 9, true, time.Minute, true},
		{"silent for too long", 9, true, time.Minute + keepSlack, false},
		{"another's", 9, false, 0, false},
		{"of a rule that keeps nobody", 4, true, time.Minute, false},
		{"of a rule that is gone", 0, true, 0, false},
	} {
		c := dataplane.Client{Key: portrules.ClientKey{Rule: row.rule}, Client: portrules.Client{Mine: row.mine, Silent: row.silent}}
		if got := k.keeps(c); got != row.want {
			t.Errorf("%s: %t", row.name, got)
		}
	}
}

// An owner takes a client that it left alone when all who keep clients in its bucket
// have told theirs, under the epoch in force, and it is not among them.
func TestNobodys(t *testing.T) {
	const bucket, rule = 7, 300
	key := portrules.ClientKey{Rule: rule, Bucket: bucket, Hash: 5}
	theirs := []dataplane.Client{{Key: key}}
	list := func(epoch uint64, keys ...portrules.ClientKey) *roll {
		r := &roll{epoch: epoch, want: 1, parts: map[int]bool{0: true}, keys: make(map[portrules.ClientKey]bool)}
		for _, k := range keys {
			r.keys[k] = true
		}
		return r
	}
	for _, row := range []struct {
		name    string
		claims  map[string]*roll
		owner   uint8
		clients []dataplane.Client
		want    int
	}{
		{"nobody has told", nil, 1, theirs, 0},
		{"one of two has told", map[string]*roll{"b": list(9)}, 1, theirs, 0},
		{"both have told, one of them claims", map[string]*roll{"b": list(9, key), "c": list(9)}, 1, theirs, 0},
		{"both have told", map[string]*roll{"b": list(9), "c": list(9)}, 1, theirs, 1},
		{"one told under an earlier epoch", map[string]*roll{"b": list(9), "c": list(8)}, 1, theirs, 0},
		{"a part is missing", map[string]*roll{"b": list(9), "c": {epoch: 9, want: 2, parts: map[int]bool{0: true}}}, 1, theirs, 0},
		{"another's bucket", map[string]*roll{"b": list(9), "c": list(9)}, 2, theirs, 0},
		{"own client", map[string]*roll{"b": list(9), "c": list(9)}, 1, []dataplane.Client{{Key: key, Client: portrules.Client{Mine: true}}}, 0},
	} {
		a := &converge.Assignment{Epoch: converge.Epoch{N: 9}, SlotTable: []int{0, 0}, Tables: make([]converge.Table, 1),
			Members: []converge.Info{{Name: "a", Priority: 1}, {Name: "b", Priority: 2}, {Name: "c", Priority: 3}}}
		a.Tables[0].Owner[bucket] = row.owner
		a.Tables[0].Held = []converge.Holding{{Priority: 2}, {Priority: 3}}
		for i := range a.Tables[0].Held {
			a.Tables[0].Held[i].Buckets.Set(bucket)
		}
		l := &loop{cfg: &config.Config{Member: config.Member{Name: "a", Priority: 1}}}
		l.keep.rules, l.keep.slot, l.keep.claims = []time.Duration{time.Minute}, map[uint16]int{rule: 0}, row.claims
		if got := l.nobodys(a, row.clients); len(got) != row.want {
			t.Errorf("%s: %v", row.name, got)
		}
	}
}

// TestNoOwnerYet: a rule has no owner while members wait for the clients of others, and
// that is no event.
func TestNoOwnerYet(t *testing.T) {
	l, now := alone(t, portrules.Rule{Name: "dns", Protocol: portrules.UDP, First: 53, Last: 53, Affinity: portrules.AffinitySingle})
	l.keep = newKeeping(l.cluster.Rules)
	l.events, l.log, l.deserted = control.NewEventLog(keepEvents), slog.New(slog.DiscardHandler), make([]bool, 1)
	l.found(now)
	kinds := func() (kinds []string) {
		l.noticeOwners()
		events, _ := l.events.After(0)
		for _, e := range events {
			kinds = append(kinds, e.Kind)
		}
		return kinds
	}
	if got := kinds(); l.machine.Committed() == nil || len(got) != 0 {
		t.Errorf("while it waits: events %q", got)
	}
	if !l.machine.Converged() || l.converged() {
		t.Errorf("while it waits: agreed %t, converged %t; want true, false", l.machine.Converged(), l.converged())
	}
	now = now.Add(10 * time.Second)
	l.machine.SetShares(now, map[string]converge.Share{"dns": {}})
	l.machine.SetInformed(now)
	l.found(now)
	if !l.converged() {
		t.Error("not converged, although it has said its share")
	}
	if got := kinds(); !slices.Equal(got, []string{"no owner"}) {
		t.Errorf("of weight 0: events %q", got)
	}
}

// forgetful is an engine that counts how often it is to forget all clients.
type forgetful struct {
	dataplane.Engine
	times int
}

func (f *forgetful) ForgetClients() error {
	f.times++
	return nil
}

// TestLeavesWithoutKeeping: a member that is in no view hears of no client, whether rules
// keep any at that time or only when it is back.
func TestLeavesWithoutKeeping(t *testing.T) {
	l, now := alone(t, portrules.Rule{Name: "dns", Protocol: portrules.UDP, First: 53, Last: 53, Affinity: portrules.AffinitySingle})
	engine := &forgetful{}
	l.engine, l.keep = engine, newKeeping(l.cluster.Rules)
	l.found(now)
	l.now.wall = now.Add(5 * time.Second)
	enginetest.Must(t, l.followView())
	if l.keep.since.IsZero() || engine.times != 0 {
		t.Fatalf("in a view: has heard clients since %v, forgot %d times", l.keep.since, engine.times)
	}
	l.keep.follow(nil)
	l.machine.Tick(now.Add(time.Minute)) // it stood still
	if l.machine.Committed() != nil {
		t.Fatal("still in its view")
	}
	enginetest.Must(t, l.followView())
	l.keep.follow(l.cluster.Rules)
	if !l.keep.since.IsZero() || engine.times != 1 {
		t.Errorf("was in no view: has heard clients since %v, forgot %d times", l.keep.since, engine.times)
	}
}

// Whoever answers clients must tell them to a newcomer; other newcomers have none.
func TestUntold(t *testing.T) {
	a := &converge.Assignment{Members: []converge.Info{
		{Name: "self", Newcomer: true},
		{Name: "newcomer", Newcomer: true},
		{Name: "told"},
		{Name: "owner"},
		{Name: "draining", State: converge.Draining},
		{Name: "stopped", State: converge.Stopped},
		{Name: "weightless", Shares: map[string]converge.Share{"b": {}}},
	}}
	l := &loop{cfg: &config.Config{Member: config.Member{Name: "self"}}, keep: newKeeping([]portrules.Rule{{}, {Protocol: portrules.TCP, Timeout: time.Minute}})}
	l.keep.told["told"] = &roll{}
	l.keep.meet(a)
	if got, want := l.untold(a), []string{"owner", "draining", "weightless"}; !slices.Equal(got, want) {
		t.Errorf("waits for %q, want %q", got, want)
	}
	a.Members[1].Newcomer = false // by then it answers, but this member hears that
	l.keep.meet(a)
	if got, want := l.untold(a), []string{"owner", "draining", "weightless"}; !slices.Equal(got, want) {
		t.Errorf("in the next epoch it waits for %q, want %q", got, want)
	}
}
