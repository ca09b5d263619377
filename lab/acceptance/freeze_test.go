package acceptance

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/opennlb/opennlb/lab"
)

// TestFreezes pauses random members for 0.1 to 3 s at random moments, under SYNs and
// datagrams: checkAlways counts the answers. A pause below half the lease moves nothing.
func TestFreezes(t *testing.T) {
	c := start(t, lab.Options{Clients: 300, Edit: undampened})
	c.sendDatagrams(5 * time.Millisecond)
	by := lanes(c.owners(c.Client.Addrs[:90]))
	probe := c.Client.StartProbe(lab.ProbeOptions{Target: web, Lanes: by, Every: 10 * time.Millisecond})
	freeze := func(from, to time.Duration) (lasted time.Duration) {
		m := c.Members[rand.IntN(len(c.Members))]
		began := time.Now()
		c.ok(m.Freeze())
		c.sleep(from + rand.N(to-from))
		c.ok(m.Thaw())
		return time.Since(began)
	}
	epoch, longest := c.status().Epoch, time.Duration(0)
	for range trials(5, 40) {
		longest = max(longest, freeze(20*time.Millisecond, 190*time.Millisecond))
		c.sleep(rand.N(200 * time.Millisecond))
	}
	c.sleep(time.Second)
	stall := max(0, longest-190*time.Millisecond) // it may have ended a freeze too late
	for _, r := range probe.Report() {
		stall = max(stall, r.Stall)
	}
	complain := c.judge(stall)
	if now := c.status().Epoch; now != epoch {
		complain("freezes of %s at most, below half the lease, moved the epoch from %d to %d", longest, epoch, now)
	}
	for name, r := range probe.Report() {
		if r.Failed() > 0 {
			complain("clients of %s: %s, though nobody froze for longer than %s", name, failures(r, 0), longest)
		}
	}
	for range trials(4, 60) {
		freeze(100*time.Millisecond, 3*time.Second)
		c.sleep(rand.N(time.Second))
	}
	c.converged(len(c.Members))
	c.sleep(600 * time.Millisecond) // the last attempts under way
	for name, r := range probe.Stop() {
		t.Logf("clients of %s: %d attempts, %d failed, longest silence %s", name, len(r.Attempts), r.Failed(), r.Silence)
	}
	t.Logf("%d datagrams sent, %d answered; epoch %d became %d", c.datagrams.Sent(), c.datagrams.Answered(), epoch, c.status().Epoch)
	c.answeredOnce(time.Second)
}
