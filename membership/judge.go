package membership

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/hashicorp/memberlist"
)

// judge settles conflicts until ctx is over: it tells losers elsewhere, and
// publishes the refusal of this member once the winner is proven alive.
func (m *Membership) judge(ctx context.Context) {
	told := newLimiter(time.Second)
	for {
		select {
		case <-ctx.Done():
			return
		case c := <-m.roster.conflicts:
			self := m.roster.me()
			if c.loser.Name != self.Name || c.loser.Instance != self.Instance {
				if told.allow(c.loser.Name + c.loser.endpoint().String()) {
					m.tell(c)
				}
				continue
			}
			if m.stale(c.winner) || !m.answers(ctx, c.winner) {
				continue // its old self, or dead: the others will notice
			}
			m.refuse(&DuplicateError{Self: self.Peer, Holder: c.winner.Peer})
		}
	}
}

// yield notes that this member's name is another's, who would be taken for gone if this
// one said goodbye.
func (m *Membership) yield(err error) {
	if errors.Is(err, ErrDuplicateName) {
		m.usurper.Store(true)
	}
}

// refuse publishes the first refusal; the owner is expected to stop.
func (m *Membership) refuse(err error) {
	m.yield(err)
	select {
	case m.refused <- err:
		m.log.Error("this member is refused", "reason", err)
	default:
	}
}

// stale reports whether the claim is of an earlier process than the one known.
func (m *Membership) stale(c claim) bool {
	live, _, ok := m.roster.find(c.Name)
	return ok && live.Instance != c.Instance
}

// answers probes a member a few times. One answer is not enough: it may be a
// late one to an earlier process of ours, since probes are numbered from 1.
func (m *Membership) answers(ctx context.Context, c claim) bool {
	if c.endpoint() == m.roster.me().endpoint() {
		return false // that is us now
	}
	addr := net.UDPAddrFromAddrPort(c.endpoint())
	answers := 0
	for range 5 {
		if ctx.Err() != nil {
			return false
		}
		if _, err := m.list.Ping(c.Name, addr); err == nil {
			answers++
		}
		if answers == 2 {
			return true
		}
	}
	return false
}

// tell sends the loser of a conflict a notice that names the winner.
func (m *Membership) tell(c conflict) {
	f := frame{kind: kindNotice, from: m.opts.Self.Name, instance: m.opts.Self.Instance, data: c.winner.encode()}
	to := memberlist.Address{Addr: c.loser.endpoint().String(), Name: c.loser.Name}
	m.sent(m.list.SendToAddress(to, f.encode()))
}

// noticed takes a notice. It is only a hint: the winner must be a senior rival
// and answer a probe.
func (m *Membership) noticed(b []byte) {
	winner, err := decodeClaim(b)
	if err != nil {
		m.count.badMessage.Add(1)
		return
	}
	self := m.roster.me()
	if !winner.rivals(self) || !winner.senior(self) {
		return
	}
	select {
	case m.roster.conflicts <- conflict{winner: winner, loser: self}:
	default:
	}
}

func decodeClaim(b []byte) (claim, error) {
	if len(b) < 3 {
		return claim{}, errFrame
	}
	n := memberlist.Node{Port: binary.BigEndian.Uint16(b)}
	rest, ok := b[2:], true
	take := func() []byte {
		if len(rest) < 1 || len(rest) < 1+int(rest[0]) {
			ok = false
			return nil
		}
		field := rest[1 : 1+int(rest[0])]
		rest = rest[1+int(rest[0]):]
		return field
	}
	n.Addr = net.IP(take())
	n.Name = string(take())
	if _, valid := netip.AddrFromSlice(n.Addr); !ok || !valid {
		return claim{}, errFrame
	}
	n.Meta = rest
	return parseClaim(&n)
}
