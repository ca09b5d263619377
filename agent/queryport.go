package agent

import (
	"context"
	"fmt"
	"math/bits"
	"slices"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/converge"
	"github.com/opennlb/opennlb/nlbhash"
	"github.com/opennlb/opennlb/portrules"
)

// QueryPort implements control.Backend. The counters are those of all live members.
func (b backend) QueryPort(ctx context.Context, r control.PortRequest) (p control.Port, err error) {
	var names []string
	err = b.l.do(ctx, func() error {
		if p, err = b.l.queryPort(r); err != nil {
			return err
		}
		for _, m := range b.l.members() {
			if m.Alive {
				names = append(names, m.Name)
				continue
			}
			p.Counters = append(p.Counters, control.PortCounter{Member: m.Name, Error: "is not reachable"})
		}
		return nil
	})
	if err != nil {
		return p, err
	}
	rule := ""
	if p.Rule != nil {
		rule = p.Rule.Name
	}
	answers, errs := b.askAll(ctx, names, question{Counters: &rule})
	var counters []control.PortCounter
	for i, name := range names {
		c := control.PortCounter{Member: name, Counts: map[string]uint64{}}
		if errs[i] != nil {
			c.Error = errs[i].Error()
		}
		for _, n := range answers[i].Counters {
			c.Counts[n.Reason] += n.Packets
		}
		counters = append(counters, c)
	}
	p.Counters = append(counters, p.Counters...)
	return p, nil
}

func (l *loop) queryPort(r control.PortRequest) (control.Port, error) {
	p := control.Port{PortRequest: r}
	if !slices.Contains(l.cluster.VIPs, r.VIP) {
		return p, control.Refuse("%s is not a VIP of this cluster: its VIPs are %v", r.VIP, l.cluster.VIPs)
	}
	rules, a := l.cluster.Rules, l.machine.Committed()
	slot := len(rules)
	if i := (&portrules.Policy{Rules: rules}).Lookup(r.VIP, transportOf(r.Protocol), r.Port); i >= 0 {
		slot = i
		rule := ruleStatus(rules[i], a, i)
		p.Rule = &rule
	}
	if a == nil {
		p.Warnings = append(p.Warnings, l.cfg.Member.Name+" answers nothing: "+l.outside())
		return p, nil
	}
	p.Epoch = a.Epoch.N
	t := a.Slot(slot)
	counts := (*nlbhash.Table)(&t.Owner).Counts()
	for _, m := range a.Members {
		s := control.PortShare{Member: m.Name, State: m.State.String(), Priority: m.Priority, Buckets: counts[m.Priority]}
		if slot < len(rules) {
			share := m.Share(rules[slot].Name)
			s.Weight, s.Priority, s.RuleState = share.Weight, share.Priority, ruleState(share)
		}
		s.Percent = 100 * float64(s.Buckets) / nlbhash.Buckets
		s.Keeps = keeps(t, m.Priority)
		p.Shares = append(p.Shares, s)
	}
	switch {
	case p.Rule != nil && rules[slot].Reject:
		p.Warnings = append(p.Warnings, fmt.Sprintf("rule %s is disabled: the default host rejects its traffic", p.Rule.Name))
	case p.Rule != nil && p.Rule.Mode == portrules.Disabled:
		p.Warnings = append(p.Warnings, fmt.Sprintf("rule %s is disabled: every member drops its traffic", p.Rule.Name))
	case t.Owner[0] == 0:
		p.Warnings = append(p.Warnings, "nobody answers: "+l.ownerless(a, slot))
	}
	return p, nil
}

// keeps counts the buckets in which a member only has connections from before.
func keeps(t *converge.Table, priority uint8) (n int) {
	for i := range t.Held {
		if t.Held[i].Priority != priority {
			continue
		}
		for _, word := range t.Held[i].Buckets {
			n += bits.OnesCount64(uint64(word))
		}
	}
	return n
}
