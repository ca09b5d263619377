package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/opennlb/opennlb/config"
	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/converge"
	"github.com/opennlb/opennlb/portrules"
)

// SetRule implements control.Backend.
func (b backend) SetRule(ctx context.Context, r control.RuleRequest) ([]control.Result, error) {
	err := b.l.do(ctx, func() error {
		i := slices.IndexFunc(b.l.cluster.Rules, func(x portrules.Rule) bool { return x.Name == r.Rule })
		if i < 0 {
			return control.Refuse("no rule is called %s: see nlbctl status", r.Rule)
		}
		return fitsMode(r.Action, &b.l.cluster.Rules[i])
	})
	if err != nil {
		return nil, err
	}
	members, all := r.Members, r.All
	r.Members, r.All = nil, false
	return b.command(ctx, members, all, command{Rule: &r, By: b.asker(ctx)})
}

// fitsMode refuses what has no effect.
func fitsMode(action string, r *portrules.Rule) error {
	switch {
	case r.Mode == portrules.Disabled:
		return control.Refuse("rule %s is disabled for the whole cluster: change its mode with nlbctl apply", r.Name)
	case action == control.Weight && r.Mode != portrules.Multiple:
		return control.Refuse("rule %s is of mode %s, which has no weights: give handling priorities with nlbctl priority", r.Name, r.Mode)
	case action == control.Handling && r.Mode != portrules.Single:
		return control.Refuse("rule %s is of mode %s, which has no handling priorities: give weights with nlbctl weight", r.Name, r.Mode)
	}
	return nil
}

// setRule changes this member's part in a rule as an administrator asked.
func (l *loop) setRule(r control.RuleRequest, by string) (done changed, kept <-chan error, err error) {
	if l.leaving {
		return done, nil, errors.New("nlbd is stopping")
	}
	if err := r.Check(); err != nil {
		return done, nil, err
	}
	if !slices.ContainsFunc(l.cluster.Rules, func(x portrules.Rule) bool { return x.Name == r.Rule }) {
		return done, nil, fmt.Errorf("knows no rule %s", r.Rule)
	}
	was := l.machine.Self().Share(r.Rule)
	next := was
	switch r.Action {
	case control.Enable:
		next.State = converge.Started
	case control.Drain:
		next.State = converge.Draining
	case control.Disable:
		next.State = converge.Stopped
	case control.Weight:
		next.Weight = r.Value
	case control.Handling:
		next.Priority = r.Value
	}
	done = changed{shareWords(r.Action, was), shareWords(r.Action, next)}
	l.asked = maps.Clone(l.asked)
	if l.asked == nil {
		l.asked = make(map[string]converge.Share)
	}
	l.asked[r.Rule] = next
	l.eventBy(converge.Event{
		Kind: "command", Text: fmt.Sprintf("rule %s: %s instead of %s, by an administrator", r.Rule, done.New, done.Old), Member: l.cfg.Member.Name,
	}, by)
	l.tellAsker(next != was, by)
	if err := l.apply(l.machine.SetShares(l.now.wall, l.want())); err != nil {
		return done, nil, err
	}
	return done, l.retain(l.machine.Self().State), nil
}

func shareWords(action string, s converge.Share) string {
	switch action {
	case control.Weight:
		return fmt.Sprintf("weight %d", s.Weight)
	case control.Handling:
		return fmt.Sprintf("priority %d", s.Priority)
	}
	return ruleState(s)
}

// ruleState is the state of a rule at one member, in the words of the verbs.
func ruleState(s converge.Share) string {
	switch s.State {
	case converge.Started:
		return "enabled"
	case converge.Draining:
		return "draining"
	}
	return "disabled"
}

// want is this member's part in the rules: as its file has it, or as was asked for since.
func (l *loop) want() map[string]converge.Share {
	all := shares(&l.cfg.Member)
	maps.Copy(all, l.asked)
	return all
}

// statesOf returns what is left of asked when the file's weights and priorities count: the
// states of rules that are not enabled.
func statesOf(asked map[string]converge.Share, m *config.Member) map[string]converge.Share {
	file, left := shares(m), make(map[string]converge.Share)
	for rule, s := range asked {
		if s.State == converge.Started {
			continue
		}
		share, ok := file[rule]
		if !ok {
			share = converge.DefaultShare(m.Priority)
		}
		share.State = s.State
		left[rule] = share
	}
	return left
}

// retain keeps what administrators asked for, if the next start is to know it.
func (l *loop) retain(s converge.State) <-chan error {
	return l.keeper.keep(retained{State: &s, Shares: l.asked})
}
