package acceptance

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/opennlb/opennlb/lab"
)

// TestMembershipBlocked cuts the members' talk while clients' frames reach all of
// them: the segment must be the fence. Never two answers (checkAlways counts), one
// group serving within 2 s, no flip-flop, and one cluster again when it is over.
func TestMembershipBlocked(t *testing.T) {
	c := start(t, lab.Options{Members: 4, Clients: 300, Edit: undampened})
	rng := rand.New(rand.NewPCG(7, 7))
	for round := range trials(4, 50) {
		blocked := c.block(round%4, rng)
		began := time.Now()
		probe := c.Client.StartProbe(lab.ProbeOptions{Target: web, Lanes: map[string][]netip.Addr{"all": c.Client.Addrs}})
		c.sleep(2500 * time.Millisecond)
		epochs := c.epochs()
		c.sleep(1500 * time.Millisecond)
		if again := c.epochs(); again != epochs {
			t.Logf("round %d, %s: the epoch still moves: %s, then %s", round, blocked, epochs, again)
		}
		r := probe.Stop()["all"]
		late := 0
		for _, a := range r.Attempts {
			if a.Err != nil && a.At > 2500*time.Millisecond {
				late++
			}
		}
		t.Logf("round %d, %s: %d attempts, %d failed, longest silence %s, epochs %s", round, blocked, len(r.Attempts), r.Failed(), r.Silence, epochs)
		if late > 0 || r.Unended {
			t.Errorf("round %d, %s: %d attempts failed later than 2.5 s after the cut", round, blocked, late)
		}
		c.ok(c.Switch.Heal(c.ctx))
		c.converged(len(c.Members))
		if took := time.Since(began) - 4*time.Second; took > 8*time.Second {
			t.Errorf("round %d: one cluster again only after %s", round, took)
		}
		c.sleep(300 * time.Millisecond)
		c.owners(c.Client.Addrs[:60])
	}
}

// block stops membership between some members and says what it did.
func (c *cluster) block(kind int, rng *rand.Rand) string {
	c.t.Helper()
	cut := func(from, to *lab.Member) { c.ok(c.Switch.BlockMembership(c.ctx, from.Host, to.Host)) }
	m := c.Members
	switch kind {
	case 0: // two and two
		for _, a := range m[:2] {
			for _, b := range m[2:] {
				cut(a, b)
				cut(b, a)
			}
		}
		return "2|2"
	case 1: // the coordinator is not heard
		for _, b := range m[1:] {
			cut(m[0], b)
		}
		return "nobody hears " + m[0].Name
	case 2: // one against three
		odd := m[rng.IntN(len(m))]
		for _, b := range m {
			if b != odd {
				cut(odd, b)
				cut(b, odd)
			}
		}
		return odd.Name + "|others"
	}
	said := ""
	for range 2 { // random pairs, one direction
		from, to := rng.IntN(len(m)), rng.IntN(len(m)-1)
		if to >= from {
			to++
		}
		cut(m[from], m[to])
		said += fmt.Sprintf("%s->%s ", m[from].Name, m[to].Name)
	}
	return said
}

// epochs is what each member says of its epoch and lease.
func (c *cluster) epochs() string {
	c.t.Helper()
	out := ""
	for _, m := range c.Members {
		s, err := m.Status(c.ctx)
		c.ok(err)
		out += fmt.Sprintf("%s:%d", m.Name, s.Epoch)
		if !s.Lease {
			out += "(silent)"
		}
		out += " "
	}
	return out
}
