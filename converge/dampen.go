package converge

import (
	"slices"
	"time"

	"github.com/opennlb/opennlb/nlbhash"
)

// Dampening holds back a member that comes and goes: each time costs the clients that
// it takes over and loses. The zero value holds back nobody.
type Dampening struct {
	Departures int           // so many within Window, and a member is held back
	Window     time.Duration //
	First      time.Duration // the first hold; each further departure doubles it,
	Max        time.Duration // up to this
	Forgive    time.Duration // after this long without a departure all is forgotten
}

// DefaultDampening lets pass crashes, reboots and an administrator who tries out what
// happens; it is for the agent or cable that does nothing else.
var DefaultDampening = Dampening{
	Departures: 6,
	Window:     time.Minute,
	First:      time.Second,
	Max:        15 * time.Second,
	Forgive:    5 * time.Minute,
}

// Hold is a member that is alive and not let in, because it came and went.
type Hold struct {
	Priority   uint8         `json:"priority"`
	Left       time.Duration `json:"left"` // until it is let in
	Departures int           `json:"departures"`
}

// flaps is what a member saw of the coming and going of another.
type flaps struct {
	name   string
	recent []time.Time // departures within Window
	last   time.Time   // the latest
	count  int         // since all was forgotten
	level  int         // how often it was to be held back since then
	told   Peer        // the start of the agent of which the event told
}

// depart is f after another departure. It changes nothing that f refers to.
func (d Dampening) depart(f flaps, name string, at time.Time) flaps {
	if f.name != name || at.Sub(f.last) > d.Forgive {
		f = flaps{name: name}
	}
	f.recent = slices.DeleteFunc(slices.Clone(f.recent), func(t time.Time) bool { return at.Sub(t) > d.Window })
	f.recent = append(f.recent, at)
	f.recent = f.recent[max(0, len(f.recent)-d.Departures):]
	f.last = at
	f.count++
	if f.level > 0 || len(f.recent) >= d.Departures {
		f.level++
	}
	return f
}

// length is how long a member is held back.
func (d Dampening) length(level int) time.Duration {
	length := d.First
	for range level - 1 {
		if length >= d.Max {
			break
		}
		length *= 2
	}
	return min(length, d.Max)
}

// countDepartures notes who left with this commit and had not announced it: who stops in
// order is stopped in the view before it leaves. Every member counts, so that whoever
// coordinates next goes on nearly the same.
func (m *Machine) countDepartures(before *Assignment) {
	if before == nil || m.dampening().Departures == 0 {
		return
	}
	for _, i := range before.Members {
		if i.State.holds() && i.Priority != m.self.Priority && !m.committed.has(i.peer()) {
			m.flaps[i.Priority] = m.dampening().depart(m.flaps[i.Priority], i.Name, m.now)
		}
	}
}

// heldUntil is when a member that is in no view is let in, and what speaks against it;
// the zero time: nothing does. The hold runs from its return: one that takes long to
// start is not let off.
func (m *Machine) heldUntil(p Peer) (until time.Time, f flaps) {
	d := m.dampening()
	if d.Departures == 0 || m.committed == nil || !m.served() {
		return time.Time{}, f
	}
	f = m.flaps[p.Priority]
	back := m.since[p]
	if i, ok := m.committed.Member(p.Priority); ok && i.peer() != p && i.State.holds() {
		f = d.depart(f, p.Name, back) // restarted before its end was noticed: that counts at the next commit
	}
	if f.level == 0 || f.name != p.Name || m.now.Sub(f.last) > d.Forgive {
		return time.Time{}, f
	}
	if back.Before(f.last) {
		back = f.last
	}
	return back.Add(d.length(f.level)), f
}

// served reports whether somebody in the view answers. Else even a fickle member is
// better than none.
func (m *Machine) served() bool {
	return slices.ContainsFunc(m.committed.Members, func(i Info) bool { return i.State == Started && !m.gone(i) })
}

// dampen takes those out of a wanted view that are to be held back. Who is in the view
// stays.
func (m *Machine) dampen(members []Info) []Info {
	return slices.DeleteFunc(members, func(i Info) bool {
		p := i.peer()
		if _, in := m.inView(p); in || p == m.self.peer() {
			return false
		}
		until, _ := m.heldUntil(p)
		return m.now.Before(until)
	})
}

// holds is whom this member, as coordinator, holds back.
func (m *Machine) holds() (all []Hold) {
	if m.committed == nil {
		return nil
	}
	for _, p := range m.alive {
		if _, in := m.inView(p); in {
			continue
		}
		if until, f := m.heldUntil(p); m.now.Before(until) {
			all = append(all, Hold{p.Priority, until.Sub(m.now), f.count})
		}
	}
	return all
}

// tellHolds reports each hold once.
func (m *Machine) tellHolds() {
	for _, h := range m.holds() {
		f := m.flaps[h.Priority]
		i := slices.IndexFunc(m.alive, func(p Peer) bool { return p.Priority == h.Priority })
		if f.level == 0 || f.told == m.alive[i] {
			continue
		}
		f.told = m.alive[i]
		m.flaps[h.Priority] = f
		m.event("held back", "%s left the cluster %d times without a stop: it is let in after %s, at %s; look for the cause in its log",
			f.name, f.count, h.Left.Round(time.Second), m.now.Add(h.Left).Format(time.TimeOnly))
	}
}

// rumour is what a coordinator said about whom it holds back.
type rumour struct {
	holds []Hold
	at    time.Time
}

// hearHolds takes what came with an Announce.
func (m *Machine) hearHolds(holds []Hold) {
	m.rumour = rumour{at: m.now}
	for _, h := range holds[:min(len(holds), nlbhash.MaxPriority)] {
		if h.Priority >= 1 && h.Priority <= nlbhash.MaxPriority && h.Left > 0 && h.Left <= time.Hour && h.Departures > 0 {
			m.rumour.holds = append(m.rumour.holds, h)
		}
	}
}

// HeldBack tells who is held back, by the word of the coordinator.
func (m *Machine) HeldBack() []Hold {
	if m.committed != nil && m.coordinator() == m.self.peer() {
		return m.holds()
	}
	var all []Hold
	for _, h := range m.rumour.holds {
		if h.Left -= m.now.Sub(m.rumour.at); h.Left > 0 {
			all = append(all, h)
		}
	}
	return all
}

func (m *Machine) isHeldBack(priority uint8) bool {
	return slices.ContainsFunc(m.HeldBack(), func(h Hold) bool { return h.Priority == priority })
}

// dampening is what the configuration in force asks for.
func (m *Machine) dampening() Dampening {
	if !m.plan.Dampen {
		return Dampening{}
	}
	return m.cfg.Dampening
}
