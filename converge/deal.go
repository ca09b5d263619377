package converge

import (
	"slices"

	"github.com/opennlb/opennlb/nlbhash"
	"github.com/opennlb/opennlb/portrules"
)

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
