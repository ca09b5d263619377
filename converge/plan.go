package converge

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/opennlb/opennlb/portrules"
)

// Plan is one version of the cluster's configuration, as far as the agreement needs it.
// It travels whole, so that whoever agrees to an epoch has all that it stands for. A
// Plan is not changed once it is made.
type Plan struct {
	Version  uint64 `json:"version"`  // 0: of one member's file, never agreed on
	Digest   string `json:"digest"`   // of Document
	Document string `json:"document"` // what the data plane is made from; the agreement does not look into it
	Rules    []Rule `json:"rules"`
	Majority bool   `json:"majority,omitempty"` // partition: majority; the smaller part of a view is silent
	Dampen   bool   `json:"dampen,omitempty"`   // hold back a member that comes and goes
}

// Rule is what the agreement needs to know of a port rule.
type Rule struct {
	Name    string         `json:"name"`
	Match   string         `json:"match"` // which packets; no two rules of a plan match the same
	Hash    string         `json:"hash"`  // what of a packet picks the bucket
	Mode    portrules.Mode `json:"mode"`
	Keep    bool           `json:"keep,omitempty"`    // mode single: the owner stays while it is started, also when a better one returns
	Clients bool           `json:"clients,omitempty"` // clients without a connection stay with their member
}

// Stamp orders the versions of a cluster's configuration. Two of one version were made
// on two sides of a partition; one of them wins when the sides meet.
type Stamp struct {
	Version uint64 `json:"version"`
	Digest  string `json:"digest"`
}

// Above reports whether s replaces o. What was never agreed on replaces nothing.
func (s Stamp) Above(o Stamp) bool {
	return s.Version > o.Version || s.Version == o.Version && s.Version > 0 && s.Digest > o.Digest
}

// Stamp returns the place of the plan among all.
func (p *Plan) Stamp() Stamp { return Stamp{p.Version, p.Digest} }

func (p *Plan) newer(o *Plan) bool { return p.Stamp().Above(o.Stamp()) }

// Bounds of what others may send.
const (
	maxDocument = 1 << 20 // bytes
	maxVersion  = 1 << 62
	maxText     = 256 // bytes of a name, or of what a rule matches
)

func (p *Plan) valid() error {
	switch {
	case p == nil:
		return errors.New("no configuration")
	case p.Version > maxVersion:
		return fmt.Errorf("configuration has version %d", p.Version)
	case len(p.Document) > maxDocument || len(p.Digest) > maxText:
		return fmt.Errorf("configuration has %d bytes", len(p.Document))
	case len(p.Rules) > portrules.MaxRules:
		return fmt.Errorf("configuration has %d rules", len(p.Rules))
	}
	for _, r := range p.Rules {
		if len(r.Name) > maxText || len(r.Match) > maxText || len(r.Hash) > maxText {
			return errors.New("configuration has a rule with a name too long")
		}
	}
	return nil
}

// carry tells for each slot of one plan which slot of another takes exactly the same
// packets and puts them into the same buckets; -1: none does.
func carry(from, to *Plan) []int {
	slots := make([]int, len(from.Rules)+1)
	if from.Stamp() == to.Stamp() {
		for i := range slots {
			slots[i] = i
		}
		return slots
	}
	type kind struct{ match, hash string }
	there := make(map[kind]int, len(to.Rules))
	for i, r := range to.Rules {
		there[kind{r.Match, r.Hash}] = i
	}
	for i, r := range from.Rules {
		slots[i] = -1
		if j, ok := there[kind{r.Match, r.Hash}]; ok {
			slots[i] = j
		}
	}
	slots[len(from.Rules)] = -1
	if slices.Equal(from.matches(), to.matches()) { // what no rule covers is the same, too
		slots[len(from.Rules)] = len(to.Rules)
	}
	return slots
}

// clients reports whether a rule keeps clients.
func (p *Plan) clients() bool {
	return slices.ContainsFunc(p.Rules, func(r Rule) bool { return r.Clients })
}

func (p *Plan) matches() []string {
	all := make([]string, len(p.Rules))
	for i, r := range p.Rules {
		all[i] = r.Match
	}
	slices.Sort(all)
	return all
}

// predecessors tells for each slot of a plan which slot of the one before it should be
// dealt like: the one with the same packets, or else the rule of the same name; -1: none.
func predecessors(p, before *Plan) []int {
	slots := carry(p, before)
	for i, r := range p.Rules {
		if slots[i] < 0 {
			slots[i] = slices.IndexFunc(before.Rules, func(o Rule) bool { return o.Name == r.Name })
		}
	}
	last := len(p.Rules)
	slots[last] = len(before.Rules)
	return slots
}

// unfit is why a member cannot take part under a plan.
type unfit struct {
	plan   Stamp
	reason string
}

// Misfit is a live member that is left out because of the configuration.
type Misfit struct {
	Name   string
	Reason string
}

// Errors of SetPlan.
var (
	ErrConflict       = errors.New("two changes of the configuration at once")
	ErrNotCoordinator = errors.New("does not coordinate the cluster")
)

// SetPlan makes p the next version of the configuration. Only the coordinator of a view
// can, and one at a time: the caller passes it to [Machine.Coordinator].
func (m *Machine) SetPlan(now time.Time, p *Plan) (Output, error) {
	m.observe(now)
	switch {
	case m.committed == nil:
		return m.step(), errors.New("is in no cluster at present")
	case m.coordinator() != m.self.peer():
		return m.step(), ErrNotCoordinator
	case m.asked != nil:
		return m.step(), fmt.Errorf("%w: another one is under way", ErrConflict)
	case p.Version != m.plan.Version+1:
		return m.step(), fmt.Errorf("%w: version %d is in force meanwhile", ErrConflict, m.plan.Version)
	}
	if err := p.valid(); err != nil {
		return m.step(), err
	}
	if reason := m.take(p); reason != "" {
		return m.step(), errors.New(reason)
	}
	m.asked = p
	return m.step(), nil
}

// Coordinator is who deals the next epoch, as far as this member knows.
func (m *Machine) Coordinator() Peer { return m.coordinator() }

// Plan is the configuration in force or, in no view, the last one known. When that changes
// in no view, this member has to begin anew.
func (m *Machine) Plan() *Plan { return m.plan }

// Asked reports whether a plan given to SetPlan is still on its way, and why not where a
// member refused it.
func (m *Machine) Asked(s Stamp) (pending bool, refusal string) {
	return m.asked != nil && m.asked.Stamp() == s, m.refused[s]
}

// Preview is what the view in force would agree on under a plan.
func (m *Machine) Preview(p *Plan) *Assignment { return build(m.committed, m.committed.Members, p) }

// take reports why this member cannot take a plan, "" if it can.
func (m *Machine) take(p *Plan) string {
	if m.cfg.Take == nil || p.Stamp() == m.plan.Stamp() {
		return ""
	}
	if err := m.cfg.Take(p); err != nil {
		return err.Error()
	}
	return ""
}

// dealt is the plan that the next epoch should have: the latest known that nobody refused.
// What was promised counts, for somebody may have committed it.
func (m *Machine) dealt() *Plan {
	best := m.plan
	better := func(p *Plan) {
		if p != nil && p.newer(best) && m.refused[p.Stamp()] == "" && m.take(p) == "" {
			best = p
		}
	}
	if m.prepared != nil {
		better(m.prepared.Plan)
	}
	if m.later != nil {
		better(m.later.Plan)
	}
	better(m.asked)
	if !m.brought {
		return best
	}
	for _, p := range m.alive {
		if w, ok := m.words[p.Priority]; ok && w.from == p {
			better(w.Plan)
		}
	}
	return best
}

// beginsAnew takes over, without a promise, the plan that a proposal brings to a member in
// no view which has to begin anew for it. It must be in force at the proposer: what is
// only proposed may come to nothing.
func (m *Machine) beginsAnew(from Peer, p *Plan) bool {
	if m.cfg.Anew == nil || m.committed != nil || !p.newer(m.plan) || m.take(p) != "" || !m.cfg.Anew(p) {
		return false
	}
	w, spoke := m.words[from.Priority]
	spoke = spoke && w.from == from
	inForce := spoke && w.View != (Epoch{}) && w.Stamp == p.Stamp()
	if inForce {
		m.plan = p
	}
	return inForce || !spoke // it will say what is in force, and propose again
}

// misfit tells why a live member is left out under a plan, "" if it need not be.
func (m *Machine) misfit(p Peer, plan *Plan) string {
	if len(m.unfit) > 0 {
		if u, ok := m.unfit[p]; ok && u.plan == plan.Stamp() {
			return u.reason
		}
	}
	if !m.brought {
		return ""
	}
	if w, ok := m.words[p.Priority]; ok && w.from == p && w.Plan != nil && w.Stamp.Above(plan.Stamp()) {
		if reason := m.refused[w.Stamp]; reason != "" {
			return fmt.Sprintf("brings version %d of the configuration: %s", w.Stamp.Version, reason)
		}
		return fmt.Sprintf("brings version %d of the configuration: %s", w.Stamp.Version, m.take(w.Plan))
	}
	return ""
}

// onRefusal notes that a member cannot take the plan of the proposal under way: a newcomer
// stays out, and for a member of the view the plan is withdrawn.
func (m *Machine) onRefusal(from Peer, reason string) {
	plan := m.proposal.assignment.Plan
	if m.committed != nil && m.committed.has(from) && plan.Stamp() != m.committed.Plan.Stamp() {
		m.refused[plan.Stamp()] = from.Name + ": " + reason
		m.event("config", "configuration %d is withdrawn: %s cannot take it: %s", plan.Version, from.Name, reason)
		if m.asked == plan {
			m.asked = nil
		}
		return
	}
	m.unfit[from] = unfit{plan.Stamp(), reason}
	m.event("refused", "%s cannot take configuration %d: %s", from.Name, plan.Version, reason)
}

// adopt makes the plan of a commit the one in force.
func (m *Machine) adopt(p *Plan) {
	m.plan = p
	if !p.clients() { // nobody could be unknown to this member
		m.self.Newcomer = false
	}
	clear(m.refused)
	if m.asked != nil && !m.asked.newer(p) {
		m.asked = nil
	}
}
