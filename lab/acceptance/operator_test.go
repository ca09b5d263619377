package acceptance

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/lab"
)

// operator does one thing after the other to a cluster in use, and remembers what it did,
// so that at least one started member keeps each rule that clients ask.
type operator struct {
	*cluster
	rng     *rand.Rand
	state   map[string]string            // of members
	off     map[string]map[string]string // rule, member: drain or disable
	spares  []string                     // rules that nobody asks
	vips    []string                     // VIPs that nobody asks
	held    []*sessions
	counter int
}

// TestOperator lets an operator act on random members by way of random members, while
// clients make new connections and keep old ones: no request fails, and in the end all
// members have one configuration and one epoch.
func TestOperator(t *testing.T) {
	clients := trials(60, 200)
	c := start(t, lab.Options{Members: 4, Clients: clients + 400, Edit: undampened, Rules: lab.DefaultRules + `
- {name: boss, protocol: tcp, ports: 8, mode: single}
`})
	boss := netip.AddrPortFrom(lab.VIP, 8)
	for _, m := range c.Members {
		c.ok(m.StartEcho(echo.Port()))
		c.ok(m.StartEcho(boss.Port()))
	}
	o := newOperator(c, trials(7, int(time.Now().UnixNano()%1e6)))
	o.held = []*sessions{c.hold(c.Client.Addrs[:clients*4/5], echo), c.hold(c.Client.Addrs[clients*4/5:clients], boss)}
	fresh := lab.ProbeOptions{Target: web, Lanes: map[string][]netip.Addr{}, Every: 4 * time.Millisecond, Timeout: 3 * time.Second}
	for i := range trials(1, 4) { // 250 per second in each lane
		fresh.Lanes[fmt.Sprint(i)] = c.Client.Addrs[clients+100*i : clients+100*(i+1)]
	}
	probe := c.Client.StartProbe(fresh)
	began := time.Now()
	done := map[string]int{}
	for n := range trials(14, 50) {
		at := time.Now()
		verb, what := o.act(n)
		done[verb]++
		t.Logf("%2d %s: %s, after %s", n, verb, what, time.Since(at).Round(time.Millisecond))
		c.sleep(100*time.Millisecond + rand.N(300*time.Millisecond))
	}
	o.restore()
	now := c.agreed() // and the epoch is one
	lasted := time.Since(began)
	c.sleep(300 * time.Millisecond)
	attempts, failed, slow := 0, 0, 0
	var stall time.Duration
	for lane, r := range probe.Stop() {
		attempts, failed, stall = attempts+len(r.Attempts), failed+r.Failed(), max(stall, r.Stall)
		for _, a := range r.Attempts {
			if a.Took > 200*time.Millisecond {
				slow++
			}
			if a.Err != nil {
				t.Logf("lane %s: %s after %s: %v", lane, a.From, a.At.Round(time.Millisecond), a.Err)
			}
		}
	}
	for _, s := range o.held {
		s.stop()
	}
	t.Logf("%v in %s: configuration %d, epoch %d; %.0f new connections a second, %d in all, %d failed, %d slower than 200 ms, pause of the probe %s",
		done, lasted.Round(time.Second), now.Version, c.status().Epoch, float64(attempts)/lasted.Seconds(), attempts, failed, slow, stall)
	if failed > 0 {
		c.judge(stall)("%d of %d new connections failed", failed, attempts)
	}
}

func newOperator(c *cluster, seed int) *operator {
	c.t.Logf("seed %d", seed)
	o := &operator{cluster: c, rng: rand.New(rand.NewPCG(uint64(seed), 5)), state: map[string]string{}, off: map[string]map[string]string{}}
	for _, m := range c.Members {
		o.state[m.Name] = control.Start
	}
	for _, rule := range []string{"web", "echo", "boss"} {
		o.off[rule] = map[string]string{}
	}
	return o
}

// act does the next thing. In the first round all kinds come in turn, then at random.
func (o *operator) act(n int) (verb, what string) {
	kinds := []func() (string, string){
		o.addRule, o.weight, o.drain, o.addVIP, o.ruleDrain, o.handling, o.changeAffinity,
		o.stop, o.removeVIP, o.start, o.rollback, o.ruleEnable, o.removeRule, o.drain,
	}
	for {
		i := n
		if n >= len(kinds) {
			i = o.rng.IntN(len(kinds))
		}
		if verb, what = kinds[i](); verb != "" {
			return verb, what
		}
		n = len(kinds) // what was due cannot be done now: another thing
	}
}
