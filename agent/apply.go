package agent

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/opennlb/opennlb/config"
	"github.com/opennlb/opennlb/converge"
	"github.com/opennlb/opennlb/dataplane"
	"github.com/opennlb/opennlb/membership"
	"github.com/opennlb/opennlb/portrules"
)

// apply gives the machine one input and carries out what it answers: install
// first, so that nothing is promised that the data plane does not keep.
func (l *loop) apply(out converge.Output) error {
	if err := l.followPlan(); err != nil {
		return err
	}
	if l.beginsAnew() {
		return errAnew
	}
	if err := l.followView(); err != nil {
		return err
	}
	if out.Install != nil {
		if err := l.install(out.Install); err != nil {
			return err
		}
	}
	if err := l.followVIPs(); err != nil {
		return err
	}
	var until dataplane.Instant
	if l.machine.Serving() {
		until = l.now.lease.Add(l.timing.lease)
	}
	if err := l.engine.Renew(until); err != nil {
		return err
	}
	for _, b := range out.Beacons {
		l.sendBeacon(b)
	}
	if !out.Wake.IsZero() {
		l.wake.Reset(time.Until(out.Wake))
	}
	l.sendAll(out.Send)
	l.tell(out.Events)
	l.noticeOwners()
	l.becomeDefault()
	l.rememberEpoch()
	l.concludeChange()
	return nil
}

// install hands the machine's parts to the data plane. The policy made of a part stays
// the same, so that the engine knows it again when it comes into force.
func (l *loop) install(in *converge.Install) error {
	now, err := l.rendered(in.Now)
	if err != nil {
		return err
	}
	next, prepare := rendering{}, (*dataplane.Next)(nil)
	if in.Next != nil {
		if next, err = l.rendered(in.Next); err != nil {
			return err
		}
		prepare = &dataplane.Next{Policy: next.policy, Commit: in.Commit}
	}
	if err := l.engine.Install(now.policy, prepare); err != nil {
		return err
	}
	l.policy, l.renderings, l.installed = now.policy, [2]rendering{now, next}, in
	return nil
}

// rendering is a policy and what it was made of.
type rendering struct {
	part   *converge.Part
	policy *portrules.Policy
}

// rendered makes a policy. It covers every VIP that this host has: one that the data plane
// does not know would be answered by all members.
func (l *loop) rendered(p *converge.Part) (rendering, error) {
	c, err := l.catalog.find(p.Plan)
	if err != nil {
		return rendering{}, fmt.Errorf("configuration %d, which was agreed on: %w", p.Plan.Version, err)
	}
	vips := union(c.VIPs, l.vips)
	for _, r := range l.renderings {
		if r.part == p && slices.Equal(r.policy.VIPs, vips) {
			return r, nil
		}
	}
	return rendering{p, c.policy(p, vips)}, nil
}

// union returns all that are in a, then those of b that are not.
func union(a, b []netip.Addr) []netip.Addr {
	all := slices.Clone(a)
	for _, x := range b {
		if !slices.Contains(all, x) {
			all = append(all, x)
		}
	}
	return all
}

// outrunEvery is how often a member in no view does so.
const outrunEvery = time.Second

func (l *loop) onTick() error {
	l.countConnections()
	l.lookForServices()
	l.lookAtHost()
	l.announceDue()
	l.savePlan()
	if err := l.keepStep(); err != nil {
		return err
	}
	if !l.machine.Serving() && l.now.wall.Sub(l.outrun) >= outrunEvery {
		l.outrun = l.now.wall
		l.membership.Outrun() // who is out may have been set back in time, and must be heard
	}
	err := l.apply(l.machine.Tick(l.now.wall))
	if l.ready != nil && l.converged() {
		l.ready()
		l.ready = nil
	}
	return err
}

func (l *loop) onPeers(peers membership.Snapshot) error {
	l.peers = peers
	list := make([]converge.Peer, len(peers))
	for i, p := range peers {
		l.known[p.Name] = p
		list[i] = converge.Peer{Name: p.Name, Priority: p.Priority, Instance: p.Instance}
	}
	return l.apply(l.machine.Peers(l.now.wall, list))
}

func (l *loop) changeState(s converge.State) error {
	return l.apply(l.machine.SetState(l.now.wall, s))
}

// onReload takes over what may change while running: this member's weights and handling
// priorities. A rule that an administrator has disabled or drains here stays so, for the
// file has no word on that.
func (l *loop) onReload(cfg *config.Config) error {
	if name := l.cfg.Cluster.Name; cfg.Cluster.Name != name { // by which this member tells whose configuration it may take
		l.log.Error("reload: keep the running configuration", "error", fmt.Sprintf(
			"cluster.name is %s, not %s: the name of a cluster cannot change: write %s, or restart nlbd to join another cluster", cfg.Cluster.Name, name, name))
		return nil
	}
	l.cfg.Cluster = cfg.Cluster
	l.compareFile()
	l.event(converge.Event{
		Kind: "config", Member: cfg.Member.Name,
		Text: "reload: weights and handling priorities are taken over; other keys of this member need a restart, those of the cluster nlbctl apply",
	})
	l.cfg.Member.Rules = cfg.Member.Rules
	if len(l.asked) > 0 && !l.leaving {
		l.asked = statesOf(l.asked, &l.cfg.Member)
		kept := l.retain(l.machine.Self().State) // else a restart would bring back the old weights
		go func() {
			if err := <-kept; err != nil {
				l.log.Warn("a restart will bring back the weights and priorities that were asked for before", "error", err)
			}
		}()
	}
	return l.apply(l.machine.SetShares(l.now.wall, l.want()))
}

// handedOver reports whether the view knows that this member takes no part any more.
func (l *loop) handedOver() bool {
	a := l.machine.Committed()
	if a == nil {
		return true
	}
	self := l.machine.Self()
	me, ok := a.Member(self.Priority)
	return ok && me.Version == self.Version && me.State == converge.Stopped
}
