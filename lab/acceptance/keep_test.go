package acceptance

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/lab"
	"github.com/opennlb/opennlb/portrules"
)

// TestClientsStay lets clients come back again and again, over TCP with a new connection
// each time and over UDP, while members join, are drained and get other weights: none may
// change its member. Once they were silent for the timeout, each goes to the owner.
func TestClientsStay(t *testing.T) {
	timeout := time.Duration(trials(4, 10)) * time.Second
	for _, dataplane := range []string{"auto", "tc", "afpacket"}[:trials(1, 3)] {
		t.Run(dataplane, func(t *testing.T) {
			c := start(t, lab.Options{Members: 4, Clients: trials(300, 2000), Dataplane: dataplane, Edit: detecting("relaxed"), Rules: fmt.Sprintf(`
- {name: web, protocol: tcp, ports: 80, affinity: single, timeout: %[1]s}
- {name: echo-udp, protocol: udp, ports: 7, affinity: single, timeout: %[1]s}
`, timeout)})
			late := c.Members[3] // relaxed, for with so many clients members may have to wait for a processor
			c.ok(late.Stop())
			c.converged(3)
			n := len(c.Client.Addrs)
			w := c.watch()
			// Two processors also run four members: 2,000 clients cannot come every second.
			guests := c.visit(c.Client.Addrs[:2*n/3], c.Client.Addrs[2*n/3:], timeout, time.Duration(trials(1000, 4000))*time.Millisecond)
			guests.round(time.Second)

			for range trials(1, 3) {
				c.ok(late.Start())
				c.converged(4)
				c.sleep(1500 * time.Millisecond)
				c.weigh(c.Members[0], 10)
				c.sleep(1500 * time.Millisecond)
				c.act(c.Members[0], control.StateRequest{Action: control.Drain, Members: []string{c.Members[1].Name}})
				guests.round(time.Second)
				guests.displaced(0.15, 1)
				guests.listed()
				c.act(c.Members[2], control.StateRequest{Action: control.Start, Members: []string{c.Members[1].Name}})
				c.sleep(time.Second)
				c.weigh(c.Members[0], 100)
				c.sleep(time.Second)
				if soak() {
					guests.fallSilent(c.Members[1])
					c.act(c.Members[2], control.StateRequest{Action: control.Start, Members: []string{c.Members[1].Name}})
					c.sendDatagrams(10 * time.Millisecond)
					c.sleep(time.Second)
					guests.fallSilent(late)
					c.ok(late.Stop())
					c.sendDatagrams(10 * time.Millisecond)
				}
			}
			if _, twice := w.stop(); len(twice) > 0 && !soak() && !c.stoodStill() { // in a soak they were silent in between
				t.Errorf("answered by two: %v", twice)
			}
			guests.fallSilent(c.Members[1])
			guests.stop()
		})
	}
}

// fallSilent drains a member: not while its clients are active, but once they are silent.
// After that each is with the owner of its bucket.
func (g *guests) fallSilent(m *lab.Member) {
	c := g.c
	c.t.Helper()
	c.act(c.Members[0], control.StateRequest{Action: control.Drain, Members: []string{m.Name}})
	g.round(time.Second)
	if got := c.stateOf(m.Name); got != "draining" {
		c.t.Errorf("%s is %s, while its clients are active", m.Name, got)
	}
	c.datagrams.Stop() // they keep their member, too
	g.pause(func() {
		began := time.Now()
		c.waitState(m.Name, "stopped")
		c.t.Logf("%s has stopped %s after the last client fell silent, of a timeout of %s", m.Name, time.Since(began).Round(100*time.Millisecond), g.timeout)
		c.sleep(time.Until(began.Add(g.timeout + portrules.KeepGuard + time.Second)))
	})
	g.round(time.Second)
	if at := g.at(m.Name); at > 0 {
		c.t.Errorf("%d clients are at %s, which has stopped", at, m.Name)
	}
	g.displaced(0, 0)
}

// TestFlowsStay has a flow of UDP that goes on, and beside it new ones of the same client,
// as of a resolver: without a timeout the one stays with its member when that is drained,
// and the others go to the new owner. So they do not keep the member from stopping.
func TestFlowsStay(t *testing.T) {
	c := start(t, lab.Options{Clients: 20, Rules: `
- {name: echo-udp, protocol: udp, ports: 7, affinity: single}
`})
	c.datagrams.Stop() // they would keep each member
	client := c.Client.Addrs[0]
	ask := func(port uint16) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(c.ctx, time.Second)
		defer cancel()
		name, err := c.Client.AskUDP(ctx, netip.AddrPortFrom(client, port), echo)
		c.ok(err)
		return name
	}
	const flow = 7777
	before := ask(flow)
	port := uint16(20000)
	resolve := func() string { port++; return ask(port) }
	if got := resolve(); got != before {
		t.Errorf("a second flow of one client is with %s, the first with %s", got, before)
	}
	c.act(c.Members[0], control.StateRequest{Action: control.Drain, Members: []string{before}})
	c.converged(3)
	c.sleep(200 * time.Millisecond)
	for range 20 {
		if got := ask(flow); got != before {
			t.Fatalf("the flow went from %s to %s", before, got)
		}
		if got := resolve(); got == before {
			t.Errorf("a new flow of the client is still with %s, which drains", got)
		}
		c.sleep(100 * time.Millisecond)
	}
	if !soak() {
		return
	}
	for began := time.Now(); c.stateOf(before) != "stopped"; c.sleep(200 * time.Millisecond) {
		if resolve(); time.Since(began) > portrules.KeepUDP+10*time.Second {
			t.Fatalf("%s still drains, %s after its last flow fell silent", before, time.Since(began))
		}
	}
}

// TestClientsStayBesideCrash lets a member die and come back: its clients move, and those
// of the others stay, though the member that comes back has not heard them.
func TestClientsStayBesideCrash(t *testing.T) {
	c := start(t, lab.Options{Clients: 200, Edit: undampened, Rules: `
- {name: web, protocol: tcp, ports: 80, affinity: single, timeout: 20s}
- {name: echo-udp, protocol: udp, ports: 7, affinity: single}
`})
	guests := c.visit(c.Client.Addrs[:120], c.Client.Addrs[120:], 20*time.Second, time.Second)
	c.sleep(1500 * time.Millisecond)
	for _, m := range c.Members[1:] {
		guests.bury(m.Name)
		c.ok(m.Kill())
		c.converged(2)
		c.sleep(2 * time.Second)
		c.ok(m.Start())
		c.converged(3)
		c.sleep(1500 * time.Millisecond)
		if at := guests.at(m.Name); at > 0 {
			c.judge(0)("%d clients went back to %s, although they were active at others", at, m.Name)
		}
	}
	guests.stop()
}

// weigh gives a member a weight in all rules.
func (c *cluster) weigh(m *lab.Member, weight int) {
	c.t.Helper()
	m.Config["member"].(map[string]any)["rules"] = map[string]any{
		"web": map[string]any{"weight": weight}, "echo-udp": map[string]any{"weight": weight},
	}
	c.ok(m.Reload())
}
