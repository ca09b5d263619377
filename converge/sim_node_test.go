package converge

import (
	"fmt"
	"time"

	"github.com/opennlb/opennlb/nlbhash"
	"github.com/opennlb/opennlb/portrules"
)

// As in the agent: it steps at every tick and renews the lease at every step.
const (
	simTick   = 50 * time.Millisecond
	simLease  = 400 * time.Millisecond
	simCensus = 200 * time.Millisecond // connections are counted this often
)

// simDampening holds members back in half of the schedules, sooner and for less time
// than the agent's, so that it happens and schedules stay short.
var simDampening = Dampening{
	Departures: 1, Window: 10 * time.Second, First: 500 * time.Millisecond, Max: 2 * time.Second, Forgive: 5 * time.Second,
}

// set is a set of clients for each class of packets.
type set [simClasses][nlbhash.Buckets / 64]uint64

// node is one simulated member: agent, clock, data plane, sockets.
type node struct {
	id     uint8
	m      *Machine
	life   uint64
	up     bool
	frozen bool
	silent time.Duration // since when it is frozen or down
	awake  time.Duration // when it last thawed
	offset time.Duration // its clock differs by this,
	drift  time.Duration // and by this much more every second

	memo   any       // of a fault
	peers  []Peer    // as membership told last
	inbox  []Message // arrived while frozen
	stall  time.Duration
	doomed bool
	rest   func() // the part of a step that a freeze put off

	file  *Plan // its own configuration
	saved *Plan // the last agreed one, on its disk
	stamp Stamp // as of the step before

	epoch  uint64        // of the tables in the kernel
	plan   *Plan         // likewise
	next   *Install      // prepared in the kernel, for a beacon to switch to
	fence  uint64        // in the kernel: lower epochs are silent
	heard  []Beacon      // while the agent was frozen
	lease  time.Duration // by its own clock: when the data plane falls silent
	own    set           // Own: accepts new flows
	alone  set           // Own without Foreign: resets what it does not know
	some   set           // any flag: serves its connections
	conns  set           // established connections
	counts time.Duration // when connections are counted next

	promised, committed Epoch         // as of the step before
	healthy             time.Duration // since when nothing befell it
	side                int           // of a split
}

func (s *sim) newNode(id uint8) *node {
	return &node{
		id:     id,
		file:   planOf(simRules...),
		offset: s.jitter(time.Hour),
		drift:  s.jitter(10*time.Millisecond) - 5*time.Millisecond,
	}
}

// local is what the member's clock shows.
func (s *sim) local(n *node) time.Duration {
	return n.offset + s.now + time.Duration(s.now.Seconds()*float64(n.drift))
}

func (s *sim) clock(n *node) time.Time { return time.Unix(0, 0).Add(s.local(n)) }

// answers reports whether the data plane answers: it does until its lease ends,
// whatever became of the agent, or a
// beacon fences it.
func (s *sim) answers(n *node) bool { return s.local(n) < n.lease && n.epoch >= n.fence }

// boot starts a member's agent: nothing is remembered, and the new data plane is
// silent before others can notice the new life.
func (s *sim) boot(n *node) {
	n.life++
	n.memo = nil
	s.strangers = s.strangers || s.split.on
	n.up, n.frozen, n.inbox, n.rest, n.stall, n.doomed = true, false, nil, nil, 0, false
	n.peers, n.promised, n.committed = nil, Epoch{}, Epoch{}
	n.healthy, s.trouble = s.now, s.now
	if s.fault == nil || s.fault.boot == nil || !s.fault.boot(n) {
		n.lease, n.epoch, n.fence, n.heard, n.next = 0, 0, 0, nil, nil
		n.own, n.alone, n.some, n.conns = set{}, set{}, set{}, set{}
	}
	info := Info{Name: fmt.Sprintf("n%d", n.id), Priority: n.id, Instance: uint64(n.id)<<32 | n.life}
	n.m, n.stamp = nil, Stamp{}
	cfg := Config{Plan: n.file, Timing: DefaultTiming, Lease: simLease, Dampening: s.dampening, Newcomer: s.newcomer}
	if n.saved != nil {
		cfg.Plan = n.saved
	}
	if s.picky {
		cfg.Take = s.take(n)
	}
	if s.fault != nil && s.fault.config != nil {
		s.fault.config(&cfg)
	}
	n.m = New(cfg, info, s.clock(n))
	s.note(n, "boots")
	life := n.life
	var tick func()
	tick = func() {
		if !n.up || n.life != life {
			return
		}
		if !n.frozen {
			s.step(n, n.m.Tick)
			if n.m.self.Newcomer && n.m.Serving() && s.rng.IntN(4) == 0 {
				s.step(n, n.m.SetInformed)
			}
			s.count(n)
		}
		s.after(simTick, tick)
	}
	s.after(s.jitter(simTick), tick)
	s.membership(0)
}

// step is one turn of the agent's loop. A freeze may come upon it between what
// was decided and what is done, a crash while messages are being sent.
func (s *sim) step(n *node, input func(time.Time) Output) {
	f := s.fault
	if f != nil && f.before != nil {
		f.before(s, n)
	}
	out := input(s.clock(n))
	if f != nil && f.after != nil {
		broken := out
		f.after(s, n, &broken)
		out = broken
	}
	s.checkStep(n)
	var until time.Duration
	if n.m.Serving() {
		until = s.local(n) + simLease
	}
	if f != nil && f.renew != nil {
		until = f.renew(s, n, until)
	}
	if n.stall > 0 {
		rest := out // only this copy has to live on
		n.rest = func() { s.carryOut(n, rest, until) }
		s.freeze(n, n.stall)
		n.stall = 0
		return
	}
	s.carryOut(n, out, until)
}

// carryOut does what a step decided: install, renew, send.
func (s *sim) carryOut(n *node, out Output, until time.Duration) {
	if out.Install != nil {
		s.install(n, out.Install)
	}
	n.lease = until
	s.connect(n)
	for _, e := range out.Events {
		s.note(n, "%s: %s", e.Kind, e.Text)
	}
	if n.doomed && len(out.Send) > 0 {
		out.Send = out.Send[:s.rng.IntN(len(out.Send)+1)]
		defer s.crash(n)
	}
	for _, b := range out.Beacons {
		s.broadcast(n, b)
	}
	if life := n.life; !out.Wake.IsZero() {
		s.after(out.Wake.Sub(s.clock(n)), func() {
			if n.up && !n.frozen && n.life == life {
				s.step(n, n.m.Tick)
			}
		})
	}
	for i := range out.Send {
		s.transmit(n, &out.Send[i])
	}
	s.connect(n)
	s.check(n)
}

func (s *sim) install(n *node, in *Install) {
	s.activate(n, in.Now)
	n.next = nil
	if in.Next != nil && in.Commit != (Epoch{}) {
		n.next = in
	}
}

// activate is the one word that switches the tables in the kernel.
func (s *sim) activate(n *node, p *Part) {
	n.epoch, n.plan = p.Epoch, p.Plan
	n.own, n.alone, n.some = set{}, set{}, set{}
	l := s.layout(p.Plan)
	for class, slot := range l.slot {
		table := &p.Tables[p.SlotTable[slot]]
		for c := range table {
			f, bit := table[c^l.mix[class]], uint64(1)<<(c%64)
			if f != 0 {
				n.some[class][c/64] |= bit
			}
			if f&portrules.Own != 0 {
				n.own[class][c/64] |= bit
			}
			if f == portrules.Own {
				n.alone[class][c/64] |= bit
			}
		}
		if !n.m.self.holds(p.Plan, slot) { // the rule is stopped here, and now it has this class
			for w := range n.conns[class] {
				n.conns[class][w] &= n.some[class][w]
			}
		}
	}
}

// connect is the worst that clients can do: a connection in every bucket that
// takes them. A member that stops or leaves the view gives its connections up.
func (s *sim) connect(n *node) {
	if !n.m.Serving() || s.excused() {
		n.conns = set{}
		return
	}
	answers, slots := s.answers(n), s.layout(n.plan).slot
	for class := range n.conns {
		if answers {
			for w := range n.conns[class] {
				n.conns[class][w] |= n.own[class][w]
			}
		}
		if n.conns[class] == n.some[class] || n.m.self.holds(n.plan, slots[class]) {
			continue
		}
		for w := range n.conns[class] {
			n.conns[class][w] &= n.some[class][w]
		}
	}
}

// count lets some connections end and tells the machine, a while later, what
// was left, as the agent does.
func (s *sim) count(n *node) {
	if !n.up || n.frozen || !n.m.Serving() || s.now < n.counts {
		return
	}
	n.counts = s.now + simCensus
	if n.m.Holding() == 0 {
		return
	}
	stay := s.rng.Uint64() | s.rng.Uint64()
	plan := n.m.Committed().Plan
	live, l := make([]Bitmap, len(plan.Rules)+1), s.layout(plan)
	for class, slot := range l.slot {
		for w := range n.conns[class] {
			n.conns[class][w] &= stay | n.own[class][w]
		}
		for c := range nlbhash.Buckets {
			if n.conns[class][c/64]&(1<<(c%64)) != 0 {
				live[slot].Set(c ^ l.mix[class])
			}
		}
	}
	life, epoch := n.life, n.m.Committed().Epoch.N
	s.after(s.jitter(simTick), func() {
		if n.life != life || !n.up || n.frozen || !n.m.Serving() {
			return
		}
		if n.m.Committed().Epoch.N == epoch || s.fault != nil && s.fault.oldCensus {
			s.step(n, func(now time.Time) Output { return n.m.Connections(now, live) })
		}
	})
}
