package agent

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/converge"
	"github.com/opennlb/opennlb/dataplane"
	"github.com/opennlb/opennlb/portrules"
)

// Clients implements control.Backend.
func (b backend) Clients(ctx context.Context, r control.ClientsRequest) (list control.ClientList, err error) {
	all, err := b.l.engine.Clients() // outside the loop: there may be many
	if err != nil {
		return list, err
	}
	err = b.l.do(ctx, func() error {
		rule := slices.IndexFunc(b.l.cluster.Rules, func(x portrules.Rule) bool { return x.Name == r.Rule })
		if rule < 0 {
			return control.Refuse("no rule is called %s: see nlbctl status", r.Rule)
		}
		list, err = b.l.clientList(rule, all, r.Limit)
		return err
	})
	return list, err
}

// clientList names the member of each client, as far as this one knows.
func (l *loop) clientList(rule int, all []dataplane.Client, limit int) (control.ClientList, error) {
	r, keep := l.cluster.Rules[rule], l.keep.rules[rule]
	list := control.ClientList{Rule: r.Name, Member: l.cfg.Member.Name, Keep: control.Duration(keep)}
	if keep == 0 {
		return list, control.Refuse("rule %s keeps no clients: it has no timeout, and is not of UDP with affinity single or network", r.Name)
	}
	a := l.machine.Committed()
	all = slices.DeleteFunc(all, func(c dataplane.Client) bool { return c.Key.Rule != r.ID || c.Silent >= keep })
	slices.SortFunc(all, func(a, b dataplane.Client) int {
		return cmp.Or(cmp.Compare(a.Silent.Truncate(time.Millisecond), b.Silent.Truncate(time.Millisecond)), a.Addr.Compare(b.Addr))
	})
	list.Total = len(all)
	for _, c := range all[:min(limit, len(all))] {
		out := control.KeptClient{Client: c.Addr.Addr(), Bucket: int(c.Key.Bucket), Silent: control.Duration(c.Silent.Truncate(time.Millisecond))}
		if r.Affinity == portrules.AffinityNone || r.ByFlow() {
			out.Port = c.Addr.Port()
		}
		if a != nil {
			t := a.Slot(rule)
			out.Owner = nameOf(a, t.Owner[out.Bucket])
			out.Member = l.memberOf(a, t, c)
		}
		list.Clients = append(list.Clients, out)
	}
	return list, nil
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
