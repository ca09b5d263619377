package converge

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/opennlb/opennlb/portrules"
)

// Timing bounds the waiting of the protocol.
type Timing struct {
	Announce time.Duration // heartbeat of the coordinator
	Retry    time.Duration // an unanswered message is sent again
	GiveUp   time.Duration // a member that does not answer a Prepare is left out; longer than the lease
	Alone    time.Duration // a starting member listens this long before it founds a cluster
}

// DefaultTiming suits a local network.
var DefaultTiming = Timing{
	Announce: 100 * time.Millisecond,
	Retry:    200 * time.Millisecond,
	GiveUp:   time.Second,
	Alone:    time.Second,
}

// Config is what a Machine is made for.
type Config struct {
	Rules  []portrules.Mode // filtering mode of each rule
	Digest string           // of everything that all members must have alike
	Timing Timing
	Lease  time.Duration // how long the data plane answers without the agent
}

// Machine is one member's part in the agreement. It is not safe for concurrent
// use. Every input returns what must be done about it, Install before Send.
type Machine struct {
	cfg  Config
	self Info
	now  time.Time

	peers  []Peer             // as membership has it, without self
	trust  map[Peer]time.Time // in the view but not yet among the peers: alive until then
	alive  []Peer             // both, by priority
	since  map[Peer]time.Time
	words  map[uint8]word
	banned map[Peer]time.Time // left out for not answering, until it speaks again

	seen      uint64      // highest epoch number met
	promised  Epoch       // nothing below it is followed
	prepared  *Assignment // promised, not yet committed
	committed *Assignment // the view; nil: in none
	later     *Assignment // not ours to act on, but the best base to deal from: learned from a Reject, or resigned from
	loose     time.Time   // since when in no view
	stuck     time.Time   // since when a promise or an announced epoch waits

	proposal  *proposal
	extras    []extra
	notBefore time.Time // no proposal before, after one was refused

	told      time.Time
	announced time.Time
	heldSent  time.Time

	flags []portrules.Buckets // by slot
	dirty bool
	out   Output
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

// Output is what a member must do: first install, then send.
type Output struct {
	Install *Install
	Send    []Envelope
	Events  []Event
}

// Install is this member's part of every table.
type Install struct {
	Epoch     uint64
	Tables    []portrules.Buckets
	SlotTable []int // index into Tables per rule, and last for the default host
}

// Event is something an operator may want to know.
type Event struct {
	Kind  string // join, leave, converged, out, refused
	Text  string
	Epoch uint64
	Took  time.Duration // of a convergence, as its coordinator saw it; else 0
}

// New returns a member that is in no view. self.Shares has one entry per rule.
func New(cfg Config, self Info, now time.Time) *Machine {
	self.Version = 1
	m := &Machine{
		cfg:    cfg,
		self:   self,
		now:    now,
		loose:  now,
		trust:  make(map[Peer]time.Time),
		since:  make(map[Peer]time.Time),
		words:  make(map[uint8]word),
		banned: make(map[Peer]time.Time),
		flags:  make([]portrules.Buckets, len(cfg.Rules)+1),
		dirty:  true,
	}
	return m
}

// Peers tells who is alive; the own entry is ignored.
func (m *Machine) Peers(now time.Time, peers []Peer) Output {
	m.observe(now)
	m.peers = slices.DeleteFunc(slices.Clone(peers), func(p Peer) bool { return p.Priority == m.self.Priority })
	m.refresh()
	return m.step()
}

// refresh brings together whom membership and whom the view takes for alive. The
// view may be ahead: its coordinator knew of a member that membership has yet to
// show here.
func (m *Machine) refresh() {
	m.alive = slices.Clone(m.peers)
	for _, p := range m.peers {
		delete(m.trust, p)
	}
	for p, until := range m.trust {
		if m.now.Before(until) {
			m.alive = append(m.alive, p)
		} else {
			delete(m.trust, p)
		}
	}
	slices.SortFunc(m.alive, func(a, b Peer) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Instance, b.Instance))
	})
	for _, p := range m.alive {
		if _, ok := m.since[p]; !ok {
			m.since[p] = m.now
			m.told = time.Time{}
		}
	}
	for p := range m.since {
		if !m.isAlive(p) {
			delete(m.since, p)
			delete(m.banned, p)
			if m.words[p.Priority].from == p {
				delete(m.words, p.Priority)
			}
		}
	}
}

// trustView takes the members of a new view for alive until membership had time to show them.
func (m *Machine) trustView() {
	for _, i := range m.committed.Members {
		if p := i.peer(); p != m.self.peer() && !m.isAlive(p) {
			m.trust[p] = m.now.Add(m.cfg.Timing.GiveUp)
		}
	}
	m.refresh()
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

// SetShares changes this member's weights and handling priorities.
func (m *Machine) SetShares(now time.Time, shares []Share) Output {
	m.observe(now)
	if !slices.Equal(m.self.Shares, shares) && len(shares) == len(m.cfg.Rules) {
		m.self.Shares = slices.Clone(shares)
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
		return
	}
	if m.committed != nil {
		m.resign("this member stood still for %s and its lease ran out", paused.Round(time.Millisecond))
	}
	m.loose, m.prepared = now, nil // what it knew is stale: listen before founding a cluster
	m.self.Version++               // and tell those who took a promise from before the pause
}

// step does what is due, whatever the input was.
func (m *Machine) step() Output {
	if len(m.trust) > 0 {
		m.refresh()
	}
	m.coordinate()
	m.unstick()
	m.tell()
	m.announce()
	m.tellHeld()
	if m.dirty {
		m.dirty = false
		m.out.Install = m.install()
	}
	out := m.out
	m.out = Output{}
	return out
}

func (m *Machine) isAlive(p Peer) bool { return slices.Contains(m.alive, p) }

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

// recorded reports whether the view says of this member what it wants said.
func (m *Machine) recorded() bool {
	if m.committed == nil {
		return false
	}
	me, ok := m.committed.Member(m.self.Priority)
	return ok && me.Instance == m.self.Instance && me.Version == m.self.Version
}

// tell sends this member's Info until the view records it: to the coordinator,
// or to everyone while in no view.
func (m *Machine) tell() {
	if m.recorded() || m.now.Sub(m.told) < m.cfg.Timing.Retry {
		return
	}
	m.told = m.now
	if m.committed != nil {
		if c := m.coordinator(); c != m.self.peer() {
			m.sendInfo(c)
		}
		return
	}
	for _, p := range m.alive {
		m.sendInfo(p)
	}
}

func (m *Machine) sendInfo(to Peer) {
	msg := &InfoMsg{Info: m.self, Digest: m.cfg.Digest, Seen: m.seen}
	if m.committed != nil {
		msg.View = m.committed.Epoch
	}
	m.send(to, Message{Info: msg})
}

// unstick asks for a new epoch when a promise was not followed by its commit, or
// an epoch was announced that this member never prepared.
func (m *Machine) unstick() {
	switch {
	case m.stuck.IsZero():
	case m.now.Sub(m.stuck) > m.cfg.Timing.GiveUp && m.proposal == nil:
		m.stuck = m.now
		m.self.Version++
		m.told = time.Time{}
	}
}
