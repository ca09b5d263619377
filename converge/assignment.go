package converge

import (
	"errors"
	"fmt"
	"slices"

	"github.com/opennlb/opennlb/nlbhash"
	"github.com/opennlb/opennlb/portrules"
)

// Epoch identifies one agreement. N orders them; By and Instance tell apart two
// coordinators, or two lives of one, that chose the same N.
type Epoch struct {
	N        uint64 `json:"n"`
	By       uint8  `json:"by"`
	Instance uint64 `json:"instance"`
}

// maxEpoch is beyond what any cluster reaches: a peer that claims more is mistaken,
// and must not use the numbers up.
const maxEpoch = 1 << 62

// above reports whether e may follow promise p. Equal numbers by different
// coordinators exclude each other: the first one promised stays.
func (e Epoch) above(p Epoch) bool { return e.N > p.N }

// Assignment is one agreement, complete: a member needs nothing else to act on it.
type Assignment struct {
	Epoch     Epoch   `json:"epoch"`
	Base      Epoch   `json:"base"`       // the committed epoch that it was dealt from; zero: none
	Plan      *Plan   `json:"plan"`       // the configuration that it was made for
	Members   []Info  `json:"members"`    // the view, by priority
	Tables    []Table `json:"tables"`     // slots with equal targets share one
	SlotTable []int   `json:"slot_table"` // index into Tables for each rule, and last for the default host
}

// Table deals the buckets to members.
type Table struct {
	Targets nlbhash.Targets `json:"targets"`
	Owner   Owners          `json:"owner"`
	Held    []Holding       `json:"held,omitempty"` // by priority
}

// Holding is the set of buckets that a member owns no more, but in which it may
// still have connections.
type Holding struct {
	Priority uint8  `json:"priority"`
	Buckets  Bitmap `json:"buckets"`
}

// Slot returns the table of a rule; slot len(rules) is the default host's.
func (a *Assignment) Slot(slot int) *Table { return &a.Tables[a.SlotTable[slot]] }

// Default returns the table of the default host.
func (a *Assignment) Default() *Table { return a.Slot(len(a.SlotTable) - 1) }

// Member returns what the view knows of the member with priority p.
func (a *Assignment) Member(p uint8) (Info, bool) {
	if i := a.member(p); i != nil {
		return *i, true
	}
	return Info{}, false
}

// member is Member without a copy; nil if there is none.
func (a *Assignment) member(p uint8) *Info {
	for i := range a.Members { // few
		if a.Members[i].Priority == p {
			return &a.Members[i]
		}
	}
	return nil
}

// has reports whether exactly this start of a member is in the view.
func (a *Assignment) has(p Peer) bool {
	i := a.member(p.Priority)
	return i != nil && i.Instance == p.Instance && i.Name == p.Name
}

// mask is the view as a set of priorities.
func (a *Assignment) mask() uint32 {
	var mask uint32
	for _, m := range a.Members {
		mask |= 1 << (m.Priority - 1)
	}
	return mask
}

// holding returns the member's set in t, or nil.
func (t *Table) holding(p uint8) *Bitmap {
	for i := range t.Held {
		if t.Held[i].Priority == p {
			return &t.Held[i].Buckets
		}
	}
	return nil
}

func (t *Table) hold(p uint8) *Bitmap {
	if h := t.holding(p); h != nil {
		return h
	}
	i, _ := slices.BinarySearchFunc(t.Held, p, func(h Holding, p uint8) int { return int(h.Priority) - int(p) })
	t.Held = slices.Insert(t.Held, i, Holding{Priority: p})
	return &t.Held[i].Buckets
}

// heldByOther reports whether a member other than p may have connections in bucket b.
func (t *Table) heldByOther(p uint8, b int) bool {
	for i := range t.Held {
		if t.Held[i].Priority != p && t.Held[i].Buckets.Has(b) {
			return true
		}
	}
	return false
}

// sole returns the only owner of all buckets, 0 where there is none or another too.
func (t *Table) sole() uint8 {
	owner := t.Owner[0]
	if slices.ContainsFunc(t.Owner[:], func(p uint8) bool { return p != owner }) {
		return 0
	}
	return owner
}

// build deals the buckets to members, moving as few as possible from base (nil
// at the first epoch), and notes who may still hold connections in what moved.
func build(base *Assignment, members []Info, plan *Plan) *Assignment {
	members = informed(base, members)
	a := &Assignment{Plan: plan, Members: members, SlotTable: make([]int, len(plan.Rules)+1)}
	before := make([]int, len(a.SlotTable))
	for slot := range before {
		before[slot] = -1
	}
	if base != nil {
		before = predecessors(plan, base.Plan)
	}
	type alike struct { // slots that share a table
		targets nlbhash.Targets
		keepers uint32
	}
	shared := make(map[alike]int)
	deal := func(slot int) {
		t := targets(base, before[slot], members, plan, slot)
		same := alike{t, a.keepers(slot)}
		i, ok := shared[same]
		if !ok {
			i = len(a.Tables)
			shared[same] = i
			var prev nlbhash.Table
			if before[slot] >= 0 {
				prev = nlbhash.Table(base.Slot(before[slot]).Owner)
			}
			a.Tables = append(a.Tables, Table{Targets: t, Owner: Owners(*nlbhash.Rebalance(&prev, t))})
		}
		a.SlotTable[slot] = i
	}
	for _, old := range []bool{true, false} { // a new rule must not make old ones move
		for slot := range a.SlotTable {
			if before[slot] >= 0 == old {
				deal(slot)
			}
		}
	}
	if base != nil {
		a.Base = base.Epoch
		a.keepHeld(base)
	}
	return a
}

// informed returns the members with what they know as of base: where no rule kept clients,
// there were none to know.
func informed(base *Assignment, members []Info) []Info {
	if base == nil || base.Plan.clients() {
		return members
	}
	list := slices.Clone(members)
	for i := range list {
		list[i].Newcomer = list[i].Newcomer && !base.has(list[i].peer())
	}
	return list
}

// keepHeld notes, for every slot, the members that owned or held a bucket in
// base, do not own it now, and are there to serve their connections. Where other
// packets come into a slot than before, or into other buckets, that is everyone
// everywhere; they soon tell what they really hold.
func (a *Assignment) keepHeld(base *Assignment) {
	type pair struct{ old, now int }
	done := make(map[pair]bool) // rules that share both tables need it once
	before := carry(a.Plan, base.Plan)
	for slot, now := range a.SlotTable {
		is := &a.Tables[now]
		if before[slot] < 0 {
			for _, p := range base.serving() {
				if a.keeps(p, slot) {
					is.holdAll(p)
				}
			}
			continue
		}
		p := pair{base.SlotTable[before[slot]], now}
		if done[p] {
			continue
		}
		done[p] = true
		was := &base.Tables[p.old]
		for b, owner := range was.Owner {
			if owner != 0 && is.Owner[b] != owner && a.keeps(owner, slot) {
				is.hold(owner).Set(b)
			}
		}
		for _, h := range was.Held {
			if !a.keeps(h.Priority, slot) {
				continue
			}
			for b, owner := range is.Owner {
				if owner != h.Priority && h.Buckets.Has(b) {
					is.hold(h.Priority).Set(b)
				}
			}
		}
	}
}

// holdAll notes that a member may have connections in all that it does not own.
func (t *Table) holdAll(p uint8) {
	for b, owner := range t.Owner {
		if owner != p {
			t.hold(p).Set(b)
		}
	}
}

// serving lists who owns or holds anything.
func (a *Assignment) serving() []uint8 {
	var mask uint64
	for i := range a.Tables {
		for _, p := range a.Tables[i].Owner {
			mask |= 1 << p
		}
		for _, h := range a.Tables[i].Held {
			mask |= 1 << h.Priority
		}
	}
	var list []uint8
	for p := uint8(1); p <= nlbhash.MaxPriority; p++ {
		if mask&(1<<p) != 0 {
			list = append(list, p)
		}
	}
	return list
}

// keeps reports whether a member goes on serving its connections of a slot.
func (a *Assignment) keeps(p uint8, slot int) bool {
	m := a.member(p)
	return m != nil && m.holds(a.Plan, slot)
}

// keepers is the set of members that do.
func (a *Assignment) keepers(slot int) (mask uint32) {
	for _, m := range a.Members {
		if m.holds(a.Plan, slot) {
			mask |= m.bit()
		}
	}
	return mask
}

// targets is what each member should get of a slot; before is that slot in base, -1
// if there was none.
func targets(base *Assignment, before int, members []Info, plan *Plan, slot int) nlbhash.Targets {
	var t nlbhash.Targets
	if slot == len(plan.Rules) {
		if i := slices.IndexFunc(members, func(m Info) bool { return m.State == Started }); i >= 0 {
			t[members[i].Priority] = 1
		}
		return t
	}
	rule := &plan.Rules[slot]
	switch rule.Mode {
	case portrules.Disabled:
		return t
	case portrules.Multiple:
		for _, m := range members {
			if m.takes(rule) {
				t[m.Priority] = uint32(m.weight(rule))
			}
		}
		return t
	}
	if rule.Keep && before >= 0 {
		owner := base.Slot(before).sole()
		if slices.ContainsFunc(members, func(m Info) bool { return m.Priority == owner && m.takes(rule) }) {
			t[owner] = 1
			return t
		}
	}
	best := -1 // of members by priority: the first of equals is the lowest priority
	for i, m := range members {
		if m.takes(rule) && (best < 0 || m.handling(rule) < members[best].handling(rule)) {
			best = i
		}
	}
	if best >= 0 {
		t[members[best].Priority] = 1
	}
	return t
}

// valid checks what came from the network.
func (a *Assignment) valid() error {
	if err := a.Plan.valid(); err != nil {
		return fmt.Errorf("assignment: %w", err)
	}
	if a.Epoch.N >= maxEpoch {
		return fmt.Errorf("assignment: epoch %d", a.Epoch.N)
	}
	if len(a.Members) == 0 || len(a.Members) > nlbhash.MaxPriority {
		return fmt.Errorf("assignment has %d members", len(a.Members))
	}
	for i, m := range a.Members {
		if err := m.valid(); err != nil {
			return fmt.Errorf("assignment: %w", err)
		}
		if i > 0 && a.Members[i-1].Priority >= m.Priority {
			return errors.New("assignment: members are not sorted by priority")
		}
	}
	if len(a.SlotTable) != len(a.Plan.Rules)+1 || len(a.Tables) > len(a.SlotTable) {
		return fmt.Errorf("assignment: %d slots and %d tables for %d rules", len(a.SlotTable), len(a.Tables), len(a.Plan.Rules))
	}
	for _, t := range a.SlotTable {
		if t < 0 || t >= len(a.Tables) {
			return fmt.Errorf("assignment: no table %d", t)
		}
	}
	view := a.mask()
	for i := range a.Tables {
		if err := a.Tables[i].valid(view); err != nil {
			return err
		}
	}
	return nil
}

// valid checks that only members of the view own or hold buckets.
func (t *Table) valid(view uint32) error {
	for b, p := range t.Owner {
		if p != 0 && view&(1<<(p-1)) == 0 {
			return fmt.Errorf("assignment: bucket %d has owner %d, which is not a member", b, p)
		}
	}
	last := uint8(0)
	for i := range t.Held {
		p := t.Held[i].Priority
		if p <= last || p > nlbhash.MaxPriority || view&(1<<(p-1)) == 0 {
			return fmt.Errorf("assignment: holder %d is not a member, or out of order", p)
		}
		last = p
	}
	return nil
}
