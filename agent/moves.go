package agent

import (
	"cmp"
	"slices"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/converge"
)

// view is what the members agreed on, with a nil assignment nothing.
type view struct{ assignment *converge.Assignment }

// rules are the names of the rules that it was made for.
func (v view) rules() []string {
	names := make([]string, len(v.assignment.Plan.Rules))
	for i, r := range v.assignment.Plan.Rules {
		names[i] = r.Name
	}
	return names
}

func (v view) defaultHost() string {
	if v.assignment == nil {
		return ""
	}
	return nameOf(v.assignment, v.assignment.Default().Owner[0])
}

// table is the index of a rule's table, -1 where there is no such rule.
func (v view) table(rule string) int {
	slot := len(v.assignment.Plan.Rules) // "" is what no rule covers
	if rule != "" {
		slot = slices.IndexFunc(v.assignment.Plan.Rules, func(r converge.Rule) bool { return r.Name == rule })
	}
	if slot < 0 {
		return -1
	}
	return v.assignment.SlotTable[slot]
}

// owners are those of a table; nobody owns what is not there.
func (v view) owners(table int) converge.Owners {
	if table < 0 {
		return converge.Owners{}
	}
	return v.assignment.Tables[table].Owner
}

// moves counts the buckets that changed their owner between two views: the largest
// [control.MaxMoves] of them by rule and members, and all.
func moves(before, after view) (largest []control.BucketMove, all int) {
	if before.assignment == nil || after.assignment == nil {
		return nil, 0
	}
	type tables struct{ was, is int }
	type way struct{ from, to uint8 }
	counted := make(map[tables]map[way]int) // rules that share both tables are compared once
	rules := append(after.rules(), "")
	for _, r := range before.rules() {
		if !slices.Contains(rules, r) {
			rules = append(rules, r)
		}
	}
	for _, rule := range rules {
		pair := tables{before.table(rule), after.table(rule)}
		ways, ok := counted[pair]
		if !ok {
			ways = make(map[way]int)
			was, is := before.owners(pair.was), after.owners(pair.is)
			for b, from := range was {
				if is[b] != from {
					ways[way{from, is[b]}]++
				}
			}
			counted[pair] = ways
		}
		for w, n := range ways {
			largest = append(largest, control.BucketMove{
				Rule: rule, From: nameOf(before.assignment, w.from), To: nameOf(after.assignment, w.to), Buckets: n,
			})
			all += n
		}
	}
	slices.SortFunc(largest, func(a, b control.BucketMove) int {
		return cmp.Or(cmp.Compare(b.Buckets, a.Buckets), cmp.Compare(slices.Index(rules, a.Rule), slices.Index(rules, b.Rule)),
			cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
	})
	return slices.Clip(largest[:min(len(largest), control.MaxMoves)]), all
}
