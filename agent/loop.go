package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/opennlb/opennlb/config"
	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/converge"
	"github.com/opennlb/opennlb/dataplane"
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
	id      identity
	timing  detection
	version string
	ready   func()
	reload  <-chan *config.Config

	engine     dataplane.Engine
	responder  *l2.Responder
	beacons    *l2.BeaconSender
	membership *membership.Membership
	events     *control.EventLog

	requests  chan func() error
	conflicts chan conflict
	counted   chan census
	looked    chan services
	read      chan table
	done      chan struct{}
	beat      atomic.Int64 // dataplane.Instant of the last step

	now        moment // of the present step
	machine    *converge.Machine
	policy     *portrules.Policy // in force
	renderings [2]rendering      // in force and next
	epoch      uint64            // saved in state_dir
	keeper     *keeper           // nil without member.retain_state
	wake       *time.Timer       // the machine wants to be stepped then
	peers      membership.Snapshot
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

	want []converge.Share // this member's part in each rule, as the administrator wants it
	keep keeping

	counting    bool // a count of connections is under way
	nextCount   time.Time
	settled     settled
	connections int // at the last count

	active   bool // the responder answers
	announce announcements
	foreign  map[netip.Addr]conflict // the latest by VIP
	ifindex  int
	linkUp   bool
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

func newLoop(cfg *config.Config, id identity, timing detection, first converge.State, seen uint64, opt Options) *loop {
	rules := make([]converge.Rule, len(cfg.Cluster.Rules))
	for i, r := range cfg.Cluster.Rules {
		rules[i] = converge.Rule{Mode: r.Mode, Keep: r.Keep}
	}
	want, keeping := shares(cfg), newKeeping(cfg.Cluster.Rules)
	begin, newcomer := want, []converge.Share(nil)
	if keeping.some {
		newcomer = keeping.withhold(want)
		begin = newcomer
	}
	self := converge.Info{
		Name: cfg.Member.Name, Priority: cfg.Member.Priority, Instance: id.instance, State: first, Shares: begin,
	}
	var dampening converge.Dampening
	if cfg.Cluster.Dampening {
		dampening = converge.DefaultDampening
	}
	var retain *keeper
	if cfg.Member.RetainState {
		retain = &keeper{dir: cfg.StateDir}
	}
	return &loop{
		log: opt.Log, cfg: cfg, id: id, timing: timing, version: opt.Version, ready: opt.Ready, reload: opt.Reload,
		events:    control.NewEventLog(keepEvents),
		requests:  make(chan func() error),
		conflicts: make(chan conflict, 16),
		counted:   make(chan census, 1),
		looked:    make(chan services, 1),
		read:      make(chan table, 1),
		done:      make(chan struct{}),
		machine: converge.New(converge.Config{
			Rules: rules, Digest: id.digest, Timing: timing.converge, Lease: timing.lease, Dampening: dampening,
			Majority: cfg.Cluster.Partition == "majority", Seen: seen, Newcomer: newcomer,
		}, self, time.Now()),
		want: want, keep: keeping,
		known:   make(map[string]membership.Peer),
		reports: make(map[string]report),
		waiting: make(map[uint64]func(reply)),
		foreign: make(map[netip.Addr]conflict),

		deserted: make([]bool, len(cfg.Cluster.Rules)),
		epoch:    seen,
		keeper:   retain,
		wake:     time.NewTimer(time.Hour),
		linkUp:   true,
	}
}

// run is the event loop. It returns when stop ends and this member's buckets are
// with others, or with the error that makes the member unfit to go on.
func (l *loop) run(stop, tasks context.Context, links <-chan l2.LinkEvent, reporter *l2.Reporter) error {
	defer close(l.done)
	defer l.engine.Renew(0) //nolint:errcheck // the lease ends anyway
	ticker := time.NewTicker(l.timing.tick)
	defer ticker.Stop()
	stopping := stop.Done()
	var giveUp <-chan time.Time
	for {
		var step func() error
		select {
		case <-ticker.C:
			step = l.onTick
		case peers := <-l.membership.Snapshots():
			step = func() error { return l.onPeers(peers) }
		case msg := <-l.membership.Messages():
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
		l.now = moment{time.Now(), dataplane.Now()} // after the wait: a pause in it must show
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

func (l *loop) event(e converge.Event) {
	if a := l.machine.Committed(); e.Epoch == 0 && a != nil {
		e.Epoch = a.Epoch.N
	}
	l.log.Info(e.Text, "event", e.Kind, "epoch", e.Epoch)
	l.events.Add(control.Event{
		Time: l.now.wall, Kind: e.Kind, Message: e.Text, Epoch: e.Epoch, Duration: control.Duration(e.Took),
	})
}
