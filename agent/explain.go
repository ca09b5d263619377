package agent

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/converge"
	"github.com/opennlb/opennlb/portrules"
)

// Explain implements control.Backend.
func (b backend) Explain(ctx context.Context, r control.ExplainRequest) (e control.Explanation, err error) {
	err = b.l.do(ctx, func() error {
		e, err = b.l.explain(r)
		return err
	})
	return e, err
}

// explain decides for the first packet of the flow, as the data plane would, and
// names the member that owns the bucket.
func (l *loop) explain(r control.ExplainRequest) (control.Explanation, error) {
	e := control.Explanation{ExplainRequest: r, Member: l.cfg.Member.Name, Mode: "default host", Affinity: portrules.AffinitySingle.String()}
	if !slices.Contains(l.cfg.Cluster.VIPs, r.VIP) {
		return e, control.Refuse("%s is not a VIP of this cluster: see nlbctl status", r.VIP)
	}
	if r.Client.Is4() != r.VIP.Is4() {
		return e, control.Refuse("%s and %s are not of the same IP version", r.Client, r.VIP)
	}
	a := l.machine.Committed()
	if a == nil {
		return e, fmt.Errorf("this member is in no view yet: try again when nlbctl status shows an epoch")
	}
	e.Epoch = a.Epoch.N
	pkt := portrules.Packet{
		Kind: portrules.IP, Src: r.Client, Dst: r.VIP, SrcPort: r.ClientPort, DstPort: r.Port, SYN: r.Protocol == "tcp",
	}
	rule := -1
	switch r.Protocol {
	case "tcp":
		pkt.Protocol = portrules.ProtoTCP
		rule = l.policy.Lookup(r.VIP, portrules.TCP, r.Port)
	case "udp":
		pkt.Protocol = portrules.ProtoUDP
		rule = l.policy.Lookup(r.VIP, portrules.UDP, r.Port)
	default:
		pkt.Protocol = 1
	}
	d := l.policy.Decide(&pkt, portrules.Env{LeaseOver: !l.machine.Serving()})
	e.Verdict, e.Reason = d.Verdict.String(), d.Reason.String()
	say(&e, "%s is a VIP of cluster %s, epoch %d", r.VIP, l.cfg.Cluster.Name, e.Epoch)

	slot, affinity := len(l.cfg.Cluster.Rules), portrules.AffinitySingle
	if rule < 0 {
		say(&e, "no port rule covers %s: the default host answers", target(r))
	} else {
		found := l.cfg.Cluster.Rules[rule]
		slot, affinity = rule, found.Affinity
		e.Rule, e.Mode, e.Affinity = found.Name, found.Mode.String(), affinity.String()
		say(&e, "rule %s covers %s: %s, mode %s, affinity %s", found.Name, target(r), portRange(found), found.Mode, affinity)
		if found.Mode == portrules.Disabled {
			e.Bucket = -1
			say(&e, "mode disabled: every member drops it")
			return e, nil
		}
		if affinity == portrules.AffinityNone && r.ClientPort == 0 {
			return e, control.Refuse("rule %s has affinity none: give the client's port too, as ADDRESS:PORT", found.Name)
		}
	}
	client := netip.AddrPortFrom(r.Client, r.ClientPort)
	key := portrules.AppendAffinityKey(nil, affinity, client)
	e.Key, e.Bucket = hex.EncodeToString(key), l.policy.BucketOf(rule, client)
	say(&e, "the client's key %s hashes to bucket %d of 4096", e.Key, e.Bucket)
	l.explainOwner(&e, a.Slot(slot))
	return e, nil
}

func (l *loop) explainOwner(e *control.Explanation, t *converge.Table) {
	e.OwnerPriority = t.Owner[e.Bucket]
	e.Owner = nameOf(l.machine.Committed(), e.OwnerPriority)
	if e.OwnerPriority == 0 {
		say(e, "nobody owns the bucket: no member is started with a weight above 0")
		return
	}
	say(e, "%s (priority %d) owns bucket %d and answers", e.Owner, e.OwnerPriority, e.Bucket)
	for _, h := range t.Held {
		if h.Buckets.Has(e.Bucket) {
			say(e, "%s keeps connections made before it lost the bucket", nameOf(l.machine.Committed(), h.Priority))
		}
	}
	say(e, "here, on %s: %s (%s)", e.Member, e.Verdict, e.Reason)
}

func say(e *control.Explanation, format string, args ...any) {
	e.Steps = append(e.Steps, fmt.Sprintf(format, args...))
}

func target(r control.ExplainRequest) string {
	if r.Protocol == "icmp" {
		return "icmp"
	}
	return fmt.Sprintf("%s port %d", r.Protocol, r.Port)
}
