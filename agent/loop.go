package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opennlb/opennlb/config"
	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/converge"
	"github.com/opennlb/opennlb/dataplane"
	"github.com/opennlb/opennlb/hook"
	"github.com/opennlb/opennlb/l2"
	"github.com/opennlb/opennlb/membership"
	"github.com/opennlb/opennlb/portrules"
)

// keepEvents are kept for nlbctl events.
const keepEvents = 1000

// loop owns all state of a running member. Everything below the channels is
// touched by run alone; others ask through do.
type loop struct {
	log     *slog.Logger
	cfg     *config.Config
	cluster *cluster // in force, or the last known
	catalog catalog
	history *history
	id      identity
	keys    *keyholder
	rotor   *rotor
	timing  detection
	version string
	ready   func()
	reload  <-chan *config.Config

	iface      *l2.Interface
	engine     dataplane.Engine
	responder  *l2.Responder
	beacons    *l2.BeaconSender
	membership *membership.Membership
	events     *control.EventLog
	hook       *hook.Hook // nil: no notify.command

	requests  chan func() error
	conflicts chan conflict
	counted   chan census
	looked    chan services
	read      chan table
	heard     chan heard
	inspected chan upkeep
	done      chan struct{}
	beat      atomic.Int64 // dataplane.Instant of the last step
	listing   sync.Mutex   // of clients, see backend.clientsOf; not for the loop

	now        moment    // of the present step
	stood      time.Time // when this process went on after it had stood still for long
	machine    *converge.Machine
	policy     *portrules.Policy // in force
	renderings [2]rendering      // in force and next
	installed  *converge.Install // what they were made of
	vips       []netip.Addr      // that this host has
	anew       time.Time         // when all begins anew, with another identity; zero: not at all
	strays     string            // how the member's file differs from the configuration in force
	saving     <-chan error      // of the configuration in force, or one before; nil: none is under way
	nextSave   time.Time         // not before
	unsaved    string            // why the last save did not succeed
	change     change            // of the configuration, which this member coordinates
	epoch      uint64            // saved in state_dir, or about to be
	epochs     *epochs
	keeper     *keeper     // nil without member.retain_state
	wake       *time.Timer // the machine wants to be stepped then
	peers      membership.Snapshot
	outrun     time.Time                  // when membership was told to, last
	known      map[string]membership.Peer // every member ever seen, by name
	reports    map[string]report
	waiting    map[uint64]func(reply) // commands without a reply
	commandID  uint64
	leaving    bool
	drain      drain

	looking  bool // for services, beside the loop
	nextLook time.Time
	missing  []missing      // as of the last look
	noticed  converge.Epoch // noticeOwners has looked at it
	deserted []bool         // rules without an owner

	inspecting     bool // the host, beside the loop
	nextInspection time.Time
	listed         bool     // the kernel shows that the interface accepts the cluster MAC
	spoilt         []string // what the last look found and nlbd could not put right

	asked map[string]converge.Share // this member's part in rules, as was asked for since the start; not changed
	keep  keeping

	counting    bool // a count of connections is under way
	nextCount   time.Time
	settled     settled
	connections int  // at the last count
	leftKnown   bool // counted since this member drains

	view   view            // the last one that events told of
	askers map[string]told // by member: who asked for the last change of it

	active   bool // the responder answers
	announce announcements
	foreign  map[netip.Addr]conflict // the latest by VIP
	ifindex  int
	linkUp   bool
	mac      net.HardwareAddr // of the interface, as last heard
	macTold  bool
}

// moment is one instant on both clocks, read before a step.
type moment struct {
	wall  time.Time // with its monotonic reading
	lease dataplane.Instant
}

// conflict is another host's claim to a VIP.
type conflict struct {
	vip  netip.Addr
	mac  net.HardwareAddr
	seen time.Time
}

// announcements are the rounds of gratuitous ARP still due.
type announcements struct {
	left int
	next time.Time
}

// start is what a loop begins with, apart from the configuration of the member.
type start struct {
	cluster *cluster
	history *history
	id      identity
	timing  detection
	state   converge.State
	asked   map[string]converge.Share
	drain   drain
	seen    uint64               // epoch
	base    *converge.Assignment // what all members begin anew from; or nil
}

func newLoop(cfg *config.Config, begin start, opt Options) *loop {
	id, timing := begin.id, begin.timing
	self := converge.Info{
		Name: cfg.Member.Name, Priority: cfg.Member.Priority, Instance: id.instance, State: begin.state,
	}
	known := catalog{cfg, make(map[converge.Stamp]entry)}
	var retain *keeper
	if cfg.Member.RetainState {
		retain = &keeper{dir: cfg.StateDir}
	}
	l := &loop{
		log: opt.Log, cfg: cfg, cluster: begin.cluster, catalog: known, history: begin.history, id: id, timing: timing, version: opt.Version, ready: opt.Ready, reload: opt.Reload,
		events:    control.NewEventLog(keepEvents),
		rotor:     newRotor(),
		requests:  make(chan func() error),
		conflicts: make(chan conflict, 16),
		counted:   make(chan census, 1),
		looked:    make(chan services, 1),
		read:      make(chan table, 1),
		heard:     make(chan heard),
		inspected: make(chan upkeep, 1),
		done:      make(chan struct{}),
		machine: converge.New(converge.Config{
			Plan: begin.cluster.plan, Timing: timing.converge, Lease: timing.lease, Dampening: converge.DefaultDampening,
			Take: known.take, Anew: known.otherMAC(id.clusterMAC), Newcomer: true, Base: begin.base, Seen: begin.seen,
		}, self, time.Now()),
		asked: begin.asked, drain: begin.drain, keep: newKeeping(begin.cluster.Rules),
		known:   make(map[string]membership.Peer),
		reports: make(map[string]report),
		waiting: make(map[uint64]func(reply)),
		foreign: make(map[netip.Addr]conflict),
		askers:  make(map[string]told),

		deserted: make([]bool, len(begin.cluster.Rules)),
		epoch:    begin.seen,
		epochs:   &epochs{dir: cfg.StateDir},
		keeper:   retain,
		wake:     time.NewTimer(time.Hour),
	}
	l.machine.SetShares(time.Now(), l.want())
	l.compareFile()
	return l
}

// run is the event loop. It returns when stop ends and this member's buckets are
// with others, or with the error that makes the member unfit to go on.
func (l *loop) run(stop, tasks context.Context, links <-chan l2.LinkEvent, reporter *l2.Reporter) error {
	defer close(l.done)
	defer l.engine.Renew(0) //nolint:errcheck // the lease ends anyway
	ticker := time.NewTicker(l.timing.tick)
	defer ticker.Stop()
	go l.hear()
	stopping := stop.Done()
	var giveUp <-chan time.Time
	for {
		var step func() error
		select {
		case <-ticker.C:
			step = l.onTick
		case peers := <-l.membership.Snapshots():
			step = func() error { return l.onPeers(peers) }
		case msg := <-l.heard:
			step = func() error { return l.onMessage(msg) }
		case b, ok := <-l.engine.Beacons():
			if !ok {
				return errors.New("the data plane stopped listening for beacons")
			}
			step = func() error { return l.apply(l.machine.Beacon(l.now.wall, b)) }
		case <-l.wake.C:
			step = func() error { return l.apply(l.machine.Tick(l.now.wall)) }
		case request := <-l.requests:
			step = request
		case c := <-l.counted:
			step = func() error { return l.onCensus(c) }
		case found := <-l.looked:
			step = func() error { return l.onLook(found) }
		case found := <-l.inspected:
			step = func() error { return l.onUpkeep(found) }
		case t := <-l.read:
			step = func() error { return l.onTable(t) }
		case c := <-l.conflicts:
			step = func() error { return l.onForeignOwner(c) }
		case cfg := <-l.reload:
			step = func() error { return l.onReload(cfg) }
		case link, ok := <-links:
			if !ok {
				return fmt.Errorf("watch interface %s: netlink has ended: restart nlbd", l.cfg.Member.Interface)
			}
			step = func() error { return l.onLink(link, reporter) }
		case err := <-l.membership.Refused():
			return err
		case <-stopping:
			stopping, giveUp, l.leaving = nil, time.After(l.timing.handOver()), true
			step = func() error { return l.changeState(converge.Stopped) }
		case <-giveUp:
			return errors.New("leave without handing over: the other members did not agree in time")
		case <-tasks.Done():
			return nil // a task failed; its error is the one to tell
		}
		l.advance(moment{time.Now(), dataplane.Now()}) // after the wait: a pause in it must show
		l.beat.Store(int64(l.now.lease))
		if err := step(); err != nil {
			return err
		}
		if l.leaving && l.handedOver() {
			return nil
		}
	}
}

// healthy is asked by membership from other goroutines: a stuck loop must look
// dead to its peers, for its lease is over. Before the first step all is well.
func (l *loop) healthy() bool {
	beat := dataplane.Instant(l.beat.Load())
	return beat == 0 || dataplane.Now() < beat.Add(l.timing.stuckAfter())
}

// do runs f in the loop and waits for it.
func (l *loop) do(ctx context.Context, f func() error) error {
	result := make(chan error, 1)
	request := func() error {
		if err := ctx.Err(); err != nil { // whoever asked is gone
			result <- err
			return nil
		}
		result <- f()
		return nil
	}
	select {
	case l.requests <- request:
		return <-result
	case <-l.done:
		return errors.New("nlbd is stopping")
	case <-ctx.Done():
		return ctx.Err()
	}
}
