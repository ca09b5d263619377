package converge

import (
	"fmt"
	"math/bits"
	"slices"
	"time"

	"github.com/opennlb/opennlb/nlbhash"
	"github.com/opennlb/opennlb/portrules"
)

// violation is an invariant that does not hold.
type violation struct {
	check string
	at    time.Duration
	text  string
}

func (v *violation) String() string { return fmt.Sprintf("%s: at %s %s", v.check, v.at, v.text) }

func (s *sim) fail(check, format string, args ...any) {
	panic(&violation{check, s.now, fmt.Sprintf(format, args...)})
}

// first finds a bucket that is in both sets.
func (a *set) first(b *set) (slot, bucket int, ok bool) {
	for slot := range a {
		for w := range a[slot] {
			if x := a[slot][w] & b[slot][w]; x != 0 {
				return slot, w*64 + bits.TrailingZeros64(x), true
			}
		}
	}
	return 0, 0, false
}

// missing finds a bucket of a that is not in b.
func (a *set) missing(b *set) (slot, bucket int, ok bool) {
	for slot := range a {
		for w := range a[slot] {
			if x := a[slot][w] &^ b[slot][w]; x != 0 {
				return slot, w*64 + bits.TrailingZeros64(x), true
			}
		}
	}
	return 0, 0, false
}

// check is what must hold of the data planes at any time. Only n changed, and
// every member changes at every tick.
func (s *sim) check(n *node) {
	if !s.answers(n) || s.excused() {
		return
	}
	if slot, b, bad := n.conns.missing(&n.some); bad {
		s.fail("keeper", "class %d client %d: n%d forsakes its connections", slot, b, n.id)
	}
	for _, o := range s.nodes {
		if o == n || !s.answers(o) {
			continue
		}
		if !s.hear(n, o) {
			s.checkMajority(n, o)
			continue
		}
		if slot, b, bad := n.own.first(&o.own); bad {
			s.fail("one", "class %d client %d: n%d and n%d both answer", slot, b, n.id, o.id)
		}
		if slot, b, bad := n.conns.first(&o.alone); bad {
			s.fail("connection", "class %d client %d: n%d resets what n%d serves", slot, b, o.id, n.id)
		}
		if slot, b, bad := o.conns.first(&n.alone); bad {
			s.fail("connection", "class %d client %d: n%d resets what n%d serves", slot, b, n.id, o.id)
		}
	}
}

// simNotice is when both sides of a split know that they are less than before, and are
// silent if they must be.
const simNotice = 1200 * time.Millisecond

// checkMajority: of two sides of a segment one is silent, where that is asked for.
func (s *sim) checkMajority(n, o *node) {
	if s.majority && !s.strangers && s.now > s.split.began+simNotice && n.own != (set{}) && o.own != (set{}) {
		s.fail("majority", "n%d and n%d answer on both sides", n.id, o.id)
	}
}

// checkStep is what must hold of a machine after every step.
func (s *sim) checkStep(n *node) {
	m, before := n.m, n.promised
	if n.stamp.Above(m.plan.Stamp()) {
		s.fail("config", "n%d goes back from %v to %v", n.id, n.stamp, m.plan.Stamp())
	}
	n.stamp = m.plan.Stamp()
	if p := m.promised; p != before {
		if p.N <= before.N {
			s.fail("promise", "n%d promised %v after %v", n.id, p, before)
		}
		n.promised = p
	}
	if m.committed == nil || m.committed.Epoch == n.committed {
		return
	}
	a := m.committed
	if a.Epoch != before && a.Epoch.Instance != m.self.Instance { // its own it promises in the same step
		s.fail("promise", "n%d commits %v, but promised %v", n.id, a.Epoch, before)
	}
	if a.Epoch.N <= n.committed.N {
		s.fail("promise", "n%d commits %v after %v", n.id, a.Epoch, n.committed)
	}
	n.committed = a.Epoch
	s.inForce[a.Plan.Digest] = true
	s.save(n, a.Plan)
	if s.log != nil {
		s.note(n, "commits %v of %d members, configuration %v", a.Epoch, len(a.Members), a.Plan.Stamp())
	}
	old, known := s.agreed[a.Epoch]
	if !known {
		s.agreed[a.Epoch] = a.clone()
		s.checkMoves(a)
		s.checkLeftOut(a)
		return
	}
	same := slices.EqualFunc(a.Tables, old.Tables, func(x, y Table) bool { return x.Owner == y.Owner && x.Targets == y.Targets })
	if !same || a.Plan.Stamp() != old.Plan.Stamp() || !slices.Equal(a.SlotTable, old.SlotTable) || !sameMembers(a.Members, old.Members) {
		s.fail("tables", "n%d commits other tables than others for %v", n.id, a.Epoch)
	}
}

// checkMoves holds a new agreement against the weights and the one it replaces.
func (s *sim) checkMoves(a *Assignment) {
	base := s.agreed[a.Base]
	if base == nil && a.Base != (Epoch{}) {
		s.fail("moves", "%v was made from %v, on which nobody agreed", a.Epoch, a.Base)
	}
	done, before := make([]bool, len(a.Tables)), make([]int, len(a.SlotTable))
	if base != nil {
		before = predecessors(a.Plan, base.Plan)
	}
	for slot, i := range a.SlotTable {
		t, keeper := &a.Tables[i], uint8(0)
		if base != nil && before[slot] >= 0 {
			keeper = base.Slot(before[slot]).sole()
		}
		counts, weights, total := (*nlbhash.Table)(&t.Owner).Counts(), expected(keeper, a.Members, a.Plan, slot), 0
		for _, w := range weights {
			total += w
		}
		for p, w := range weights {
			exact := w * nlbhash.Buckets // times total
			if off := counts[p]*total - exact; p > 0 && (off >= max(total, 1) || off <= -max(total, 1)) {
				s.fail("shares", "%v slot %d: n%d owns %d buckets by weight %d of %d", a.Epoch, slot, p, counts[p], w, total)
			}
		}
		if base == nil || done[i] || before[slot] < 0 {
			continue
		}
		done[i] = true // further slots share the table of this one
		was := base.Slot(before[slot])
		had, moved, least := (*nlbhash.Table)(&was.Owner).Counts(), 0, 0
		for b, owner := range was.Owner {
			if owner != 0 && t.Owner[b] != owner {
				moved++
			}
		}
		for p := 1; p < len(had); p++ {
			least += max(0, had[p]-counts[p])
		}
		if moved > least {
			s.fail("moves", "%v slot %d: %d buckets moved, %d had to", a.Epoch, slot, moved, least)
		}
	}
}

// expected is the weight of each member in a slot, by priority; keeper had it before.
func expected(keeper uint8, members []Info, plan *Plan, slot int) (weights [nlbhash.MaxPriority + 1]int) {
	first, best, rule := 0, 0, Rule{Mode: portrules.Single}
	if slot < len(plan.Rules) {
		rule = plan.Rules[slot]
	}
	for _, m := range members {
		share := m.Share(rule.Name)
		if m.State != Started || rule.Name != "" && share.State != Started || rule.Mode == portrules.Disabled {
			continue
		}
		fresh := m.Newcomer && rule.Clients
		if rule.Mode == portrules.Multiple {
			if !fresh {
				weights[m.Priority] = int(share.Weight)
			}
			continue
		}
		handling := int(share.Priority)
		switch {
		case rule.Name == "":
			handling = 1 // the default host
		case rule.Keep && keeper == m.Priority:
			handling = 0 // before all others
		case fresh:
			handling = 1000
		}
		if first == 0 || handling < best {
			first, best = int(m.Priority), handling
		}
	}
	if first > 0 {
		weights[first] = 1
	}
	return weights
}

// checkLeftOut makes sure that a member that nothing befell stays in the view.
func (s *sim) checkLeftOut(a *Assignment) {
	base := s.agreed[a.Base]
	if base == nil || s.loss > 0 || s.split.on {
		return
	}
	for _, i := range base.Members {
		n := s.nodes[i.Priority-1]
		if n.up && !n.frozen && n.m.self.Instance == i.Instance && s.now > n.healthy+3*time.Second && !a.has(i.peer()) {
			s.fail("left out", "n%d is not in %v", n.id, a.Epoch)
		}
	}
}

// checkConverged is what must hold when nothing has happened for a while: one view,
// and an owner for every bucket.
func (s *sim) checkConverged() {
	var ref *Assignment
	var total [simClasses]int
	for _, n := range s.nodes {
		if !n.up {
			continue
		}
		a := n.m.Committed()
		if ref == nil {
			ref = a
		}
		if a.Epoch != ref.Epoch {
			s.fail("converge", "n%d is at %v, another at %v", n.id, a.Epoch, ref.Epoch)
		}
		if !s.answers(n) {
			s.fail("converge", "n%d is in the view without a lease", n.id)
		}
		for class := range total {
			for _, w := range n.own[class] {
				total[class] += bits.OnesCount64(w)
			}
		}
	}
	if ref == nil {
		return
	}
	for class, slot := range s.layout(ref.Plan).slot {
		if expected(0, ref.Members, ref.Plan, slot) == [nlbhash.MaxPriority + 1]int{} {
			continue
		}
		if total[class] != nlbhash.Buckets {
			s.fail("converge", "class %d: %d buckets have an owner", class, total[class])
		}
	}
}

// checkQuiet makes sure that those that converged have nothing more to change.
func (s *sim) checkQuiet() {
	s.checkConverged()
	epochs := len(s.agreed)
	s.runUntil(s.now + 300*time.Millisecond)
	s.checkConverged()
	if len(s.agreed) != epochs {
		s.fail("quiet", "another epoch was agreed on after all had converged")
	}
}
