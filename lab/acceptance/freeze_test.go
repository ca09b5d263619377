package acceptance

import (
	"testing"
	"time"

	"github.com/opennlb/opennlb/lab"
)

// TestFrozenMemberIsSilent stops the agent's process. Its data plane must end its
// answers by itself, before the others take over, and stay silent after the thaw
// until the members agreed anew.
func TestFrozenMemberIsSilent(t *testing.T) {
	c := start(t, lab.Options{Clients: 300, Edit: undampened})
	for i := range trials(2, 10) {
		frozen := c.Members[i%len(c.Members)]
		by := lanes(c.owners(c.Client.Addrs[:90]))
		probe := c.Client.StartProbe(lab.ProbeOptions{Target: web, Lanes: by})
		c.sleep(200 * time.Millisecond)
		at := probe.Since()
		c.ok(frozen.Freeze())
		c.sleep(2 * time.Second)
		before := c.accepted(frozen)
		c.sleep(500 * time.Millisecond)
		if after := c.accepted(frozen); after != before {
			t.Errorf("%s accepted %d SYNs while frozen, long after its lease", frozen.Name, after-before)
		}
		thawed := probe.Since()
		c.ok(frozen.Thaw())
		c.converged(len(c.Members))
		reports := probe.Stop()
		own, others := reports[frozen.Name], time.Duration(0)
		last := time.Duration(0) // answer of the frozen member before the thaw
		for _, a := range own.Attempts {
			switch {
			case a.Err != nil || a.At < at || a.At > thawed:
			case a.Member == frozen.Name:
				last = max(last, a.At)
			case others == 0:
				others = a.At
			}
		}
		t.Logf("%s froze: last own answer after %s, first answer of another after %s, silence %s",
			frozen.Name, last-at, others-at, own.Silence)
		if others == 0 {
			t.Errorf("nobody took over from %s", frozen.Name)
		}
		if last > others && others != 0 {
			t.Errorf("%s answered %s after another had taken over", frozen.Name, last-others)
		}
		if last-at > 500*time.Millisecond {
			t.Errorf("%s answered for %s after it froze: its lease is 400 ms", frozen.Name, last-at)
		}
		for name, r := range reports {
			if name == frozen.Name {
				continue
			}
			for _, a := range r.Attempts { // later ones may meet the return of the frozen member, which moves buckets
				if a.Err != nil && a.At > at && a.At < thawed {
					t.Errorf("a client of %s got no answer %s after %s froze: %v", name, a.At-at, frozen.Name, a.Err)
				}
			}
		}
	}
}

// TestShortFreezes pauses the agent for less than and around the lease, again and
// again: checkAlways counts the answers.
func TestShortFreezes(t *testing.T) {
	c := start(t, lab.Options{Clients: 300, Edit: undampened})
	by := lanes(c.owners(c.Client.Addrs[:90]))
	probe := c.Client.StartProbe(lab.ProbeOptions{Target: web, Lanes: by, Every: 5 * time.Millisecond})
	epoch := c.status().Epoch
	c.ok(c.Members[1].Freeze())
	c.sleep(150 * time.Millisecond)
	c.ok(c.Members[1].Thaw())
	c.sleep(time.Second)
	if now := c.status().Epoch; now != epoch {
		t.Errorf("a freeze below half the lease moved the epoch from %d to %d", epoch, now)
	}
	for i := range trials(5, 40) {
		m := c.Members[i%len(c.Members)]
		c.ok(m.Freeze())
		c.sleep(time.Duration(300+100*(i%6)) * time.Millisecond)
		c.ok(m.Thaw())
		c.sleep(300 * time.Millisecond)
	}
	c.converged(len(c.Members))
	c.sleep(600 * time.Millisecond) // the last attempts under way
	for name, r := range probe.Stop() {
		t.Logf("clients of %s: %d attempts, %d failed, longest silence %s", name, len(r.Attempts), r.Failed(), r.Silence)
	}
	c.owners(c.Client.Addrs[:90]) // everybody is answered again
}

// accepted is the number of SYNs that a member's data plane accepted.
func (c *cluster) accepted(m *lab.Member) uint64 {
	c.t.Helper()
	all, err := c.Accepted(c.ctx)
	c.ok(err)
	return all[m.Name]
}
