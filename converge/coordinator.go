package converge

import "slices"

// coordinator is the live member of the view with the lowest priority number; in
// no view, the lowest of those that could found one.
func (m *Machine) coordinator() Peer {
	if m.committed == nil {
		return m.founder()
	}
	for _, i := range m.committed.Members {
		p := i.peer()
		if p == m.self.peer() || m.isAlive(p) && !m.viewless(p) {
			return p
		}
	}
	return m.self.peer()
}

// viewless reports whether p said that it is in no view, and said so after it had
// promised ours, and ours does not know of that yet.
func (m *Machine) viewless(p Peer) bool {
	w, ok := m.words[p.Priority]
	if !ok || w.from != p || w.View != (Epoch{}) || w.Seen < m.committed.Epoch.N {
		return false
	}
	i, ok := m.committed.Member(p.Priority)
	return !ok || w.Info.newer(i)
}

// founder returns who founds the first view: nobody (the zero Peer) as long as
// somebody alive has a view or has not spoken.
func (m *Machine) founder() Peer {
	if m.now.Sub(m.loose) < m.cfg.Timing.Alone || m.rivalled() || m.gathering() {
		return Peer{}
	}
	first, plan := m.self.peer(), m.plan.Stamp()
	for _, p := range m.alive {
		w, ok := m.words[p.Priority]
		switch {
		case !ok && m.now.Sub(m.since[p]) < m.cfg.Timing.GiveUp:
			return Peer{}
		case !ok:
			// Alive for its membership only: it has no lease.
		case w.View != (Epoch{}):
			return Peer{}
		case w.Stamp.Above(plan) || !plan.Above(w.Stamp) && p.Priority < first.Priority:
			first, plan = p, w.Stamp // the latest configuration goes on
		}
	}
	return first
}

// gathering reports whether members of the agreement that all begin anew from may still
// come: founding without them would give their buckets away.
func (m *Machine) gathering() bool {
	return m.cfg.Base != nil && m.now.Sub(m.loose) < 3*m.cfg.Timing.Alone &&
		slices.ContainsFunc(m.cfg.Base.Members, func(i Info) bool {
			return i.Name != m.self.Name && !slices.ContainsFunc(m.alive, func(p Peer) bool { return p.Name == i.Name })
		})
}

// coordinate proposes the next epoch when this member should and something
// changed, and pursues a proposal that is under way.
func (m *Machine) coordinate() {
	if m.plan.Majority && m.committed != nil && !m.quorum(m.wanted()) {
		m.resign("partition: majority, and no more than half of the members are in sight")
	}
	if m.coordinator() != m.self.peer() {
		m.abandon()
		m.asked = nil
		return
	}
	if m.proposal != nil && slices.ContainsFunc(m.proposal.assignment.Members, m.outdated) {
		m.abandon()
	}
	m.tellHolds()
	if m.proposal == nil {
		m.propose()
	}
	if m.proposal != nil {
		m.pursue()
	}
}

func (m *Machine) gone(i Info) bool {
	p := i.peer()
	return p != m.self.peer() && (!m.isAlive(p) || m.isBanned(p))
}

// outdated reports whether a member of a proposal died, or is this one and has
// changed its mind: it may keep connections after all.
func (m *Machine) outdated(i Info) bool {
	return m.gone(i) || i.peer() == m.self.peer() && i.Version != m.self.Version
}

func (m *Machine) isBanned(p Peer) bool { return m.banned[p].out }

func (m *Machine) abandon() { m.proposal = nil }

// wanted is the view as it should be now.
func (m *Machine) wanted() []Info {
	members, plan := append(make([]Info, 0, len(m.alive)+1), m.self), m.dealt()
	for _, p := range m.alive {
		if m.isBanned(p) {
			continue
		}
		w, spoke := m.words[p.Priority]
		spoke = spoke && w.from == p
		if m.misfit(p, plan) != "" {
			continue
		}
		i, in := m.inView(p)
		switch {
		case in:
			if spoke && w.Info.newer(i) {
				i = w.Info
			}
			members = append(members, i)
		case spoke && w.View == (Epoch{}) && !w.Stamp.Above(plan.Stamp()): // or it will bring its plan
			members = append(members, w.Info)
		}
	}
	slices.SortFunc(members, func(a, b Info) int { return int(a.Priority) - int(b.Priority) })
	return m.dampen(members)
}

// inView is the latest that was agreed, or is to be agreed, of p: in the view, or in
// a promised or later one, which others may have committed already.
func (m *Machine) inView(p Peer) (info Info, in bool) {
	for _, a := range []*Assignment{m.committed, m.prepared, m.later} {
		if a == nil {
			continue
		}
		i := a.member(p.Priority)
		if i == nil || i.Instance != p.Instance || i.Name != p.Name {
			continue
		}
		if !in || i.newer(info) {
			info, in = *i, true
		}
	}
	return info, in
}

func sameMembers(a, b []Info) bool {
	return slices.EqualFunc(a, b, func(x, y Info) bool { return x.peer() == y.peer() && x.Version == y.Version })
}

// announce is the commit and the heartbeat, to all who are alive. Who made the view
// speaks for it, because its coordinator may not know of it yet; and so does its
// coordinator, because who made it may be dead.
func (m *Machine) announce() {
	if m.committed == nil || m.committed.Epoch.Instance != m.self.Instance && m.coordinator() != m.self.peer() {
		return
	}
	if m.now.Sub(m.announced) < m.cfg.Timing.Announce {
		return
	}
	m.announced = m.now
	an := &Announce{Epoch: m.committed.Epoch, View: m.committed.mask(), Stamp: m.plan.Stamp(), HeldBack: m.HeldBack()}
	for _, p := range m.alive {
		m.send(p, Message{Announce: an})
	}
}
