package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opennlb/opennlb/config"
	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/converge"
	"github.com/opennlb/opennlb/portrules"
)

// draft is a change before anybody has agreed to it.
type draft struct {
	was, next   *cluster
	result      control.ApplyResult
	members     []string // live ones
	coordinator string
	mac         net.HardwareAddr
}

// Apply implements control.Backend.
func (b backend) Apply(ctx context.Context, r control.ApplyRequest) (control.ApplyResult, error) {
	c, err := config.ParseCluster(r.File, []byte(r.YAML))
	if err != nil {
		return control.ApplyResult{}, control.Refuse("%v", err)
	}
	return b.change(ctx, r.Version, r.DryRun, func(now *cluster) (*cluster, error) { return now.successor(*c, b.asker(ctx), r.Note) })
}

// Rollback implements control.Backend.
func (b backend) Rollback(ctx context.Context, r control.RollbackRequest) (control.ApplyResult, error) {
	old, err := b.version(r.Version)
	if err != nil {
		return control.ApplyResult{}, err
	}
	return b.change(ctx, 0, r.DryRun, func(now *cluster) (*cluster, error) {
		return now.successor(old.Cluster, b.asker(ctx), fmt.Sprintf("back to %d", r.Version))
	})
}

// change replaces the configuration of the whole cluster: asks all whether they can take
// it, has the coordinator propose it, and waits until all have it.
func (b backend) change(ctx context.Context, base uint64, dry bool, make func(*cluster) (*cluster, error)) (control.ApplyResult, error) {
	var d draft
	err := b.l.do(ctx, func() (err error) {
		d, err = b.l.draft(base, make)
		return err
	})
	d.result.DryRun = dry
	if err != nil || len(d.result.Changes) == 0 {
		return d.result, err
	}
	if err := b.check(ctx, &d); err != nil || dry {
		return d.result, err
	}
	if err := b.propose(ctx, &d); err != nil {
		return d.result, err
	}
	d.result.Done = true
	d.result.Members = b.await(ctx, d.members, d.next.plan.Stamp())
	return d.result, nil
}

func (l *loop) draft(base uint64, make func(*cluster) (*cluster, error)) (d draft, err error) {
	was, a := l.cluster, l.machine.Committed()
	switch {
	case a == nil:
		return d, &control.Error{Status: 503, Message: l.cfg.Member.Name + " is in no cluster at present: " + l.outside()}
	case base != 0 && base != was.plan.Version:
		return d, conflict409("version %d was to be replaced, but version %d, by %s, is in force: look at it with nlbctl config, and apply again", base, was.plan.Version, was.By)
	}
	next, err := make(was)
	if err != nil {
		return d, err
	}
	d = draft{was: was, next: next, coordinator: l.machine.Coordinator().Name, mac: l.id.clusterMAC}
	if err := fits(l.cfg, &next.Cluster); err != nil {
		return d, control.Refuse("%s cannot take it: %v", l.cfg.Member.Name, err)
	}
	for _, p := range l.peers {
		d.members = append(d.members, p.Name)
	}
	d.result = control.ApplyResult{Version: next.plan.Version, Was: was.plan.Version, Changes: was.Changes(&next.Cluster), Members: []control.Result{}}
	if len(d.result.Changes) == 0 {
		d.result.Version = was.plan.Version
		return d, nil
	}
	d.result.Moves, d.result.Buckets = moves(view{a}, view{l.machine.Preview(next.plan)})
	d.result.Warnings = breaks(was, next)
	return d, nil
}

// breaks warns of what a change does to clients.
func breaks(was, next *cluster) (warnings []string) {
	sameMAC := bytes.Equal(was.mac, next.mac)
	if !sameMAC || was.Detection != next.Detection {
		warnings = append(warnings, "every member begins anew, since the cluster MAC or the detection changes: for some seconds nobody answers; open connections go on")
	}
	if !sameMAC {
		warnings = append(warnings, fmt.Sprintf("the cluster MAC becomes %s: configure switches and static ARP entries for it, see nlbctl switch-config", next.mac))
	}
	for _, vip := range was.VIPs {
		if !slices.Contains(next.VIPs, vip) {
			warnings = append(warnings, fmt.Sprintf("connections to VIP %s end", vip))
		}
	}
	for i := range was.Rules {
		r := &was.Rules[i]
		j := slices.IndexFunc(next.Rules, func(n portrules.Rule) bool { return n.Name == r.Name })
		switch {
		case j < 0:
		case r.Mode != portrules.Disabled && next.Rules[j].Mode == portrules.Disabled:
			warnings = append(warnings, fmt.Sprintf("rule %s: it is disabled, so its connections end", r.Name))
		case planRule(&next.Rules[j]).Hash != planRule(r).Hash:
			warnings = append(warnings, fmt.Sprintf("rule %s: what is hashed changes, so clients may change their member; open connections go on", r.Name))
		}
	}
	return warnings
}

// check makes sure that every member can take a configuration, and that nobody outside has
// a VIP that is new.
func (b backend) check(ctx context.Context, d *draft) error {
	answers, errs := b.askAll(ctx, d.members, question{Plan: d.next.plan})
	var refusals []string
	for i, m := range d.members {
		switch {
		case errs[i] != nil:
			refusals = append(refusals, fmt.Sprintf("%s cannot take it: %v", m, errs[i]))
		case !answers[i].OK:
			refusals = append(refusals, m+" did not say whether it can take it: do all members run the same version of nlbd?")
		}
	}
	added := slices.DeleteFunc(slices.Clone(d.next.VIPs), func(v netip.Addr) bool { return slices.Contains(d.was.VIPs, v) })
	taken, err := foreignOwners(ctx, added, b.l.iface, []net.HardwareAddr{d.mac})
	if err != nil {
		return err
	}
	for _, c := range taken {
		refusals = append(refusals, fmt.Sprintf("VIP %s is in use by %s: remove the address there, or choose another VIP", c.vip, c.mac))
	}
	if len(refusals) > 0 {
		return control.Refuse("nothing was changed: %s", strings.Join(refusals, "; "))
	}
	return nil
}

// canTake is a member's answer to the question whether it could act on a configuration.
func (l *loop) canTake(p *converge.Plan) error {
	c, err := l.catalog.find(p)
	if err != nil {
		return err
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return fmt.Errorf("list own addresses: %w", err)
	}
	for _, vip := range c.VIPs {
		if slices.Contains(l.vips, vip) {
			continue
		}
		if slices.ContainsFunc(own, func(a net.Addr) bool { return holds(a, vip) }) {
			return fmt.Errorf("VIP %s is an address of this host: remove it there", vip)
		}
		if vip.Is6() && ipv6Disabled() {
			return fmt.Errorf("VIP %s: IPv6 is disabled: set sysctl net.ipv6.conf.lo.disable_ipv6 to 0", vip)
		}
	}
	return nil
}

func ipv6Disabled() bool {
	text, err := os.ReadFile("/proc/sys/net/ipv6/conf/lo/disable_ipv6")
	return err != nil || strings.TrimSpace(string(text)) != "0"
}

// propose hands a change to the coordinator, who may be another one by the time it
// arrives.
func (b backend) propose(ctx context.Context, d *draft) error {
	ctx, cancel := context.WithTimeout(ctx, agreeWithin)
	defer cancel()
	for {
		err := b.proposeTo(ctx, d.coordinator, d.next.plan)
		switch {
		case errors.Is(err, converge.ErrConflict):
			return conflict409("nothing was changed: %v: look at it with nlbctl config, and apply again", err)
		case !errors.Is(err, converge.ErrNotCoordinator):
			return err
		}
		select {
		case <-time.After(askAgain):
		case <-ctx.Done():
			return errors.New("nothing was changed: the members are changing their view all the time: try again")
		}
		if err := b.l.do(ctx, func() error { d.coordinator = b.l.machine.Coordinator().Name; return nil }); err != nil {
			return err
		}
	}
}

func (b backend) proposeTo(ctx context.Context, member string, p *converge.Plan) error {
	if member != b.l.cfg.Member.Name {
		return b.handOver(ctx, member, p)
	}
	done := make(chan error, 1)
	if err := b.l.do(ctx, func() error { return b.l.beginChange(p, func(err error) { done <- err }) }); err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// await waits until all members have a configuration on their disks, and tells of each.
func (b backend) await(ctx context.Context, members []string, s converge.Stamp) []control.Result {
	ctx, cancel := context.WithTimeout(ctx, keepWithin)
	defer cancel()
	results := make([]control.Result, len(members))
	var all sync.WaitGroup
	for i, m := range members {
		all.Go(func() {
			results[i] = control.Result{Member: m, OK: true}
			if err := b.awaitOne(ctx, m, s); err != nil {
				results[i] = control.Result{Member: m, Error: err.Error()}
			}
		})
	}
	all.Wait()
	return results
}

func (b backend) awaitOne(ctx context.Context, member string, s converge.Stamp) error {
	for {
		a, err := b.ask(ctx, member, question{Saved: &s})
		if err == nil && a.OK {
			return nil
		}
		select {
		case <-time.After(askAgain):
		case <-ctx.Done():
			if err != nil {
				return fmt.Errorf("%w: it takes over the configuration when it is back", err)
			}
			return errors.New("has not kept it yet: look whether its state_dir has room: nlbctl status there tells")
		}
	}
}

func conflict409(format string, args ...any) error {
	return &control.Error{Status: 409, Message: fmt.Sprintf(format, args...)}
}
