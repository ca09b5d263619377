package converge

import "github.com/opennlb/opennlb/portrules"

// Serving reports whether the lease may be renewed: this member is in a view.
func (m *Machine) Serving() bool { return m.committed != nil }

// Committed is the assignment in force, nil when in no view. Read only.
func (m *Machine) Committed() *Assignment { return m.committed }

// Self is what this member says about itself.
func (m *Machine) Self() Info { return m.self }

// DefaultHost reports whether this member answers for the VIPs themselves: ARP,
// neighbor discovery, ICMP and what no rule covers.
func (m *Machine) DefaultHost() bool {
	return m.Serving() && m.flags[len(m.flags)-1][0]&portrules.Own != 0
}

// Holding counts the buckets, over all tables, in which this member only keeps
// earlier connections.
func (m *Machine) Holding() int {
	n := 0
	for slot := range m.flags {
		for _, f := range m.flags[slot] {
			if f&portrules.Residual != 0 {
				n++
			}
		}
	}
	return n
}

// Converged reports whether the view in force is just who is alive and what they
// want. Misfits, and members held back, do not count.
func (m *Machine) Converged() bool {
	if !m.recorded() || m.prepared != nil || m.proposal != nil {
		return false
	}
	for _, p := range m.alive {
		if m.misfit(p, m.plan) != "" {
			continue
		}
		if !m.committed.has(p) && !m.isHeldBack(p.Priority) {
			return false
		}
	}
	for _, i := range m.committed.Members {
		if m.gone(i) {
			return false
		}
	}
	return true
}

// Misfits are the live members that are left out because of the configuration. The
// coordinator knows them.
func (m *Machine) Misfits() []Misfit {
	var list []Misfit
	for _, p := range m.alive {
		if reason := m.misfit(p, m.plan); reason != "" {
			list = append(list, Misfit{p.Name, reason})
		}
	}
	return list
}
