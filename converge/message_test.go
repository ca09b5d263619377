package converge

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opennlb/opennlb/nlbhash"
	"github.com/opennlb/opennlb/portrules"
)

// samples are one message of each kind.
func samples() []Message {
	a := moved()
	return []Message{
		wordOf(2, 3, a.Epoch, 7),
		msg(1, Message{Prepare: a}),
		msg(2, Message{Prepared: &Prepared{Epoch: a.Epoch, Extra: []Extra{{Slot: 1, Buckets: Bitmap{1}}}}}),
		msg(2, Message{Reject: &Reject{Epoch: a.Epoch, Seen: 9, Reason: "knows a later epoch", Committed: a}}),
		msg(1, Message{Announce: &Announce{Epoch: a.Epoch, View: a.mask(), Stamp: first.Stamp(), HeldBack: []Hold{{3, time.Second, 4}}}}),
		msg(3, Message{Held: &Held{Epoch: a.Epoch, Tables: make([]Bitmap, len(a.Tables))}}),
	}
}

func TestMessagesReadBack(t *testing.T) {
	for _, m := range samples() {
		data, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		back, err := Decode(data)
		if err != nil || !reflect.DeepEqual(back, m) {
			t.Errorf("%.200s reads back as %+v, %v", data, back, err)
		}
	}
}

func TestReliable(t *testing.T) {
	want := []bool{false, true, true, true, false, false}
	for i, m := range samples() {
		if m.Reliable() != want[i] {
			t.Errorf("sample %d: reliable is %t", i, m.Reliable())
		}
	}
	if m := (Message{Prepared: &Prepared{}}); m.Reliable() {
		t.Error("a plain Prepared is small")
	}
}

func TestDecodeRefuses(t *testing.T) {
	data, err := json.Marshal(moved())
	if err != nil {
		t.Fatal(err)
	}
	owners, _ := Owners{}.MarshalText()
	foreign, _ := Owners{33}.MarshalText()
	for name, text := range map[string]string{
		"no JSON":        `{`,
		"short table":    `{"prepare":{"tables":[{"owner":"AAAA"}]}}`,
		"long table":     `{"prepare":{"tables":[{"owner":"AAAA` + string(owners) + `"}]}}`,
		"no base64":      `{"held":{"tables":["` + strings.Repeat("!", len(data)) + `"]}}`,
		"owner above 32": `{"prepare":{"tables":[{"owner":"` + string(foreign) + `"}]}}`,
		"state":          `{"info":{"info":{"state":"asleep"}}}`,
	} {
		if _, err := Decode([]byte(text)); err == nil || !strings.HasPrefix(err.Error(), "decode") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestAssignmentValid(t *testing.T) {
	if err := moved().valid(); err != nil {
		t.Fatal(err)
	}
	plan := func(spoil func(*Plan)) func(*Assignment) {
		return func(a *Assignment) {
			p := *a.Plan
			p.Rules = slices.Clone(p.Rules)
			spoil(&p)
			if a.Plan = &p; len(p.Rules)+1 != len(a.SlotTable) {
				a.SlotTable = make([]int, len(p.Rules)+1)
			}
		}
	}
	for name, spoil := range map[string]func(*Assignment){
		"no members":              func(a *Assignment) { a.Members = nil },
		"members not sorted":      func(a *Assignment) { a.Members[0], a.Members[1] = a.Members[1], a.Members[0] },
		"member twice":            func(a *Assignment) { a.Members[1] = a.Members[0] },
		"33 members":              func(a *Assignment) { a.Members = make([]Info, 33) },
		"priority 0":              func(a *Assignment) { a.Members[0].Priority = 0 },
		"priority 33":             func(a *Assignment) { a.Members[2].Priority = 33 },
		"unknown state of a rule": func(a *Assignment) { a.Members[0].Shares = map[string]Share{"r0": {State: 4}} },
		"no configuration":        func(a *Assignment) { a.Plan = nil },
		"versions used up":        plan(func(p *Plan) { p.Version = maxVersion + 1 }),
		"a large document":        plan(func(p *Plan) { p.Document = strings.Repeat("x", maxDocument+1) }),
		"a long digest":           plan(func(p *Plan) { p.Digest = strings.Repeat("x", maxText+1) }),
		"257 rules":               plan(func(p *Plan) { p.Rules = make([]Rule, portrules.MaxRules+1) }),
		"a long name":             plan(func(p *Plan) { p.Rules[0].Name = strings.Repeat("x", maxText+1) }),
		"a long match":            plan(func(p *Plan) { p.Rules[0].Match = strings.Repeat("x", maxText+1) }),
		"a long hash":             plan(func(p *Plan) { p.Rules[0].Hash = strings.Repeat("x", maxText+1) }),
		"unknown state":           func(a *Assignment) { a.Members[0].State = 4 },
		"slot missing":            func(a *Assignment) { a.SlotTable = a.SlotTable[1:] },
		"no such table":           func(a *Assignment) { a.SlotTable[0] = 9 },
		"negative table":          func(a *Assignment) { a.SlotTable[0] = -1 },
		"more tables than slots":  func(a *Assignment) { a.Tables = make([]Table, 9) },
		"owner not a member":      func(a *Assignment) { a.Tables[0].Owner[7] = 9 },
		"owner beyond 32":         func(a *Assignment) { a.Tables[0].Owner[7] = 200 },
		"holder not a member":     func(a *Assignment) { a.Tables[0].Held = []Holding{{Priority: 9}} },
		"holder 0":                func(a *Assignment) { a.Tables[0].Held = []Holding{{Priority: 0}} },
		"holder twice":            func(a *Assignment) { a.Tables[0].Held = []Holding{{Priority: 1}, {Priority: 1}} },
		"number used up":          func(a *Assignment) { a.Epoch.N = 1 << 63 },
	} {
		a := moved().clone()
		spoil(a)
		if a.valid() == nil {
			t.Errorf("%s: taken for valid", name)
		}
	}
}

// TestInfoIsChecked: a word about somebody else, or one that makes no sense, counts for
// nothing, and of one with a plan that is not what it says, all but the plan does.
func TestInfoIsChecked(t *testing.T) {
	later := nextPlan(simRules[2:]...)
	large := nextPlan(simRules...)
	large.Document = strings.Repeat("x", maxDocument+1)
	for _, c := range []struct {
		name  string
		spoil func(*InfoMsg)
		heard bool  // the word counts
		dealt *Plan // what the next epoch should have
	}{
		{"as it should be", func(*InfoMsg) {}, true, later},
		{"of another member", func(i *InfoMsg) { i.Info = info(3); i.Info.Version = 2 }, false, first},
		{"of another start", func(i *InfoMsg) { i.Info.Instance++ }, false, first},
		{"unknown state", func(i *InfoMsg) { i.Info.State = 4 }, false, first},
		{"another plan's stamp", func(i *InfoMsg) { i.Stamp.Version++ }, true, first},
		{"a large plan", func(i *InfoMsg) { i.Plan = large }, true, first},
	} {
		m := inView(1, agreement(5, 1, nil, infos(1, 2, 3)))
		w := wordOf(2, 2, Epoch{N: 5, By: 1, Instance: info(1).Instance}, 5)
		w.Info.Stamp, w.Info.Plan = later.Stamp(), later
		c.spoil(w.Info)
		m.Receive(t0, w)
		if _, heard := m.words[2]; heard != c.heard || m.dealt() != c.dealt {
			t.Errorf("%s: heard %t, deals configuration %v", c.name, heard, m.dealt().Stamp())
		}
	}
}

// FuzzReceive feeds a member, a coordinator that waits and a newcomer with
// whatever decodes: no panic, and nothing grows without bound.
func FuzzReceive(f *testing.F) {
	for _, m := range samples() {
		data, err := m.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, uint8(1), uint8(60))
	}
	f.Add([]byte(`{"info":{"promised":18446744073709551615}}`), uint8(2), uint8(0))
	f.Fuzz(func(t *testing.T, data []byte, from, pause uint8) {
		message, err := Decode(data)
		if err != nil {
			return
		}
		a := moved()
		machines := []*Machine{inView(1, a.clone()), inView(3, a.clone()), member(2, 1, 3)}
		machines[0].SetState(t0, Draining)
		message.From = info(1 + from%3).peer() // membership has proven who it is
		if i := message.Info; i != nil && pause%2 == 0 {
			i.Info.Name, i.Info.Priority, i.Info.Instance = message.From.Name, message.From.Priority, message.From.Instance
		}
		for _, m := range machines {
			now := t0
			for range 6 {
				m.Receive(now, message.clone())
				if a := message.Announce; a != nil {
					m.Beacon(now, Beacon{Epoch: a.Epoch, View: a.View})
				}
				m.Connections(now, make([]Bitmap, len(simRules)+1))
				now = now.Add(simTick)
				if out := m.Tick(now); len(out.Send) > 100 {
					t.Fatalf("one input, %d messages", len(out.Send))
				}
			}
			m.Tick(now.Add(simLease * 2))
			if n := len(m.words) + len(m.since) + len(m.banned) + len(m.trust) + len(m.extras); n > 5*nlbhash.MaxPriority {
				t.Fatalf("remembers %d things", n)
			}
			if m.seen >= maxEpoch {
				t.Fatalf("seen %d: the numbers are used up", m.seen)
			}
			if _, err := json.Marshal(m.Committed()); err != nil {
				t.Fatal(err)
			}
		}
		again, err := message.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := Decode(again); err != nil {
			t.Fatal(err)
		} else if third, _ := back.Encode(); !bytes.Equal(again, third) {
			t.Fatalf("%.300s reads back as %.300s", again, third)
		}
	})
}
