package agent

import (
	"net/netip"
	"slices"
	"time"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/converge"
	"github.com/opennlb/opennlb/dataplane"
	"github.com/opennlb/opennlb/dataplane/sockets"
	"github.com/opennlb/opennlb/portrules"
)

const (
	countEvery = 500 * time.Millisecond // connections are counted this often while they matter
	settle     = time.Second            // not sooner after a change: handshakes under way must show
)

// drain is what an administrator asked of a drain.
type drain struct {
	deadline time.Time // zero: wait for ever
}

// census is who was connected to a VIP at one moment.
type census struct {
	epoch    uint64
	conns    []sockets.Conn
	clients  int               // beside them: that stay with this member, see keeping, and have no connection
	occupied []converge.Bitmap // by slot: the buckets of both
	err      error
}

// countConnections starts a count while this member keeps connections in buckets
// that it owns no more. It runs beside the loop: there may be many.
func (l *loop) countConnections() {
	a := l.machine.Committed()
	if a == nil || l.counting || l.machine.Holding() == 0 && l.machine.Self().State != converge.Draining {
		return
	}
	if a.Epoch.N != l.settled.epoch {
		l.settled = settled{a.Epoch.N, l.now.wall.Add(settle)}
	}
	if l.now.wall.Before(l.settled.at) || l.now.wall.Before(l.nextCount) {
		return
	}
	l.counting, l.nextCount = true, l.now.wall.Add(countEvery)
	vips, policy, keep := l.vips, l.policy, keeping{rules: l.keep.rules, slot: l.keep.slot, some: l.keep.some} // none of it is changed in place
	go func() {
		conns, err := connections(vips, l.engine.FollowsNAT())
		var kept []dataplane.Client
		if keep.some && err == nil {
			kept, err = l.engine.Clients()
		}
		c := census{epoch: a.Epoch.N, err: err}
		if err == nil {
			c.take(policy, keep, conns, kept)
		}
		l.counted <- c // has room for the only one under way
	}()
}

// connections are those with sockets and, if nat, those that the kernel passes on.
func connections(vips []netip.Addr, nat bool) ([]sockets.Conn, error) {
	conns, err := sockets.Established(vips)
	if err != nil || !nat {
		return conns, err
	}
	forwarded, err := sockets.Forwarded(vips)
	return append(conns, forwarded...), err
}

// settled is when connections may be counted under an epoch.
type settled struct {
	epoch uint64
	at    time.Time
}

func (l *loop) onCensus(c census) error {
	l.counting = false
	a := l.machine.Committed()
	if a == nil || a.Epoch.N != c.epoch {
		return nil // of another time
	}
	if c.err != nil {
		l.log.Warn("count connections", "error", c.err)
		return nil
	}
	l.connections = len(c.conns) + c.clients
	if err := l.apply(l.machine.Connections(l.now.wall, c.occupied)); err != nil {
		return err
	}
	if !drains(a, l.machine.Self()) {
		return nil
	}
	l.leftKnown = true
	for _, p := range l.peers {
		if p.Name != l.cfg.Member.Name {
			l.send(p.Name, wire{Report: &report{Connections: l.connections}})
		}
	}
	return l.drained(c)
}

// drains reports whether a member drains, and the view knows. Before that it still gets new
// connections, and a count of none says nothing.
func drains(a *converge.Assignment, self converge.Info) bool {
	if self.State != converge.Draining {
		return false
	}
	me, ok := a.Member(self.Priority)
	return ok && me.Instance == self.Instance && me.State == converge.Draining
}

// take counts connections, and clients that stay, and maps them to the buckets of each slot. Of
// many, with many rules, that takes longer than a lease: it is not for the loop.
func (c *census) take(p *portrules.Policy, keep keeping, conns []sockets.Conn, kept []dataplane.Client) {
	c.conns, c.occupied = conns, make([]converge.Bitmap, len(p.Rules)+1)
	connected := make(map[portrules.ClientKey]bool)
	kept = slices.DeleteFunc(kept, func(o dataplane.Client) bool { return !keep.keeps(o) })
	for _, conn := range conns {
		rule := p.Lookup(conn.Local.Addr(), portrules.TCP, conn.Local.Port())
		slot := rule
		if rule < 0 {
			slot = len(p.Rules)
		}
		c.occupied[slot].Set(p.BucketOf(rule, conn.Remote))
		if rule >= 0 && len(kept) > 0 {
			connected[p.ClientKey(rule, portrules.ProtoTCP, portrules.Flow{Src: conn.Remote, Dst: conn.Local})] = true
		}
	}
	for _, o := range kept {
		c.occupied[keep.slot[o.Key.Rule]].Set(int(o.Key.Bucket))
		if !connected[o.Key] {
			c.clients++
		}
	}
}

// drained ends a drain when no connection is left and no client that stays, or no time.
func (l *loop) drained(c census) error {
	conns, left := c.conns, l.connections
	late := !l.drain.deadline.IsZero() && l.now.wall.After(l.drain.deadline)
	switch {
	case left == 0:
		l.event(converge.Event{Kind: "drained", Text: "the last connection closed"})
	case late:
		go func() { // of many that takes longer than a lease
			for _, c := range conns {
				if err := sockets.Kill(c); err != nil {
					l.log.Warn("close a connection left at the end of the drain", "client", c.Remote, "error", err)
				}
			}
		}()
		text := "the time is over: " + plural(len(conns), "connection") + " closed"
		if n := left - len(conns); n > 0 {
			text += ", " + plural(n, "client") + " without one let go"
		}
		l.event(converge.Event{Kind: "drained", Text: text})
	default:
		return nil
	}
	kept := l.retain(converge.Stopped) // else a restart would drain once more
	go func() {
		if err := <-kept; err != nil {
			l.log.Warn("a restart will drain this member again", "error", err)
		}
	}()
	return l.changeState(converge.Stopped)
}

// connectionsOf is how many connections a member has left while it drains, or that nobody
// has counted them since it does.
func (l *loop) connectionsOf(m control.Member) (left int, counting bool) {
	switch {
	case m.State != converge.Draining.String():
		return 0, false
	case m.Name == l.cfg.Member.Name:
		if !l.leftKnown {
			return 0, true
		}
		return l.connections, false
	}
	r, ok := l.reports[m.Name]
	return r.Connections, !ok
}
