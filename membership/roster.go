package membership

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// roster is the set of live members and the judge of who may join it.
// memberlist calls it with its own lock held, so it must not call back.
type roster struct {
	count *counters

	mu        sync.Mutex
	self      claim
	live      map[string]*member // other members, by name
	seen      map[netip.AddrPort]time.Time
	conflicts chan conflict // for the judge; overflow is dropped, the next announcement brings it again
	against   *claim        // latest senior rival of self
	snapshots chan Snapshot
	last      Snapshot
	held      bool // do not publish: what is known is not to be trusted
}

type member struct {
	claim
	outbox *outbox
}

// conflict is a pair of members of which the loser has to go.
type conflict struct{ winner, loser claim }

func newRoster(self claim, count *counters) *roster {
	r := &roster{
		count:     count,
		self:      self,
		live:      make(map[string]*member),
		seen:      make(map[netip.AddrPort]time.Time),
		conflicts: make(chan conflict, 64),
		snapshots: make(chan Snapshot, 1),
	}
	return r
}

// admit judges the announcement of a node, first or repeated. An error keeps
// it out of this member's view; members already in are never put out by a
// newcomer, they leave by themselves when they are the junior.
func (r *roster) admit(n *memberlist.Node) error {
	c, err := parseClaim(n)
	if err != nil {
		r.count.badMetadata.Add(1)
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := c.differs(r.self); err != nil {
		r.count.wrongDetection.Add(1)
		return err
	}
	rival, found := r.rivalOf(c)
	if !found {
		return nil
	}
	if c.Name == rival.Name {
		r.count.duplicateName.Add(1)
	} else {
		r.count.duplicatePriority.Add(1)
	}
	winner, loser := rival, c
	if c.senior(rival) {
		winner, loser = c, rival
	}
	if loser.Name == r.self.Name && loser.Instance == r.self.Instance {
		r.against = &winner
	}
	select {
	case r.conflicts <- conflict{winner, loser}:
	default:
	}
	return fmt.Errorf("member %q at %s and member %q at %s have the same name or priority; the first one has to go",
		loser.Name, loser.endpoint(), winner.Name, winner.endpoint())
}

// alike returns an error if a node that is not dead, one of those that another member
// knows, detects the dead otherwise than this member.
func (r *roster) alike(n *memberlist.Node) error {
	if n.State != memberlist.StateAlive && n.State != memberlist.StateSuspect {
		return nil // it may be back with another configuration
	}
	c, err := parseClaim(n)
	if err != nil {
		return nil //nolint:nilerr // admit judges it
	}
	if err = c.differs(r.me()); err != nil {
		r.count.wrongDetection.Add(1)
	}
	return err
}

func (r *roster) rivalOf(c claim) (claim, bool) {
	if c.rivals(r.self) {
		return r.self, true
	}
	for _, m := range r.live {
		if c.rivals(m.claim) {
			return m.claim, true
		}
	}
	return claim{}, false
}

// put takes in a member that joined, restarted or changed, and returns its
// outbox if it is new.
func (r *roster) put(n *memberlist.Node) *outbox {
	c, err := parseClaim(n)
	if err != nil || n.Name == r.self.Name {
		return nil // admit let it pass, so it is ourselves
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.remember(c.endpoint())
	defer r.publish()
	if m, ok := r.live[c.Name]; ok {
		m.claim = c
		return nil
	}
	o := newOutbox(n)
	r.live[c.Name] = &member{claim: c, outbox: o}
	return o
}

// drop removes a member that died or left.
func (r *roster) drop(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m, ok := r.live[name]
	if !ok {
		return
	}
	delete(r.live, name)
	close(m.outbox.gone)
	r.remember(m.endpoint())
	r.publish()
}

func (r *roster) alone() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.live) == 0
}

// remember notes where a member was, to be looked for there when it is gone.
func (r *roster) remember(a netip.AddrPort) {
	if _, ok := r.seen[a]; !ok && len(r.seen) >= maxSeen {
		oldest := a
		for b, t := range r.seen {
			if s, ok := r.seen[oldest]; !ok || t.Before(s) {
				oldest = b
			}
		}
		delete(r.seen, oldest)
	}
	r.seen[a] = time.Now()
}

// publish replaces the snapshot waiting to be read. Callers hold mu.
func (r *roster) publish() {
	if r.held {
		return
	}
	s := make(Snapshot, 0, len(r.live)+1)
	s = append(s, r.self.Peer)
	for _, m := range r.live {
		s = append(s, m.Peer)
	}
	s.sort()
	if slices.Equal(s, r.last) {
		return
	}
	r.last = s
	select {
	case <-r.snapshots:
	default:
	}
	r.snapshots <- s // has room: only publish sends, under mu
}

// hold stops publishing until it is called with false, which publishes.
func (r *roster) hold(held bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held = held
	r.publish()
}

func (r *roster) find(name string) (claim, *outbox, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m, ok := r.live[name]
	if !ok {
		return claim{}, nil, false
	}
	return m.claim, m.outbox, true
}

func (r *roster) me() claim {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.self
}

func (r *roster) setSince(ms uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.self.since = ms
}

// takeAgainst returns the senior rival heard of since the last call, if any.
func (r *roster) takeAgainst() (claim, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.against == nil {
		return claim{}, false
	}
	c := *r.against
	r.against = nil
	return c, true
}

// endpoints returns where live members are.
func (r *roster) endpoints() map[netip.AddrPort]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[netip.AddrPort]bool, len(r.live))
	for _, m := range r.live {
		out[m.endpoint()] = true
	}
	return out
}

// at reports whether a live member has this address.
func (r *roster) at(a netip.Addr) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.live {
		if m.Address == a {
			return true
		}
	}
	return false
}

// missing returns where members have been in the last hour and are no more.
func (r *roster) missing() []netip.AddrPort {
	alive := r.endpoints()
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []netip.AddrPort
	for a, t := range r.seen {
		if alive[a] {
			r.seen[a] = time.Now()
			continue
		}
		if time.Since(t) > time.Hour {
			delete(r.seen, a)
			continue
		}
		out = append(out, a)
	}
	return out
}

// close gives up on all members and publishes no more.
func (r *roster) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held = true
	for name, m := range r.live {
		delete(r.live, name)
		close(m.outbox.gone)
	}
}
