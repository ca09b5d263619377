package converge

import "time"

// recorded reports whether the view says of this member what it wants said.
func (m *Machine) recorded() bool {
	if m.committed == nil {
		return false
	}
	me := m.committed.member(m.self.Priority)
	return me != nil && me.Instance == m.self.Instance && me.Version == m.self.Version
}

// tell sends this member's Info until the view records it: to the coordinator. While
// in no view it tells everyone, for silence makes others found a view without it;
// after a while only who may found one, who announced one, and the others in turn.
func (m *Machine) tell() {
	again, pause := m.cfg.Timing.Retry, m.cfg.Timing.Retry*time.Duration(1+len(m.alive)/8)
	if m.committed == nil {
		again = pause // the larger the cluster, the rarer, lest a common start drown in it
	}
	if m.recorded() || m.now.Sub(m.told) < again {
		return
	}
	everyone := (m.told.IsZero() || m.now.Sub(m.loose) < 2*m.cfg.Timing.Alone) && m.now.Sub(m.shouted) >= pause
	m.told = m.now
	if m.committed != nil {
		if c := m.coordinator(); c != m.self.peer() {
			m.sendInfo(c)
		}
		return
	}
	if everyone {
		m.shouted = m.now
	}
	for i, p := range m.alive {
		if everyone || i == 0 || p == m.announcer || i == m.rotation%len(m.alive) {
			m.sendInfo(p)
		}
	}
	m.rotation++
}

func (m *Machine) sendInfo(to Peer) {
	msg := &InfoMsg{Info: m.self, Stamp: m.plan.Stamp(), Seen: m.seen}
	if w, ok := m.words[to.Priority]; ok && w.from == to && msg.Stamp.Above(w.Stamp) && m.committed == nil {
		msg.Plan = m.plan
	}
	if m.committed != nil {
		msg.View = m.committed.Epoch
	}
	m.send(to, Message{Info: msg})
}
