package acceptance

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/lab"
)

// TestManyMembers forms a large cluster, in a soak the largest there may be, lets it rest, makes planned
// changes and kills a member. All members share this machine, whose processors they
// need half of when idle: with the preset for busy hosts a stall of them is no death.
func TestManyMembers(t *testing.T) {
	const rest = 3 * time.Second
	members := trials(16, 32)
	began := time.Now()
	c := start(t, lab.Options{Members: members, Clients: 480, Edit: detecting("relaxed")})
	t.Logf("%d members formed in %s at epoch %d, each with %s of a processor", members, time.Since(began), c.status().Epoch, c.spent()/time.Duration(members))
	c.everybodyAnswers(members)

	epoch, spent := c.status().Epoch, c.spent()
	c.sleep(time.Duration(trials(1, 20)) * rest)
	share := 100 * (c.spent() - spent).Seconds() / float64(members) / (time.Duration(trials(1, 20)) * rest).Seconds()
	t.Logf("at rest: %d epochs, an idle member takes %.1f %% of a processor", c.status().Epoch-epoch, share)
	c.converged(members)
	if now := c.status().Epoch; now != epoch {
		c.judge(0)("the epoch moved from %d to %d though nothing happened", epoch, now)
	}

	var took []time.Duration
	for n := range trials(4, 40) {
		m := c.Members[n%members]
		epoch, began := c.status().Epoch, time.Now()
		m.Config["member"].(map[string]any)["rules"] = map[string]any{"web": map[string]any{"weight": 51 + n}}
		c.ok(m.Reload())
		c.sleep(500 * time.Millisecond)
		c.converged(members)
		took = append(took, c.lastInForce(epoch+1).Sub(began))
	}
	slices.Sort(took)
	p99 := took[len(took)*99/100]
	t.Logf("%d planned changes, from the command to the last member: median %s, p99 %s", len(took), took[len(took)/2], p99)
	if p99 > time.Duration(trials(1000, 250))*time.Millisecond {
		t.Errorf("p99 %s", p99)
	}

	c.act(c.Members[1], control.StateRequest{Action: control.Drain, Members: []string{c.Members[4].Name}})
	c.waitState(c.Members[4].Name, "stopped")
	began = time.Now()
	c.ok(c.Members[members-1].Kill())
	c.converged(members - 1)
	t.Logf("without the killed member after %s", time.Since(began))
	c.everybodyAnswers(members - 2)
}

// everybodyAnswers asks from many addresses, until all have an answer, and wants that
// n members answered.
func (c *cluster) everybodyAnswers(n int) {
	c.t.Helper()
	answered, again := make(map[string]int), 0
	for _, src := range c.Client.Addrs {
		for c.ctx.Err() == nil {
			name, err := c.askWithin(2*time.Second, src, web)
			if err == nil {
				answered[name]++
				break
			}
			again++
		}
	}
	c.ok(c.ctx.Err())
	c.t.Logf("%d clients answered by %d members, %d attempts failed", len(c.Client.Addrs), len(answered), again)
	if len(answered) != n {
		c.t.Errorf("%d members answer, want %d", len(answered), n)
	}
}

// spent is the processor time that all nlbds have used.
func (c *cluster) spent() (sum time.Duration) {
	c.t.Helper()
	for _, m := range c.Members {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", m.Process().PID())) // proc_pid_stat(5)
		c.ok(err)
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		var user, system int
		_, err = fmt.Sscan(fields[11]+" "+fields[12], &user, &system) // hundredths of a second
		c.ok(err)
		sum += time.Duration(user+system) * 10 * time.Millisecond
	}
	return sum
}
