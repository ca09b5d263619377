package agent

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/converge"
	"github.com/opennlb/opennlb/dataplane"
	"github.com/opennlb/opennlb/portrules"
)

// Clients implements control.Backend.
func (b backend) Clients(ctx context.Context, r control.ClientsRequest) (list control.ClientList, err error) {
	var rule portrules.Rule
	var keep time.Duration
	err = b.l.do(ctx, func() error {
		rule, keep, err = b.l.keepingRule(r.Rule)
		return err
	})
	if err != nil {
		return list, err
	}
	all, err := b.clientsOf(rule.ID, keep)
	if err != nil {
		return list, err
	}
	err = b.l.do(ctx, func() error {
		now, keep, err := b.l.keepingRule(r.Rule)
		if err == nil && now.ID != rule.ID {
			err = &control.Error{Status: 503, Message: fmt.Sprintf("rule %s was changed just now: ask again", r.Rule)}
		}
		if err == nil {
			list = b.l.clientList(now, keep, all, r.Limit)
		}
		return err
	})
	return list, err
}

// keepingRule finds a rule that keeps clients, and how long.
func (l *loop) keepingRule(name string) (portrules.Rule, time.Duration, error) {
	i := slices.IndexFunc(l.cluster.Rules, func(x portrules.Rule) bool { return x.Name == name })
	if i < 0 {
		return portrules.Rule{}, 0, control.Refuse("no rule is called %s: see nlbctl status", name)
	}
	if l.keep.rules[i] == 0 {
		return portrules.Rule{}, 0, control.Refuse("rule %s keeps no clients: it has no timeout, and is not of UDP with affinity single or network", name)
	}
	return l.cluster.Rules[i], l.keep.rules[i], nil
}

// clientsOf reads the clients that a rule keeps, the latest first. There may be tens of thousands:
// not for the loop, and for one caller at a time, who else could take all CPUs from it.
func (b backend) clientsOf(id uint16, keep time.Duration) ([]dataplane.Client, error) {
	b.l.listing.Lock()
	defer b.l.listing.Unlock()
	all, err := b.l.engine.Clients()
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(c dataplane.Client) bool { return c.Key.Rule != id || c.Silent >= keep })
	slices.SortFunc(all, func(a, b dataplane.Client) int {
		return cmp.Or(cmp.Compare(a.Silent.Truncate(time.Millisecond), b.Silent.Truncate(time.Millisecond)), a.Addr.Compare(b.Addr))
	})
	return all, nil
}

// clientList names the member of each client, as far as this one knows.
func (l *loop) clientList(r portrules.Rule, keep time.Duration, all []dataplane.Client, limit int) control.ClientList {
	list := control.ClientList{Rule: r.Name, Member: l.cfg.Member.Name, Keep: control.Duration(keep), Total: len(all)}
	a, slot := l.machine.Committed(), l.keep.slot[r.ID]
	for _, c := range all[:min(limit, len(all))] {
		out := control.KeptClient{Client: c.Addr.Addr(), Bucket: int(c.Key.Bucket), Silent: control.Duration(c.Silent.Truncate(time.Millisecond))}
		if r.Affinity == portrules.AffinityNone || r.ByFlow() {
			out.Port = c.Addr.Port()
		}
		if a != nil {
			t := a.Slot(slot)
			out.Owner = nameOf(a, t.Owner[out.Bucket])
			out.Member = l.memberOf(a, t, c)
		}
		list.Clients = append(list.Clients, out)
	}
	return list
}

// memberOf is who answers a client: this member, or who claims it, or the owner of its
// bucket. "": the owner or one of those who keep clients there, who claim them to the
// owner only.
func (l *loop) memberOf(a *converge.Assignment, t *converge.Table, c dataplane.Client) string {
	bucket := int(c.Key.Bucket)
	if c.Mine {
		return l.cfg.Member.Name
	}
	owner := t.Owner[bucket] == l.cfg.Member.Priority
	for _, h := range t.Held {
		if h.Priority == l.cfg.Member.Priority || !h.Buckets.Has(bucket) || owner && !l.mayClaim(a, h.Priority, c.Key) {
			continue
		}
		if name := nameOf(a, h.Priority); owner && l.keep.claims[name].complete() {
			return name
		}
		return ""
	}
	return nameOf(a, t.Owner[bucket])
}
