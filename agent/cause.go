package agent

import (
	"fmt"
	"slices"
	"strings"

	"github.com/opennlb/opennlb/converge"
)

// maxCauses is how many changes of a view its event names; maxShares of one member's shares.
const (
	maxCauses = 8
	maxShares = 3
)

// cause says what made the members agree anew, as far as the two views differ, and who
// asked for that.
func (l *loop) cause(before, after view) (what, by string) {
	if before.assignment == nil {
		return l.cfg.Member.Name + " entered the cluster", ""
	}
	alive := func(i converge.Info) bool {
		return slices.ContainsFunc(l.peers, func(p peer) bool { return p.Name == i.Name && p.Instance == i.Instance })
	}
	changes := changes(before, after, alive)
	var askers []string
	if p := after.assignment.Plan; p.Stamp() != before.assignment.Plan.Stamp() && p.Stamp() == l.cluster.plan.Stamp() {
		askers = append(askers, l.cluster.By)
	}
	for _, i := range after.assignment.Members {
		was, ok := before.assignment.Member(i.Priority)
		t, asked := l.askers[i.Name]
		if !ok || !asked || was.Instance != i.Instance || was.Version >= t.Version || i.Version < t.Version {
			continue
		}
		if !slices.Contains(askers, t.By) {
			askers = append(askers, t.By)
		}
	}
	if n := len(changes); n > maxCauses {
		changes = append(changes[:maxCauses:maxCauses], fmt.Sprintf("and %d more", n-maxCauses))
	}
	return strings.Join(changes, ", "), strings.Join(askers, ", ")
}

// changes lists what is different in the later of two views.
func changes(before, after view, alive func(converge.Info) bool) (out []string) {
	was, is := before.assignment, after.assignment
	if was.Plan.Stamp() != is.Plan.Stamp() {
		out = append(out, fmt.Sprintf("configuration %d replaced %d", is.Plan.Version, was.Plan.Version))
	}
	for _, i := range was.Members {
		if now, ok := is.Member(i.Priority); !ok || now.Name != i.Name {
			out = append(out, i.Name+" "+departure(i, alive(i)))
		}
	}
	asked := []string{}
	for _, i := range is.Members {
		old, ok := was.Member(i.Priority)
		switch {
		case !ok || old.Name != i.Name:
			out = append(out, i.Name+" joined")
		case old.Instance != i.Instance:
			out = append(out, i.Name+" restarted")
		case old.State != i.State:
			out = append(out, i.Name+" is "+i.State.String())
		default:
			shares := shareChanges(old, i, after.rules())
			if out = append(out, shares...); len(shares) == 0 && old.Version != i.Version {
				asked = append(asked, i.Name+" asked for it")
			}
		}
	}
	if len(out) > 0 {
		return out
	}
	if len(asked) > 0 {
		return asked // it was left with a promise, or stood still for a while
	}
	return []string{"an agreement was completed or repeated"}
}

// departure says how a member went that is not in the view any more.
func departure(i converge.Info, alive bool) string {
	switch {
	case i.State == converge.Stopped || i.State == converge.Suspended:
		return "left"
	case alive:
		return "was left out: it did not answer"
	}
	return "died"
}

// shareChanges says what is different in a member's part in the rules.
func shareChanges(old, now converge.Info, rules []string) (out []string) {
	if old.Newcomer && !now.Newcomer && old.Version != now.Version { // or there are none to know
		out = append(out, now.Name+" knows the clients that stay, and takes part")
	}
	for _, rule := range rules {
		a, b := old.Share(rule), now.Share(rule)
		if a.State != b.State {
			out = append(out, fmt.Sprintf("rule %s is %s at %s", rule, ruleState(b), now.Name))
		}
		if a.Weight != b.Weight {
			out = append(out, fmt.Sprintf("weight of %s for %s %d to %d", now.Name, rule, a.Weight, b.Weight))
		}
		if a.Priority != b.Priority {
			out = append(out, fmt.Sprintf("handling priority of %s for %s %d to %d", now.Name, rule, a.Priority, b.Priority))
		}
	}
	if n := len(out); n > maxShares {
		return []string{fmt.Sprintf("%d weights, priorities and states of rules at %s changed", n, now.Name)}
	}
	return out
}
