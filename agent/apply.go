package agent

import (
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
	if err := l.followView(); err != nil {
		return err
	}
	if out.Install != nil {
		if err := l.install(out.Install); err != nil {
			return err
		}
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
	for _, e := range out.Events {
		l.event(e)
	}
	l.noticeOwners()
	l.becomeDefault()
	l.rememberEpoch()
	return nil
}

// install hands the machine's parts to the data plane. The policy made of a part stays
// the same, so that the engine knows it again when it comes into force.
func (l *loop) install(in *converge.Install) error {
	now, next := l.rendered(in.Now), rendering{}
	var prepare *dataplane.Next
	if in.Next != nil {
		next = l.rendered(in.Next)
		prepare = &dataplane.Next{Policy: next.policy, Commit: in.Commit}
	}
	if err := l.engine.Install(now.policy, prepare); err != nil {
		return err
	}
	l.policy, l.renderings = now.policy, [2]rendering{now, next}
	return nil
}

// rendering is a policy and what it was made of.
type rendering struct {
	part   *converge.Part
	policy *portrules.Policy
}

func (l *loop) rendered(p *converge.Part) rendering {
	for _, r := range l.renderings {
		if r.part == p {
			return r
		}
	}
	return rendering{p, l.id.policy(l.cfg, p)}
}

func (l *loop) onTick() error {
	l.countConnections()
	l.lookForServices()
	l.announceDue()
	if err := l.keepStep(); err != nil {
		return err
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

// onReload takes over what may change while running: this member's shares.
func (l *loop) onReload(cfg *config.Config) error {
	if digest(&cfg.Cluster) != l.id.digest {
		l.log.Warn("reload: the cluster section differs from the running one and is ignored: restart to use it")
		return nil
	}
	cfg.Cluster = l.cfg.Cluster
	l.log.Info("reload: weights and handling priorities are taken over; other keys need a restart")
	l.want = shares(cfg)
	return l.apply(l.machine.SetShares(l.now.wall, l.shares()))
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
