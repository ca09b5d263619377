package membership

import (
	"bytes"
	"time"

	"github.com/hashicorp/memberlist"
)

// delegate is what memberlist calls. All of it must return quickly.
type delegate struct{ m *Membership }

func (d delegate) NodeMeta(int) []byte             { return d.m.roster.me().metadata() }
func (d delegate) GetBroadcasts(int, int) [][]byte { return nil }
func (d delegate) LocalState(bool) []byte          { return nil }
func (d delegate) MergeRemoteState([]byte, bool)   {}
func (d delegate) NotifyMsg(b []byte)              { d.m.receive(b) }
func (d delegate) NotifyJoin(n *memberlist.Node)   { d.m.joined(n) }
func (d delegate) NotifyUpdate(n *memberlist.Node) { d.m.joined(n) }
func (d delegate) NotifyLeave(n *memberlist.Node)  { d.m.roster.drop(n.Name) }
func (d delegate) NotifyAlive(n *memberlist.Node) error {
	err := d.m.roster.admit(n)
	if err != nil && d.m.every.allow("refused "+n.Name) {
		d.m.log.Warn("member refused", "name", clip(n.Name), "address", n.Addr, "reason", err)
	}
	return err
}

// NotifyMerge sees what another member knows before it is merged. memberlist
// does not show us its suspects otherwise, and one of them may yet hold our
// name or priority. It refuses the state of members with another detection, whole:
// their word on who is dead would count here. Both sides of an exchange do.
func (d delegate) NotifyMerge(nodes []*memberlist.Node) error {
	for _, n := range nodes {
		if err := d.m.roster.alike(n); err != nil {
			return err
		}
	}
	for _, n := range nodes {
		if n.State == memberlist.StateSuspect {
			_ = d.m.roster.admit(n)
		}
	}
	return nil
}

// clip bounds what the network can put in a log line.
func clip(s string) string {
	return s[:min(len(s), MaxName)]
}

// joined starts sending to a member when it is new.
func (m *Membership) joined(n *memberlist.Node) {
	m.stopMu.Lock()
	defer m.stopMu.Unlock()
	if m.stopping {
		return
	}
	o := m.roster.put(n)
	if o == nil {
		return
	}
	m.senders.Go(func() {
		o.drain(o.packets, m.flush, func(b []byte) { m.sent(m.list.SendBestEffort(&o.node, b)) })
	})
	m.senders.Go(func() {
		o.drain(o.streams, m.flush, func(b []byte) {
			m.sent(m.list.SendReliable(&o.node, b))
			o.bytes.Add(-int64(len(b)))
		})
	})
}

func (m *Membership) sent(err error) {
	if err != nil {
		m.count.sendErrors.Add(1)
		m.log.Debug("send", "error", err)
	}
}

// receive takes one message from the network.
func (m *Membership) receive(b []byte) {
	f, err := decodeFrame(b)
	if err != nil || len(f.data) > MaxReliable {
		m.count.badMessage.Add(1)
		return
	}
	switch f.kind {
	case kindNotice:
		m.noticed(f.data)
	case kindMessage:
		m.deliver(f)
	default:
		m.count.badMessage.Add(1)
	}
}

// deliver hands a message to the reader unless it was not meant for this process, was
// received before, or does not come from the present process of a live member. The last
// also refuses what was recorded from members that are gone; a newcomer whose first words
// arrive before the news of it must say them again.
func (m *Membership) deliver(f frame) {
	c, _, ok := m.roster.find(f.from)
	if f.to != m.roster.me().Instance || !ok || c.Instance != f.instance {
		m.count.misdirected.Add(1)
		if m.every.allow("misdirected") { // harmless just after a restart
			m.log.Info("message dropped: it is for an earlier process, or from none that is a member now", "from", f.from)
		}
		return
	}
	if !m.fresh(f) {
		m.count.replayed.Add(1)
		if m.every.allow("replayed") {
			m.log.Warn("message dropped that was received before: somebody repeats what was recorded, or the network does", "from", f.from)
		}
		return
	}
	select {
	case m.inbox <- Message{From: f.from, Instance: f.instance, Data: bytes.Clone(f.data)}:
	default:
		m.count.inboxFull.Add(1)
	}
}

// history is what was received from one process.
type history struct {
	window window
	used   time.Time
}

// fresh reports whether f was not received before. Histories outlast their processes,
// for a member may be lost from sight and come back; of old ones the highest number is left.
func (m *Membership) fresh(f frame) bool {
	m.historyMu.Lock()
	defer m.historyMu.Unlock()
	h, ok := m.history[f.instance]
	if !ok {
		if len(m.history) >= maxSeen {
			m.forget()
		}
		h = &history{window: after(m.retired[f.instance])}
		delete(m.retired, f.instance)
		m.history[f.instance] = h
	}
	h.used = time.Now()
	return h.window.first(f.seq)
}

// forget retires the history that was not used for longest.
func (m *Membership) forget() {
	var oldest *history
	var of uint64
	for instance, h := range m.history {
		if oldest == nil || h.used.Before(oldest.used) {
			oldest, of = h, instance
		}
	}
	if len(m.retired) >= maxRetired {
		for instance := range m.retired { // any one
			delete(m.retired, instance)
			break
		}
	}
	m.retired[of] = oldest.window.top
	delete(m.history, of)
}
