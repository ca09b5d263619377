package converge

import (
	"slices"
	"time"
)

// extraPause is the least time between two proposals of which a member said that
// they do not count what it holds; its word on its state may be on the way.
const extraPause = 20 * time.Millisecond

// proposal is an epoch on its way: all must promise, then those who lose something
// release it, then those left out are fenced.
type proposal struct {
	assignment *Assignment
	waiting    []Peer // have not promised
	giving     []Peer // have promised, and must release
	began      time.Time
	sent       time.Time
	retry      time.Duration // until it is sent again; doubled each time, or those that are late drown in it
	asked      time.Time     // to release, first
	askedAgain time.Time
	fenced     time.Time // when its beacon has silenced those left out
}

func (m *Machine) propose() {
	if m.now.Before(m.notBefore) {
		return
	}
	members, plan := m.wanted(), m.dealt()
	if m.prepared == nil && m.committed != nil && !m.fenced() && sameMembers(members, m.committed.Members) && plan.Stamp() == m.committed.Plan.Stamp() {
		return
	}
	if !m.quorum(members) || m.now.Sub(m.joined) < m.joinPause() && plan.Stamp() == m.plan.Stamp() && m.onlyJoins(members) {
		return
	}
	base := m.committed
	if m.later != nil && (base == nil || m.later.Epoch.above(base.Epoch)) {
		base = m.later
	}
	if plan.Version == 0 { // founded on the file of this member
		first := *plan
		first.Version = 1
		plan = &first
	}
	a := build(base, members, plan)
	if m.extraPlan == plan.Stamp() {
		for _, e := range m.extras {
			a.addExtra(e)
		}
	}
	m.seen++
	a.Epoch = Epoch{N: m.seen, By: m.self.Priority, Instance: m.self.Instance}
	for _, e := range m.uncounted(a) {
		a.addExtra(extra{m.self.Priority, e})
	}
	m.promise(a)
	m.proposal = &proposal{assignment: a, began: m.now, retry: m.cfg.Timing.Retry}
	for _, i := range members {
		if i.peer() != m.self.peer() {
			m.proposal.waiting = append(m.proposal.waiting, i.peer())
		}
	}
}

// joinPause is the least time between two epochs that only take in newcomers. Each
// epoch costs each member some milliseconds; those that come one after another, as when
// a large cluster starts, share one.
func (m *Machine) joinPause() time.Duration {
	return m.cfg.Timing.Retry * time.Duration(len(m.alive)/4)
}

// onlyJoins reports whether members is the view in force and newcomers.
func (m *Machine) onlyJoins(members []Info) bool {
	if m.prepared != nil || m.committed == nil || m.fenced() {
		return false
	}
	for _, i := range m.committed.Members {
		if !slices.ContainsFunc(members, func(j Info) bool { return i.peer() == j.peer() && i.Version == j.Version }) {
			return false
		}
	}
	return true
}

// addExtra notes a holder that build could not know of.
func (a *Assignment) addExtra(e extra) {
	if e.Slot < 0 || e.Slot >= len(a.SlotTable) || !a.keeps(e.priority, e.Slot) {
		return
	}
	t := a.Slot(e.Slot)
	for b, owner := range t.Owner {
		if owner != e.priority && e.Buckets.Has(b) {
			t.hold(e.priority).Set(b)
		}
	}
}

// keepExtra remembers, until the next commit, what a member said it holds of a plan's slot.
func (m *Machine) keepExtra(plan *Plan, priority uint8, e Extra) {
	if m.extraPlan != plan.Stamp() {
		m.extras, m.extraPlan = nil, plan.Stamp()
	}
	for i := range m.extras {
		if x := &m.extras[i]; x.priority == priority && x.Slot == e.Slot {
			x.Buckets.or(&e.Buckets)
			return
		}
	}
	if e.Slot >= 0 && e.Slot <= len(plan.Rules) {
		m.extras = append(m.extras, extra{priority, e})
	}
}

// pursue asks for what is missing, gives up on the silent, and commits. Buckets have no
// owner only from their release on: a member that does not promise costs nothing.
func (m *Machine) pursue() {
	p := m.proposal
	switch {
	case len(p.waiting) > 0:
		m.askToPromise(p)
	case len(p.giving) > 0:
		m.askToRelease(p)
	case p.fenced.IsZero() && m.mustFence(p.assignment):
		p.fenced = m.now.Add(m.cfg.Timing.Fence)
		m.fence(p)
	case m.now.Before(p.fenced):
		m.fence(p)
	default:
		m.finish()
	}
}

func (m *Machine) askToPromise(p *proposal) {
	switch {
	case m.now.Sub(p.began) >= m.cfg.Timing.GiveUp:
		m.ban(p.waiting)
	case p.sent.IsZero() || m.now.Sub(p.sent) >= p.retry:
		if !p.sent.IsZero() {
			p.retry *= 2
		}
		p.sent = m.now
		for _, w := range p.waiting {
			m.send(w, Message{Prepare: p.assignment})
		}
	}
}

// askToRelease repeats itself soon, for buckets wait for it.
func (m *Machine) askToRelease(p *proposal) {
	if p.asked.IsZero() {
		p.asked = m.now
	}
	switch {
	case m.now.Sub(p.asked) >= m.cfg.Timing.GiveUp:
		m.ban(p.giving)
	case m.now.Sub(p.askedAgain) >= m.cfg.Timing.Retry/4:
		p.askedAgain = m.now
		m.wake(m.now.Add(m.cfg.Timing.Retry / 4))
		for _, g := range p.giving {
			m.send(g, Message{Release: &Release{Epoch: p.assignment.Epoch}})
		}
	}
}

// ban is what is noted of a live member that did not answer a proposal, until it is in a view.
type ban struct {
	times int
	out   bool      // left out,
	until time.Time // at least until then
}

// maxBan bounds how long a member is left out that does not answer time and again.
const maxBan = 15 * time.Second

// ban leaves out who is alive and does not answer, until it speaks. One that speaks, is asked
// again and still does not answer cannot be reached one way: each time costs all an epoch, and
// delays what else is to be agreed on, so it is asked ever more rarely.
func (m *Machine) ban(mute []Peer) {
	for _, p := range mute {
		b := m.banned[p]
		b.times, b.out, b.until = b.times+1, true, m.now
		if b.times == 1 {
			m.event("refused", "%s does not answer although it is alive: left out until it speaks", p.Name)
		} else {
			pause := min(m.cfg.Timing.GiveUp<<min(b.times-2, 10), maxBan)
			b.until = m.now.Add(pause)
			m.event("refused", "%s does not answer although it is alive, %d times by now: left out for %s; see whether membership.port is open to it for TCP, too", p.Name, b.times, pause)
		}
		m.banned[p] = b
	}
	m.abandon()
}

// unban lets in, with the next epoch, who has spoken.
func (m *Machine) unban(p Peer) {
	if b := m.banned[p]; b.out && !m.now.Before(b.until) {
		b.out = false
		m.banned[p] = b
	}
}

func (m *Machine) finish() {
	p := m.proposal
	m.abandon()
	m.commit(p.assignment)
	m.announced = time.Time{}
}

func (m *Machine) onPrepared(from Peer, msg *Prepared) {
	p := m.proposal
	if p == nil || p.assignment.Epoch != msg.Epoch {
		return
	}
	if len(msg.Extra) > 0 { // made from an older state than this member's: once more, with what it holds
		for _, e := range msg.Extra[:min(len(msg.Extra), len(p.assignment.SlotTable))] {
			m.keepExtra(p.assignment.Plan, from.Priority, e)
		}
		m.abandon()
		m.notBefore = m.now.Add(extraPause)
		return
	}
	p.waiting = slices.DeleteFunc(p.waiting, func(w Peer) bool { return w == from })
	if msg.Gives && !slices.Contains(p.giving, from) {
		p.giving = append(p.giving, from)
	}
}

func (m *Machine) onReleased(from Peer, msg *Release) {
	if p := m.proposal; p != nil && p.assignment.Epoch == msg.Epoch {
		p.giving = slices.DeleteFunc(p.giving, func(g Peer) bool { return g == from })
	}
}

func (m *Machine) onReject(from Peer, r *Reject) {
	m.see(r.Seen)
	if m.proposal == nil || m.proposal.assignment.Epoch != r.Epoch {
		return
	}
	if w, ok := m.words[from.Priority]; ok && w.from == from && r.Plan != nil && r.Plan.valid() == nil && r.Plan.newer(m.plan) {
		w.Stamp, w.Plan, m.brought = r.Plan.Stamp(), r.Plan, true
		m.words[from.Priority] = w
	}
	if r.Refusal != "" {
		m.onRefusal(from, r.Refusal)
	}
	if c := r.Committed; c != nil && c.valid() == nil && m.take(c.Plan) == "" {
		if m.committed != nil && m.committed.has(from) && c.Epoch.above(m.committed.Epoch) && !c.has(m.self.peer()) {
			m.resign("%s knows epoch %d without this member", from.Name, c.Epoch.N)
			return
		}
		if m.later == nil || c.Epoch.above(m.later.Epoch) {
			m.later = c
			m.trustView(c)
		}
	}
	m.abandon()
	m.giveWay(10 * time.Millisecond)
}

// giveWay lets another coordinator go first; the higher the priority number the longer.
func (m *Machine) giveWay(d time.Duration) {
	m.notBefore = m.now.Add(d + 5*time.Millisecond*time.Duration(m.self.Priority))
}
