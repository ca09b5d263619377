package agent

import (
	"cmp"
	"context"
	"errors"
	"net"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/opennlb/opennlb/config"
	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/dataplane"
	"github.com/opennlb/opennlb/l2"
	"github.com/opennlb/opennlb/membership"
)

// live brings a member up and runs it, once.
func (m *member) live(ctx context.Context) (err error) {
	var undo undo
	defer func() { err = errors.Join(err, undo.run()) }()
	cfg, log := m.cfg, m.Log

	history, c, damaged, err := startCluster(cfg, m.keys.key())
	if err != nil {
		return err
	}
	for _, problem := range damaged {
		log.Error("a version of the configuration is damaged; an earlier one, or that of another member, takes its place", "problem", problem)
	}
	if m.known != nil && m.known.plan.Stamp().Above(c.plan.Stamp()) {
		c = m.known
	}
	timing, err := detect(cmp.Or(m.preset, c.Detection))
	if err != nil {
		return err
	}
	socket, err := control.Listen(cfg.Control.Socket)
	if err != nil {
		return err
	}
	undo.add("close control socket", closer(socket))
	audit := openAudit(cfg.StateDir, log, &undo)
	var page net.Listener
	if cfg.Control.HTTP != "" {
		if page, err = net.Listen("tcp", cfg.Control.HTTP); err != nil { // not worth losing a member for
			log.Warn("no status page and no metrics: choose another control.http, or \"\" to turn it off", "error", err)
		} else {
			undo.add("close status page", closer(page))
		}
	}
	serveRemote := listenRemote(cfg, log, &undo)

	iface, err := l2.OpenInterface(cfg.Member.Interface)
	if err != nil {
		return err
	}
	undo.add("close interface", iface.Close)
	if err := dedicatedIP(cfg, c, iface); err != nil {
		return err
	}
	id, err := identify(cfg, c, iface)
	if err != nil {
		return err
	}
	m.macs = append(m.macs, id.clusterMAC)
	claims, err := foreignOwners(ctx, c.VIPs, iface, m.macs)
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(claims, conflict.isForeign); i >= 0 && c.plan.Version == 0 {
		return taken(claims[i])
	}

	engine, err := openEngine(dataplane.Setup{
		Cluster: c.Name, Member: cfg.Member.Name, Interface: cfg.Member.Interface, Kind: cfg.Dataplane,
		SourceMAC: id.sourceMAC, ClusterMAC: id.clusterMAC, Priority: cfg.Member.Priority, BeaconKey: m.keys.beaconKey(),
	}, c.silent(), log)
	if err != nil {
		return err
	}
	undo.add("detach data plane", engine.Close)
	if err := m.keys.guard(engine); err != nil {
		return err
	}
	if err := iface.AddMAC(id.clusterMAC); err != nil {
		return err
	}
	undo.add("remove cluster MAC", func() error { return iface.RemoveMAC(id.clusterMAC) })
	listed, err := iface.ListsMAC(id.clusterMAC)
	if err != nil {
		return err
	}

	l := newLoop(cfg, m.begin(start{cluster: c, history: history, id: id, timing: timing}), m.Options)
	l.engine, l.keys, l.iface, l.ifindex, l.linkUp, l.events, l.hook = engine, m.keys, iface, iface.Index, iface.Carrier, m.events, m.hook
	l.listed = listed
	undo.add("remove VIPs", l.removeVIPs)
	for _, vip := range c.VIPs {
		if err := iface.AddVIP(vip); err != nil {
			return err
		}
		l.vips = append(l.vips, vip)
	}
	responder, err := l2.OpenResponder(iface, l2.ResponderConfig{
		VIPs: c.VIPs, ClusterMAC: id.clusterMAC, SourceMAC: id.sourceMAC, OnConflict: l.onConflict,
	})
	if err != nil {
		return err
	}
	undo.add("close responder", responder.Close)
	l.responder = responder
	if l.beacons, err = l2.OpenBeacon(iface, id.sourceMAC, id.clusterMAC); err != nil {
		return err
	}
	undo.add("close beacon socket", l.beacons.Close)
	var reporter *l2.Reporter
	if c.Mode == config.IGMP {
		group := l2.IGMPGroup(l2.ClusterAddr(c.VIPs))
		if reporter, err = l2.OpenReporter(iface, group, id.sourceMAC); err != nil {
			return err
		}
		undo.add("close IGMP reporter", reporter.Close)
	}
	// The tasks outlive ctx until the loop has handed over what this member owns.
	tasks, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	links, err := l2.Watch(tasks, iface.Name)
	if err != nil {
		return err
	}

	l.membership, err = m.keys.join(func(key, other []byte) (*membership.Membership, error) {
		return membership.Start(ctx, membership.Options{
			Cluster: c.Name, Self: id.peer(cfg), Port: cfg.Membership.Port, Join: cfg.Membership.Join,
			Key: key, OtherKey: other, Timing: timing.membership, Preset: timing.preset, Log: log, Healthy: l.healthy,
		})
	})
	if l.membership != nil {
		undo.add("leave membership", func() error { return l.membership.Leave(500 * time.Millisecond) })
	}
	switch {
	case !errors.Is(err, membership.ErrWrongDetection):
	case time.Since(m.anew) < anewPatience: // the others have not begun anew yet
		time.Sleep(anewAfter)
		return errAnew
	case m.otherPreset(timing.preset):
		return errAnew
	}
	if err != nil {
		return refusal(err)
	}
	m.preset, m.tried = "", nil
	if len(claims) > 0 && l.membership.Alone() {
		return taken(claims[0])
	}
	for _, c := range claims {
		if c.isForeign() {
			log.Warn("go on in the cluster, though a VIP that this member knew is in use", "error", taken(c))
		}
	}
	log.Info("member is up", "cluster", c.Name, "member", cfg.Member.Name, "priority", cfg.Member.Priority, "address", cfg.Member.Address,
		"cluster_mac", id.clusterMAC.String(), "dataplane", engine.Kind(), "configuration", c.plan.Version)

	group, tasks := errgroup.WithContext(tasks)
	group.Go(func() error { defer stop(); return l.run(ctx, tasks, links, reporter) })
	group.Go(func() error { return responder.Run(tasks) })
	server := control.NewServer(backend{l}, audit, log)
	group.Go(func() error { return server.Serve(tasks, socket) })
	group.Go(func() error { return backend{l}.tendKeys(tasks) })
	if serveRemote != nil {
		group.Go(func() error { return serveRemote(tasks, server) })
	}
	if page != nil {
		group.Go(func() error { return control.ServePage(tasks, page, backend{l}.Status, log) })
	}
	if reporter != nil {
		group.Go(func() error { return reporter.Run(tasks) })
	}
	err = group.Wait()
	m.end(l)
	return err
}
