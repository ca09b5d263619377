package converge

import (
	"errors"
	"fmt"
	"slices"

	"github.com/opennlb/opennlb/nlbhash"
)

// Epoch identifies one agreement. N orders them; By and Instance tell apart two
// coordinators, or two lives of one, that chose the same N.
type Epoch struct {
	N        uint64 `json:"n"`
	By       uint8  `json:"by"`
	Instance uint64 `json:"instance"`
}

// maxEpoch is beyond what any cluster reaches. A peer that claims to have seen more than
// maxSeen is mistaken, and must not use up the numbers that are left.
const (
	maxEpoch = 1 << 62
	maxSeen  = maxEpoch - 1<<40
)

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
