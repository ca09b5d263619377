package converge

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opennlb/opennlb/portrules"
)

// simClasses are the kinds of packets that rules can tell apart; the last is one that no
// rule ever covers. Invariants are about classes and clients, whatever rule they fall under.
const simClasses = 5

// simRules cover one class each.
var simRules = []Rule{
	{Name: "r0", Match: "0", Hash: "a", Mode: portrules.Multiple},
	{Name: "r1", Match: "1", Hash: "a", Mode: portrules.Single},
	{Name: "r2", Match: "2", Hash: "a", Mode: portrules.Multiple, Clients: true},
	{Name: "r3", Match: "3", Hash: "a", Mode: portrules.Single, Keep: true},
}

// planOf is a plan that was never agreed on.
func planOf(rules ...Rule) *Plan { return &Plan{Digest: "d", Dampen: true, Rules: rules} }

// simLayout is where the packets of each class go under a plan.
type simLayout struct {
	slot [simClasses]int
	mix  [simClasses]int // a client's bucket is its number, changed by this
}

func layoutOf(p *Plan) *simLayout {
	l := &simLayout{}
	for c := range l.slot {
		l.slot[c] = len(p.Rules)
	}
	for i, r := range p.Rules {
		for _, c := range strings.Split(r.Match, ",") {
			l.slot[c[0]-'0'] = i
			if r.Hash != "a" || strings.HasSuffix(r.Name, "b") {
				l.mix[c[0]-'0'] = 21
			}
		}
	}
	return l
}

func (s *sim) layout(p *Plan) *simLayout {
	l, ok := s.layouts[p]
	if !ok {
		l = layoutOf(p)
		s.layouts[p] = l
	}
	return l
}

// newPlan is the next version, with some rules added, removed, joined or changed.
func (s *sim) newPlan(version uint64) *Plan {
	rules := slices.Clone(simRules)
	for i := range rules {
		if s.rng.IntN(4) == 0 {
			rules[i].Hash = "b"
			if s.fault != nil && s.fault.blind {
				rules[i].Hash, rules[i].Name = "a", rules[i].Name+"b"
			}
		}
		if s.rng.IntN(8) == 0 {
			rules[i].Mode = portrules.Mode(s.rng.IntN(3))
		}
	}
	s.rng.Shuffle(len(rules), func(i, j int) { rules[i], rules[j] = rules[j], rules[i] })
	if s.rng.IntN(4) == 0 {
		rules[0].Match += "," + rules[1].Match
		rules = slices.Delete(rules, 1, 2)
	}
	if s.rng.IntN(3) == 0 {
		rules = slices.Delete(rules, 0, 1)
	}
	s.plans++
	return &Plan{Version: version, Digest: fmt.Sprintf("plan %d", s.plans), Rules: rules, Majority: s.majority, Dampen: true}
}

// apply is an administrator who changes the configuration; the member that he asks
// passes it to the coordinator.
func (s *sim) apply(n *node) {
	p := n.m.Coordinator().Priority
	if p == 0 || !s.nodes[p-1].up || s.nodes[p-1].frozen || !s.reaches(n, s.nodes[p-1]) {
		return
	}
	c := s.nodes[p-1]
	plan := s.newPlan(c.m.Plan().Version + 1)
	s.step(c, func(now time.Time) Output {
		out, err := c.m.SetPlan(now, plan)
		s.note(c, "is told %s: %v", plan.Digest, err)
		return out
	})
}

// take refuses some plans at some members of a view, until they are in force anywhere:
// others have them then.
func (s *sim) take(n *node) func(*Plan) error {
	return func(p *Plan) error {
		if n.m == nil || n.m.committed == nil || s.inForce[p.Digest] || (int(n.id)+len(p.Digest)+int(p.Digest[len(p.Digest)-1]))%7 != 0 {
			return nil
		}
		return fmt.Errorf("n%d does not like %s", n.id, p.Digest)
	}
}

// save keeps a plan for the member's next life, as its disk does after a while.
func (s *sim) save(n *node, p *Plan) {
	life := n.life
	s.after(s.jitter(simTick), func() {
		if n.up && n.life == life && (n.saved == nil || p.newer(n.saved)) {
			n.saved = p
		}
	})
}
