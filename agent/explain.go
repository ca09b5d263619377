package agent

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/converge"
	"github.com/opennlb/opennlb/dataplane"
	"github.com/opennlb/opennlb/nlbhash"
	"github.com/opennlb/opennlb/portrules"
)

// Explain implements control.Backend. What each member does, and whether a service
// listens there, it says itself: only it knows its lease, tables and sockets.
func (b backend) Explain(ctx context.Context, r control.ExplainRequest) (e control.Explanation, err error) {
	err = b.l.do(ctx, func() error {
		e, err = b.l.explain(r)
		return err
	})
	if err != nil || e.Conclusion != "" {
		return e, err
	}
	names := make([]string, len(e.Members))
	for i := range e.Members {
		names[i] = e.Members[i].Member
	}
	answers, errs := b.askAll(ctx, names, question{Packet: &r})
	for i := range e.Members {
		switch p := answers[i].Part; {
		case errs[i] != nil:
			e.Members[i].Error = errs[i].Error()
		case p != nil && p.Member == names[i]:
			e.Members[i] = *p
		}
	}
	conclude(&e)
	return e, nil
}

// explain goes through docs/DECISION.md for the first packet of the flow, up to the
// owner of the bucket. It concludes where no member has to be asked.
func (l *loop) explain(r control.ExplainRequest) (control.Explanation, error) {
	e := control.Explanation{ExplainRequest: r, Member: l.cfg.Member.Name, Mode: "default host", Affinity: portrules.AffinitySingle.String(), Bucket: -1}
	if !slices.Contains(l.cluster.VIPs, r.VIP) {
		return e, control.Refuse("%s is not a VIP of this cluster: frames to it pass untouched; its VIPs are %v", r.VIP, l.cluster.VIPs)
	}
	say(&e, "%s is a VIP of cluster %s (%s mode), so it is decided who answers", r.VIP, l.cluster.Name, l.cluster.Mode)
	here := l.part(r)
	e.Verdict, e.Reason = here.New.Verdict, here.New.Reason
	a := l.machine.Committed()
	if a == nil {
		e.Conclusion = l.cfg.Member.Name + " answers nothing: " + l.outside()
		return e, nil
	}
	e.Epoch = a.Epoch.N
	slot := l.explainRule(&e, a)
	if e.Conclusion != "" {
		return e, nil
	}
	if e.Affinity == portrules.AffinityNone.String() && r.ClientPort == 0 && r.Protocol != "icmp" {
		return e, control.Refuse("rule %s has affinity none: give the client's port too, as ADDRESS:PORT", e.Rule)
	}
	l.explainKey(&e, slot)
	l.explainOwner(&e, a, slot)
	l.explainClient(&e, a, slot)
	return e, nil
}

// outside says why this member is in no view.
func (l *loop) outside() string {
	switch {
	case l.machine.Rivalled():
		return "another group of members serves this segment; ask a member of that one"
	case l.machine.Outvoted():
		return "partition: majority, and no more than half of the members are in sight"
	}
	return "it is in no view yet; try again when nlbctl status shows an epoch"
}

// explainRule finds the rule and returns its slot.
func (l *loop) explainRule(e *control.Explanation, a *converge.Assignment) (slot int) {
	rules, protocol := l.cluster.Rules, transportOf(e.Protocol)
	if protocol == 0 {
		say(e, "icmp has no ports: the default host answers, which is the started member with the lowest priority number")
		return len(rules)
	}
	rule := l.policy.Lookup(e.VIP, protocol, e.Port)
	if rule < 0 {
		say(e, "no rule covers %s: it goes to the default host, which is the started member with the lowest priority number", target(e.ExplainRequest))
		return len(rules)
	}
	found := rules[rule]
	e.Rule, e.Mode, e.Affinity = found.Name, found.Mode.String(), found.Affinity.String()
	vip := "all VIPs"
	if found.VIP.IsValid() {
		vip = found.VIP.String()
	}
	say(e, "rule %s covers it: %s ports %s of %s; rules do not overlap, so it is the only one", found.Name, found.Protocol, portRange(found), vip)
	switch found.Mode {
	case portrules.Disabled:
		say(e, "mode disabled: every member drops it")
		e.Conclusion = fmt.Sprintf("Nobody answers: rule %s is disabled.", found.Name)
		if found.Reject {
			say(e, "reject: the default host tells the client so, by a reset or as port unreachable")
			e.Conclusion = fmt.Sprintf("Nobody serves it: rule %s is disabled, and the default host rejects.", found.Name)
		}
	case portrules.Single:
		text := "mode single: the started member with the best handling priority takes everything: "
		if found.Keep {
			text = "mode single, preempt false: its owner stays while it is started, else the best handling priority takes everything: "
		}
		say(e, "%s%s", text, each(a, func(s converge.Share) uint8 { return s.Priority }, found.Name))
	case portrules.Multiple:
		say(e, "mode multiple: the started members share the buckets by weight: %s", each(a, func(s converge.Share) uint8 { return s.Weight }, found.Name))
	}
	return rule
}

// each lists a figure of all started members, and who takes no new clients of the rule.
func each(a *converge.Assignment, figure func(converge.Share) uint8, rule string) string {
	var parts []string
	for _, m := range a.Members {
		if m.State != converge.Started {
			continue
		}
		s := m.Share(rule)
		part := fmt.Sprintf("%s %d", m.Name, figure(s))
		if s.State != converge.Started {
			part += " (rule " + ruleState(s) + ")"
		}
		parts = append(parts, part)
	}
	if len(parts) == 0 {
		return "none is started"
	}
	return strings.Join(parts, ", ")
}

func (l *loop) explainKey(e *control.Explanation, slot int) {
	rule, affinity := slot, portrules.AffinitySingle
	if slot == len(l.cluster.Rules) {
		rule = -1
	} else {
		affinity = l.cluster.Rules[slot].Affinity
	}
	client := netip.AddrPortFrom(e.Client, e.ClientPort)
	key := l.policy.AppendKey(nil, rule, client)
	e.Key, e.Bucket = hex.EncodeToString(key), l.policy.BucketOf(rule, client)
	say(e, "affinity %s: hashed is %s, in hexadecimal %s", e.Affinity, keyWords(key, affinity, client), e.Key)
	say(e, "SipHash-1-3 of it, with the cluster's hash key, ends in bucket %d of %d", e.Bucket, nlbhash.Buckets)
}

// keyWords says what the bytes of a key are.
func keyWords(key []byte, affinity portrules.Affinity, client netip.AddrPort) string {
	switch affinity {
	case portrules.AffinityNone:
		return fmt.Sprintf("the client's address %s with its port %d", client.Addr(), client.Port())
	case portrules.AffinityNetwork:
		network, _ := netip.AddrFromSlice(key)
		return fmt.Sprintf("the client's network %s, which is its address without the host's bits", network)
	}
	return fmt.Sprintf("the client's address %s", client.Addr())
}

func (l *loop) explainOwner(e *control.Explanation, a *converge.Assignment, slot int) {
	t := a.Slot(slot)
	e.OwnerPriority = t.Owner[e.Bucket]
	e.Owner = nameOf(a, e.OwnerPriority)
	if e.OwnerPriority == 0 {
		e.Conclusion = "Nobody answers: " + l.ownerless(a, slot) + "."
		say(e, "no member owns the bucket")
		return
	}
	say(e, "table %d of epoch %d, which also serves %s, gives the bucket to %s (priority %d), as it does %d of %d",
		a.SlotTable[slot], e.Epoch, l.sharing(a, slot), e.Owner, e.OwnerPriority, (*nlbhash.Table)(&t.Owner).Counts()[e.OwnerPriority], nlbhash.Buckets)
	for _, m := range a.Members {
		e.Members = append(e.Members, control.Part{Member: m.Name, Priority: m.Priority, State: m.State.String()})
	}
}

// explainClient says with whom the client stays, where the rule keeps clients.
func (l *loop) explainClient(e *control.Explanation, a *converge.Assignment, slot int) {
	if slot == len(l.cluster.Rules) {
		return
	}
	keep := l.cluster.Rules[slot].KeepClients(transportOf(e.Protocol))
	pkt := packetOf(e.ExplainRequest)
	key := l.policy.ClientKey(slot, pkt.Protocol, pkt.Flow())
	c, ok := l.remembered(key)
	if !ok || c.Silent >= keep {
		if keep > 0 && l.cluster.Rules[slot].ByFlow() && e.ClientPort == 0 {
			say(e, "a new flow is meant; each flow stays with its member until it was silent for %s: give the client's port, as ADDRESS:PORT, to ask for one", keep)
		}
		return
	}
	stays := cmp.Or(l.memberOf(a, a.Slot(slot), dataplane.Client{Key: key, Client: c}), "its member")
	say(e, "the client was heard %s ago and stays with %s until it was silent for %s", c.Silent.Truncate(time.Millisecond), stays, keep)
}

// remembered is what this member's data plane knows of a client, see portrules.Env.
func (l *loop) remembered(key portrules.ClientKey) (portrules.Client, bool) {
	if !l.keep.some {
		return portrules.Client{}, false
	}
	c, ok, err := l.engine.Client(key)
	if err != nil {
		l.log.Warn("look a client up", "error", err)
	}
	return c, ok
}

// sharing names what else is dealt by the table of a slot.
func (l *loop) sharing(a *converge.Assignment, slot int) string {
	var names []string
	for i, t := range a.SlotTable {
		switch {
		case i == slot || t != a.SlotTable[slot]:
		case i < len(l.cluster.Rules):
			names = append(names, "rule "+l.cluster.Rules[i].Name)
		default:
			names = append(names, "the default host")
		}
	}
	if len(names) == 0 {
		return "nothing else"
	}
	return strings.Join(names, ", ")
}

// ownerless says why nobody owns the buckets of a slot.
func (l *loop) ownerless(a *converge.Assignment, slot int) string {
	started := slices.DeleteFunc(slices.Clone(a.Members), func(m converge.Info) bool { return m.State != converge.Started })
	switch {
	case len(started) == 0:
		return "no member is started"
	case slot == len(l.cluster.Rules):
		return "no member is the default host"
	}
	rule, out := l.cluster.Rules[slot].Name, 0
	for _, m := range started {
		if m.Share(rule).State != converge.Started {
			out++
		}
	}
	switch out {
	case 0:
		return fmt.Sprintf("rule %s has weight 0 on every started member", rule)
	case len(started):
		return fmt.Sprintf("rule %s is draining or disabled on every started member: nlbctl rule enable %[1]s --all", rule)
	}
	return fmt.Sprintf("rule %s is draining, disabled or of weight 0 on every started member: see nlbctl queryport", rule)
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
