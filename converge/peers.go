package converge

import (
	"cmp"
	"slices"
	"time"
)

// Peers tells who is alive; the own entry is ignored.
func (m *Machine) Peers(now time.Time, peers []Peer) Output {
	m.observe(now)
	m.peers = slices.DeleteFunc(slices.Clone(peers), func(p Peer) bool { return p.Priority == m.self.Priority })
	for _, p := range m.peers {
		if m.trust[p.Priority].peer != p {
			delete(m.trust, p.Priority) // another start of the agent: the one before is over
		}
	}
	m.refresh()
	return m.step()
}

// refresh brings together whom membership and whom the view takes for alive.
func (m *Machine) refresh() {
	m.alive = m.alive[:0:0]
	for priority, v := range m.trust {
		if m.now.Before(v.until) {
			m.alive = append(m.alive, v.peer)
		} else {
			delete(m.trust, priority)
		}
	}
	for _, p := range m.peers {
		if _, trusted := m.trust[p.Priority]; !trusted {
			m.alive = append(m.alive, p)
		}
	}
	slices.SortFunc(m.alive, func(a, b Peer) int { return cmp.Compare(a.Priority, b.Priority) })
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
			delete(m.unfit, p)
			if m.words[p.Priority].from == p {
				delete(m.words, p.Priority)
			}
		}
	}
}

// trustView takes the members of a view new to this one for alive, for a while.
// Membership may be behind: a member has yet to show here; or one that stood still
// was declared dead just after it had woken up, promised, and so got a new lease.
// Who crashes after the commit is not declared dead within a lease anyway.
func (m *Machine) trustView(a *Assignment) {
	for _, i := range a.Members {
		if p := i.peer(); p != m.self.peer() {
			m.trust[p.Priority] = voucher{p, m.now.Add(m.cfg.Lease)}
		}
	}
	m.refresh()
}

func (m *Machine) isAlive(p Peer) bool { return slices.Contains(m.alive, p) }
