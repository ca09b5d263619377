package converge

import (
	"fmt"
	"maps"
	"time"

	"github.com/opennlb/opennlb/portrules"
)

// Timing bounds the waiting of the protocol.
type Timing struct {
	Announce time.Duration // heartbeat of the coordinator
	Retry    time.Duration // an unanswered message is sent again
	GiveUp   time.Duration // a member that does not answer a Prepare is left out; longer than the lease
	Fence    time.Duration // between the beacon of an epoch that leaves somebody out and its commit
	Rival    time.Duration // without a beacon for this long another group is gone
	Alone    time.Duration // a starting member listens this long before it founds a cluster
}

// DefaultTiming suits a local network.
var DefaultTiming = Timing{
	Announce: 100 * time.Millisecond,
	Retry:    100 * time.Millisecond,
	GiveUp:   time.Second,
	Fence:    20 * time.Millisecond,
	Rival:    500 * time.Millisecond,
	Alone:    time.Second,
}

// Config is what a Machine is made for.
type Config struct {
	Plan   *Plan // the last one known
	Timing Timing
	Lease  time.Duration // how long the data plane answers without the agent

	Dampening Dampening

	// Take reports why this member cannot act on a plan. It is asked often, and about the
	// same plan says the same. nil: it can act on any.
	Take func(*Plan) error

	// Anew reports whether this member has to begin anew to act on a plan, as another host
	// on the segment. In no view it does so before it is let in: see [Machine.Plan]. nil: never.
	Anew func(*Plan) bool

	// Newcomer: a member that is in no view takes no part in rules that keep clients, until
	// SetInformed, and is let in only as it is now: it must know of the others' clients
	// before it answers any.
	Newcomer bool

	// Base is what was agreed on before all members began anew, nil otherwise.
	Base *Assignment

	Seen uint64 // highest epoch number of an earlier life, 0 if unknown
}

// Machine is one member's part in the agreement. It is not safe for concurrent
// use. Every input returns what must be done about it, Install before Send.
type Machine struct {
	cfg  Config
	self Info
	now  time.Time

	peers  []Peer            // as membership has it, without self
	trust  map[uint8]voucher // by priority: alive, whatever membership says
	alive  []Peer            // both, by priority, each once
	since  map[Peer]time.Time
	words  map[uint8]word
	banned map[Peer]ban

	seen      uint64      // highest epoch number met
	promised  Epoch       // nothing below it is followed
	prepared  *Assignment // promised, not yet committed
	committed *Assignment // the view; nil: in none
	later     *Assignment // not ours to act on, but the best base to deal from: learned from a Reject, or resigned from
	loose     time.Time   // since when in no view
	bound     time.Time   // when it promised
	stuck     time.Time   // since when a promise or an announced epoch waits

	flaps  map[uint8]flaps // by priority
	rumour rumour

	rival     rival
	beacons   int // of the present epoch still to be sent in quick succession
	beaconSeq uint64
	beaconed  time.Time // when this member sent one
	spoken    time.Time // when one of the epoch in force was heard

	plan    *Plan            // in force, or the last known
	asked   *Plan            // by SetPlan, and not yet agreed on
	refused map[Stamp]string // by a member of the view, since its last epoch
	unfit   map[Peer]unfit
	brought bool // somebody has sent a plan: it may be among the words

	proposal  *proposal
	extras    []extra
	extraPlan Stamp     // whose slots they mean
	notBefore time.Time // no proposal before, after one was refused
	joined    time.Time // when the view last took in a newcomer

	told      time.Time
	shouted   time.Time // when tell told everyone
	rotation  int       // whom tell takes next
	announcer Peer      // who announced an epoch last
	announced time.Time
	heldSent  time.Time
	heldPause time.Duration // until it is said again

	flags  []portrules.Buckets // in force, by slot
	layout *Plan               // whose slots those are
	dirty  bool                // they changed
	part   *Part               // the flags as they are installed
	next   *Part               // of prepared
	out    Output
}

// voucher makes a peer count as alive until a moment.
type voucher struct {
	peer  Peer
	until time.Time
}

type word struct {
	from Peer
	at   time.Time
	InfoMsg
}

type extra struct {
	priority uint8
	Extra
}

// Output is what a member must do: first install, then send, beacons first.
type Output struct {
	Install *Install
	Beacons []Beacon // to the segment
	Send    []Envelope
	Wake    time.Time // Tick not later than then; zero: whenever
	Events  []Event
}

// Install is what the data plane must hold from now on.
type Install struct {
	Now    *Part // in force
	Next   *Part // promised and not yet committed, to be switched to without delay; or nil
	Commit Epoch // its beacon switches to Next by itself; zero: none does
}

// Part is this member's part of every table. It is the same pointer while it is the
// same part, first as Next and then as Now.
type Part struct {
	Epoch     uint64
	Plan      *Plan
	Tables    []portrules.Buckets
	SlotTable []int // index into Tables per rule, and last for the default host
}

// Event is something an operator may want to know.
type Event struct {
	Kind   string // join, leave, state, converged, held back, out, refused, config
	Text   string
	Member string // that it is about; "" for none in particular
	Epoch  uint64
	Took   time.Duration // of a convergence, from this member's promise to its commit; else 0
}

// New returns a member that is in no view.
func New(cfg Config, self Info, now time.Time) *Machine {
	if cfg.Seen > maxSeen {
		cfg.Seen = 0 // what was kept is damaged
	}
	self.Version = 1
	self.Newcomer = cfg.Newcomer
	m := &Machine{
		cfg:     cfg,
		self:    self,
		seen:    cfg.Seen,
		now:     now,
		loose:   now,
		trust:   make(map[uint8]voucher),
		since:   make(map[Peer]time.Time),
		words:   make(map[uint8]word),
		banned:  make(map[Peer]ban),
		flaps:   make(map[uint8]flaps),
		plan:    cfg.Plan,
		refused: make(map[Stamp]string),
		unfit:   make(map[Peer]unfit),
		flags:   make([]portrules.Buckets, len(cfg.Plan.Rules)+1),
		layout:  cfg.Plan,
		later:   cfg.Base,
		dirty:   true,
	}
	return m
}

// Tick lets time pass.
func (m *Machine) Tick(now time.Time) Output {
	m.observe(now)
	return m.step()
}

// SetState changes what this member is meant to do.
func (m *Machine) SetState(now time.Time, s State) Output {
	m.observe(now)
	if m.self.State != s {
		m.self.State = s
		m.self.Version++
		m.told = time.Time{}
	}
	return m.step()
}

// SetShares changes this member's part in rules, by name. Those it does not name have
// [DefaultShare].
func (m *Machine) SetShares(now time.Time, shares map[string]Share) Output {
	m.observe(now)
	if !maps.Equal(m.self.Shares, shares) {
		m.self.Shares = maps.Clone(shares)
		m.self.Version++
		m.told = time.Time{}
	}
	return m.step()
}

// SetInformed says that this member knows of the others' clients.
func (m *Machine) SetInformed(now time.Time) Output {
	m.observe(now)
	if m.self.Newcomer {
		m.self.Newcomer = false
		m.self.Version++
		m.told = time.Time{}
	}
	return m.step()
}

// observe takes the time of an input. The lease is renewed at every input, so a
// pause as long as the lease means that it ran out and that others may have taken
// over: leave the view and ask to be let in again.
func (m *Machine) observe(now time.Time) {
	paused := now.Sub(m.now)
	m.now = now
	if paused < m.cfg.Lease {
		if paused > m.cfg.Timing.Announce { // the news of membership waited as well
			for priority, v := range m.trust {
				m.trust[priority] = voucher{v.peer, v.until.Add(paused)}
			}
		}
		return
	}
	if m.committed != nil {
		m.resign("this member stood still for %s and its lease ran out", paused.Round(time.Millisecond))
	}
	m.forget()
	m.loose = now    // what it knew is stale: listen before founding a cluster
	m.self.Version++ // and tell those who took a promise from before the pause
}

// step does what is due, whatever the input was.
func (m *Machine) step() Output {
	for _, v := range m.trust {
		if !m.now.Before(v.until) {
			m.refresh()
			break
		}
	}
	m.coordinate()
	m.unstick()
	m.tell()
	m.announce()
	m.speak()
	m.tellHeld()
	if m.dirty {
		m.dirty = false
		m.out.Install = m.install()
	}
	out := m.out
	m.out = Output{}
	return out
}

func (m *Machine) send(to Peer, msg Message) {
	msg.From = m.self.peer()
	m.out.Send = append(m.out.Send, Envelope{To: to, Message: msg})
}

func (m *Machine) event(kind, format string, args ...any) {
	e := Event{Kind: kind, Text: fmt.Sprintf(format, args...)}
	if m.committed != nil {
		e.Epoch = m.committed.Epoch.N
	}
	m.out.Events = append(m.out.Events, e)
}

// unstick asks for a new epoch when a promise was not followed by its commit, or
// an epoch was announced that this member never prepared.
func (m *Machine) unstick() {
	if m.stuck.IsZero() && m.fenced() {
		m.stuck = m.now // its coordinator may not have heard what fences it
	}
	switch {
	case m.stuck.IsZero():
	case m.now.Sub(m.stuck) > m.cfg.Timing.GiveUp && m.proposal == nil:
		m.stuck = m.now
		m.self.Version++
		m.told = time.Time{}
	}
}
