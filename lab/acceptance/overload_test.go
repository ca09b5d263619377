package acceptance

import (
	"runtime"
	"testing"
	"time"

	"github.com/opennlb/opennlb/lab"
)

// TestOverload has four busy loops for each processor beside the cluster, and lets a
// member die and another leave and come back meanwhile. Members may be late and leave
// each other out; but never two answers (checkAlways counts), and afterwards one
// cluster again.
func TestOverload(t *testing.T) {
	c := start(t, lab.Options{Members: 4, Clients: 300, Edit: undampened})
	part := time.Duration(trials(3, 20)) * time.Second
	epoch := c.status().Epoch
	var loops []*lab.Process
	for range 4 * runtime.NumCPU() {
		p, err := c.Client.StartCommand("sh", "-c", "while :; do :; done")
		c.ok(err)
		loops = append(loops, p)
	}
	c.sendDatagrams(5 * time.Millisecond)
	probe := c.Client.StartProbe(lab.ProbeOptions{Target: web, Lanes: lanes(c.owners(c.Client.Addrs[:120])), Every: 20 * time.Millisecond})
	c.sleep(part)
	t.Logf("%s of overload alone: %d changes of the view, members saw another leave %d times, and left by themselves %d times",
		part, c.status().Epoch-epoch, c.events("leave"), c.events("out"))
	c.ok(c.Members[3].Kill())
	c.sleep(part)
	c.ok(c.Members[3].Start())
	c.ok(c.Members[1].Restart())
	c.sleep(part)
	t.Logf("with a crash, a start and a restart: %d changes of the view, members left by themselves %d times", c.status().Epoch-epoch, c.events("out"))
	for _, p := range loops {
		c.ok(p.Kill())
	}
	for name, r := range probe.Stop() {
		t.Logf("clients of %s: %d attempts, %d failed, longest silence %s, the probe itself stalled for %s", name, len(r.Attempts), r.Failed(), r.Silence, r.Stall)
	}
	t.Logf("%d datagrams sent, %d answered", c.datagrams.Sent(), c.datagrams.Answered())
	c.converged(len(c.Members))
	c.sleep(300 * time.Millisecond)
	c.answeredOnce(time.Second)
}

// events counts what the running members have noted of one kind.
func (c *cluster) events(kind string) (n int) {
	c.t.Helper()
	for _, m := range c.Members {
		if !m.Running() {
			continue
		}
		events, err := m.Control().Events(c.ctx, 0, 0)
		c.ok(err)
		for _, e := range events {
			if e.Kind == kind {
				n++
			}
		}
	}
	return n
}
