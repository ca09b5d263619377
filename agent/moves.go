package agent

import (
	"slices"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/converge"
	"github.com/opennlb/opennlb/nlbhash"
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
// [control.MaxMoves] of them by rule and members, and all. The loop waits for it, and there may
// be hundreds of rules.
func moves(before, after view) (largest []control.Move, all int) {
	if before.assignment == nil || after.assignment == nil {
		return nil, 0
	}
	type tables struct{ was, is int }
	counted := make(map[tables]*ways) // rules that share both tables are compared once
	rules := append(after.rules(), "")
	for _, r := range before.rules() {
		if !slices.Contains(rules, r) {
			rules = append(rules, r)
		}
	}
	for _, rule := range rules {
		pair := tables{before.table(rule), after.table(rule)}
		w := counted[pair]
		if w == nil {
			was, is := before.owners(pair.was), after.owners(pair.is)
			w = count(&was, &is)
			counted[pair] = w
		}
		for from := range w {
			for to, n := range w[from] {
				if all += n; n == 0 || len(largest) == control.MaxMoves && n <= largest[len(largest)-1].Buckets {
					continue
				}
				// After those as large, so that they stay in the order of the rules.
				i := slices.IndexFunc(largest, func(m control.Move) bool { return m.Buckets < n })
				if i < 0 {
					i = len(largest)
				}
				largest = slices.Insert(largest, i, control.Move{
					Rule: rule, From: nameOf(before.assignment, uint8(from)), To: nameOf(after.assignment, uint8(to)), Buckets: n,
				})
				largest = largest[:min(len(largest), control.MaxMoves)]
			}
		}
	}
	return largest, all
}

// ways is how many buckets went from one member to another, by their priorities; 0 is nobody.
type ways [nlbhash.MaxPriority + 1][nlbhash.MaxPriority + 1]int

func count(was, is *converge.Owners) *ways {
	var w ways
	for b, from := range was {
		if to := is[b]; to != from {
			w[from][to]++
		}
	}
	return &w
}
