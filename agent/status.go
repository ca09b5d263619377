package agent

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/converge"
	"github.com/opennlb/opennlb/membership"
	"github.com/opennlb/opennlb/nlbhash"
	"github.com/opennlb/opennlb/portrules"
)

type peer = membership.Peer

// backend is the loop as control sees it.
type backend struct{ l *loop }

// Events implements control.Backend.
func (b backend) Events(after uint64) ([]control.Event, <-chan struct{}) {
	return b.l.events.After(after)
}

// Status implements control.Backend.
func (b backend) Status(ctx context.Context) (s control.Status, err error) {
	var names map[uint16]string
	err = b.l.do(ctx, func() error {
		s, names = b.l.status(), b.l.ruleNames()
		return nil
	})
	if err != nil {
		return s, err
	}
	counters, err := b.l.engine.Counters() // of the data plane, outside the loop
	if err != nil {
		return s, err
	}
	for _, c := range counters {
		s.Dataplane.Counters = append(s.Dataplane.Counters, control.Counter{Rule: names[c.Rule], Reason: c.Reason.String(), Packets: c.Packets})
	}
	return s, nil
}

// ruleNames are the names of the rules by ID; what no rule covers has none.
func (l *loop) ruleNames() map[uint16]string {
	names := make(map[uint16]string)
	for _, r := range l.cluster.Rules {
		names[r.ID] = r.Name
	}
	return names
}

func (l *loop) status() control.Status {
	s := control.Status{
		Cluster:    l.cluster.Name,
		Mode:       string(l.cluster.Mode),
		ClusterMAC: l.id.clusterMAC.String(),
		VIPs:       l.cluster.VIPs,
		Config:     l.cluster.plan.Version,
		Converged:  l.converged(),
		Self:       l.cfg.Member.Name,
		Version:    l.version,
		Lease:      l.machine.Serving(),
		Detection:  l.timing.preset,
		LeaseTime:  control.Duration(l.timing.lease),
		Dataplane:  control.Dataplane{Kind: l.engine.Kind(), Counters: []control.Counter{}},
		Members:    l.members(),
		Rules:      []control.Rule{},
		Warnings:   l.warnings(),
	}
	a := l.machine.Committed()
	if a != nil {
		s.Epoch = a.Epoch.N
		s.DefaultHost = nameOf(a, a.Default().Owner[0])
	}
	for i, r := range l.cluster.Rules {
		s.Rules = append(s.Rules, ruleStatus(r, a, i))
	}
	return s
}

func nameOf(a *converge.Assignment, priority uint8) string {
	m, _ := a.Member(priority)
	return m.Name
}

func ruleStatus(r portrules.Rule, a *converge.Assignment, slot int) control.Rule {
	out := control.Rule{
		Name: r.Name, VIP: "all", Protocol: r.Protocol, Ports: portRange(r), Mode: r.Mode, Preempt: !r.Keep, Affinity: r.Affinity,
		Timeout: control.Duration(r.Timeout), Owners: []control.Owner{},
	}
	if r.VIP.IsValid() {
		out.VIP = r.VIP.String()
	}
	if a == nil {
		return out
	}
	table := nlbhash.Table(a.Slot(slot).Owner)
	for p, n := range table.Counts() {
		if p > 0 && n > 0 {
			out.Owners = append(out.Owners, control.Owner{Member: nameOf(a, uint8(p)), Buckets: n})
		}
	}
	return out
}

// members lists everyone ever seen: what the view says, or stopped where it says nothing.
func (l *loop) members() []control.Member {
	a := l.machine.Committed()
	out := []control.Member{}
	held := l.machine.HeldBack()
	for _, p := range l.known {
		m := control.Member{Name: p.Name, Priority: p.Priority, Address: p.Address, State: converge.Stopped.String()}
		m.Alive = slices.Contains(l.peers, p)
		if a != nil {
			if i, ok := a.Member(p.Priority); ok && i.Name == p.Name {
				m.State = i.State.String()
			}
		}
		if p.Name == l.cfg.Member.Name {
			m.State = l.machine.Self().State.String()
		}
		m.Connections, m.Counting = l.connectionsOf(m)
		if m.Alive {
			m.HeldBack = control.Duration(left(held, m.Priority))
		}
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b control.Member) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// left is how long a member is held back, in whole seconds, rounded up.
func left(held []converge.Hold, priority uint8) time.Duration {
	for _, h := range held {
		if h.Priority == priority {
			return (h.Left + time.Second - 1).Truncate(time.Second)
		}
	}
	return 0
}

func (l *loop) warnings() []string {
	out := []string{}
	held := l.machine.HeldBack()
	for _, p := range l.peers {
		i := slices.IndexFunc(held, func(h converge.Hold) bool { return h.Priority == p.Priority })
		if i >= 0 {
			out = append(out, fmt.Sprintf("%s: held back for another %s: it left the cluster %d times without a stop: look for the cause in its log",
				p.Name, left(held, p.Priority), held[i].Departures))
		}
	}
	if !l.linkUp {
		out = append(out, l.cfg.Member.Interface+" has no carrier, so no client is heard: see to the cable and the switch's port")
	}
	if aged := l.agedMAC(); aged != "" {
		out = append(out, aged)
	}
	out = append(out, l.spoilt...)
	if l.machine.Rivalled() {
		out = append(out, "silent: another group of members serves this segment, and membership does not reach it: open TCP and UDP port "+
			fmt.Sprint(l.cfg.Membership.Port)+" between all members")
	}
	if l.machine.Outvoted() {
		out = append(out, "silent: partition: majority, and no more than half of the members are in sight")
	}
	if l.strays != "" {
		out = append(out, l.strays)
	}
	if l.unsaved != "" {
		out = append(out, l.unsaved)
	}
	for _, m := range l.machine.Misfits() {
		out = append(out, m.Name+" is left out: "+m.Reason)
	}
	for _, vip := range l.cluster.VIPs {
		if c, ok := l.foreign[vip]; ok && l.now.wall.Sub(c.seen) < conflictFor {
			out = append(out, c.String())
		}
	}
	if a := l.machine.Committed(); a != nil {
		for i, r := range l.cluster.Rules {
			if r.Mode != portrules.Disabled && a.Slot(i).Owner[0] == 0 {
				out = append(out, fmt.Sprintf("rule %s: nobody answers: %s", r.Name, l.ownerless(a, i)))
			}
		}
		out = append(out, l.serviceWarnings(a)...)
	}
	if a := l.machine.Committed(); a != nil && !l.informed() && l.keep.some && l.now.wall.Sub(l.keep.since) > 2*time.Second {
		out = append(out, fmt.Sprintf("this member takes no part yet in rules that keep clients: %s did not tell its clients: look at its log", strings.Join(l.untold(a), ", ")))
	}
	if n := l.keep.remembered; n > portrules.MaxClients*9/10 {
		out = append(out, fmt.Sprintf("%d clients are remembered, of at most %d: those silent for longest are forgotten, and may move to another member: shorten the timeout of rules, and give services of single UDP packets affinity none", n, portrules.MaxClients))
	}
	if waits := l.rotor.waitsFor(); waits != "" {
		out = append(out, waits)
	}
	if n := l.membership.Stats().WrongKey; n > 0 {
		out = append(out, plural(int(n), "packet")+" from holders of another cluster key: compare membership.key_file on all members")
	}
	if l.membership.Stats().WrongDetection > 0 {
		out = append(out, "a host of this cluster came with another cluster.detection, and was refused until it took over this one's: if nlbctl status does not list it, look for its address in the log")
	}
	return out
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func portRange(r portrules.Rule) string {
	if r.First == r.Last {
		return fmt.Sprint(r.First)
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}
