package acceptance

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/lab"
)

// TestClientsStay lets clients come back every second or so, over TCP with a new
// connection each time and over UDP, while members join, are drained and get other
// weights: none may change its member. Once they were silent, they may.
func TestClientsStay(t *testing.T) {
	timeout := time.Duration(trials(5, 10)) * time.Second
	for _, dataplane := range []string{"auto", "tc", "afpacket"}[:trials(1, 3)] {
		t.Run(dataplane, func(t *testing.T) {
			c := start(t, lab.Options{Members: 4, Clients: trials(300, 2000), Dataplane: dataplane, Rules: fmt.Sprintf(`
- {name: web, protocol: tcp, ports: 80, affinity: single, timeout: %[1]s}
- {name: echo-udp, protocol: udp, ports: 7, affinity: single, timeout: %[1]s}
`, timeout)})
			late := c.Members[3]
			c.ok(late.Stop())
			c.converged(3)
			n := len(c.Client.Addrs)
			w := c.watch()
			guests := c.visit(c.Client.Addrs[:2*n/3], c.Client.Addrs[2*n/3:], timeout)
			c.sleep(2 * time.Second)

			for range trials(1, 6) {
				c.ok(late.Start())
				c.converged(4)
				c.sleep(1500 * time.Millisecond)
				c.weigh(c.Members[0], 10)
				c.sleep(1500 * time.Millisecond)
				c.act(c.Members[0], control.StateRequest{Action: control.Drain, Members: []string{c.Members[1].Name}})
				c.sleep(2 * time.Second)
				guests.kept(trials(50, 300))
				guests.listed()
				c.act(c.Members[2], control.StateRequest{Action: control.Start, Members: []string{c.Members[1].Name}})
				c.sleep(time.Second)
				c.weigh(c.Members[0], 100)
				c.sleep(time.Second)
				if soak() {
					c.act(late, control.StateRequest{Action: control.Drain})
					c.sleep(2 * timeout)
					c.weigh(c.Members[2], 20)
					c.sleep(time.Second)
					guests.pause(timeout + 3*time.Second)
					c.datagrams.Stop()
					c.waitState(late.Name, "stopped")
					c.ok(late.Stop())
					c.sendDatagrams(10 * time.Millisecond)
					c.sleep(2 * time.Second)
				}
			}
			c.act(c.Members[0], control.StateRequest{Action: control.Drain, Members: []string{c.Members[1].Name}})
			c.sleep(time.Second)
			if got := c.stateOf(c.Members[1].Name); got != "draining" {
				t.Errorf("%s is %s, while its clients are active", c.Members[1].Name, got)
			}
			if _, twice := w.stop(); len(twice) > 0 && !soak() && !c.stoodStill() { // in a soak they were silent in between
				t.Errorf("answered by two: %v", twice)
			}
			c.datagrams.Stop() // they keep their member, too
			guests.pause(timeout + 2*time.Second)
			c.waitState(c.Members[1].Name, "stopped")
			c.sleep(2 * time.Second)
			guests.stop()
			if at := guests.at(c.Members[1].Name); at > 0 {
				t.Errorf("%d clients are at the member that has stopped", at)
			}
		})
	}
}

// TestClientsStayBesideCrash lets a member die and come back: its clients move, and those
// of the others stay, though the member that comes back has not heard them.
func TestClientsStayBesideCrash(t *testing.T) {
	c := start(t, lab.Options{Clients: 200, Edit: undampened, Rules: `
- {name: web, protocol: tcp, ports: 80, affinity: single, timeout: 20s}
- {name: echo-udp, protocol: udp, ports: 7, affinity: single}
`})
	guests := c.visit(c.Client.Addrs[:120], c.Client.Addrs[120:], 20*time.Second)
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
			t.Errorf("%d clients went back to %s, although they were active at others", at, m.Name)
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

// guests are clients that come back again and again.
type guests struct {
	c       *cluster
	timeout time.Duration // of their rules
	list    []*guest
	silent  atomic.Bool // all of them
	cancel  context.CancelFunc
	done    sync.WaitGroup

	mu     sync.Mutex // guards what follows, and the guests
	wrong  []string
	dead   string // a member whose clients may meet errors, and move
	visits int
	failed int
	slow   int
	moved  int
}

type guest struct {
	src    netip.AddrPort // UDP; TCP has port 0
	member string         // who answered last
	at     time.Time      // when the client was active last
}

// visit begins to ask from all addresses.
func (c *cluster) visit(tcp, udp []netip.Addr, timeout time.Duration) *guests {
	ctx, cancel := context.WithCancel(c.ctx)
	g := &guests{c: c, timeout: timeout, cancel: cancel}
	for _, a := range tcp {
		g.list = append(g.list, &guest{src: netip.AddrPortFrom(a, 0)})
	}
	for _, a := range udp {
		g.list = append(g.list, &guest{src: netip.AddrPortFrom(a, 7777)})
	}
	for i, one := range g.list {
		g.done.Go(func() {
			every := 800*time.Millisecond + time.Duration(i%40)*10*time.Millisecond
			sleep(ctx, time.Duration(i)*time.Second/time.Duration(len(g.list)))
			for ctx.Err() == nil {
				if !g.silent.Load() {
					g.ask(one)
				}
				sleep(ctx, every)
			}
		})
	}
	c.t.Cleanup(g.stop)
	return g
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// ask is one visit. Only the answers of UDP can be lost for good.
func (g *guests) ask(one *guest) {
	ctx, cancel := context.WithTimeout(context.Background(), 3500*time.Millisecond)
	defer cancel()
	began := time.Now()
	var member string
	var err error
	if one.src.Port() == 0 {
		member, err = g.c.Client.Ask(ctx, one.src.Addr(), web)
	} else {
		short, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
		defer cancel()
		member, err = g.c.Client.AskUDP(short, one.src, echo)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.visits++
	if began.Sub(one.at) >= g.timeout && err == nil && one.member != "" && one.member != member {
		g.moved++
	}
	if began.Sub(one.at) >= g.timeout {
		one.member = "" // it may move, even if this visit fails
	}
	if one.member == g.dead {
		one.member = ""
	}
	switch {
	case err != nil && one.member == "":
		g.failed++
	case err != nil && one.src.Port() == 0:
		g.failed++
		g.wrong = append(g.wrong, fmt.Sprintf("%s: %v", one.src, err))
	case err != nil:
		g.failed++
	case one.member != "" && member != one.member:
		g.wrong = append(g.wrong, fmt.Sprintf("%s went from %s to %s, %s after it was active", one.src, one.member, member, began.Sub(one.at)))
	}
	if took := time.Since(began); err == nil {
		one.member = member
		if took > 500*time.Millisecond {
			g.slow++
		}
	}
	one.at = time.Now()
}

// kept wants at least so many clients to be with a member that does not own their bucket.
func (g *guests) kept(least int) {
	g.c.t.Helper()
	g.mu.Lock()
	at := make(map[netip.AddrPort]string)
	for _, one := range g.list {
		at[one.src] = one.member
	}
	g.mu.Unlock()
	n := 0
	for src, member := range at {
		r := control.ExplainRequest{Client: src.Addr(), VIP: lab.VIP, Port: web.Port(), Protocol: "tcp"}
		if src.Port() != 0 {
			r.ClientPort, r.Port, r.Protocol = src.Port(), echo.Port(), "udp"
		}
		e, err := g.c.Members[0].Control().Explain(g.c.ctx, r)
		g.c.ok(err)
		if e.Owner != member {
			n++
		}
	}
	g.c.t.Logf("%d of %d clients are with a member that does not own their bucket any more", n, len(at))
	if n < least {
		g.c.t.Errorf("%d clients stay where they are not owned, want %d: nothing was shown", n, least)
	}
}

// listed compares what each member lists with who answered.
func (g *guests) listed() {
	g.c.t.Helper()
	g.mu.Lock()
	at := make(map[netip.Addr]string)
	for _, one := range g.list {
		if one.src.Port() == 0 {
			at[one.src.Addr()] = one.member
		}
	}
	g.mu.Unlock()
	for _, m := range g.c.Members {
		list, err := m.Control().Clients(g.c.ctx, control.ClientsRequest{Rule: "web", Limit: control.MaxClients})
		g.c.ok(err)
		known, wrong := 0, 0
		for _, one := range list.Clients {
			if one.Member == "" {
				continue
			}
			known++
			if one.Member != at[one.Client] {
				wrong++
			}
		}
		if list.Total < len(at) || known < min(len(at), control.MaxClients)/3 || wrong*50 > known {
			g.c.t.Errorf("%s lists %d of %d clients, %d with their member, %d of these wrong", m.Name, list.Total, len(at), known, wrong)
		}
	}
}

// stoodStill reports whether a member fell out of its view: no test asks for that here.
func (c *cluster) stoodStill() bool {
	for _, m := range c.Members {
		log, err := os.ReadFile(m.LogPath())
		if err == nil && strings.Contains(string(log), "event=out") {
			c.t.Logf("%s fell out of its view: this machine stood still", m.Name)
			return true
		}
	}
	return false
}

// bury says that a member is about to die.
func (g *guests) bury(member string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.dead = member
}

// pause keeps all silent for a while.
func (g *guests) pause(d time.Duration) {
	g.silent.Store(true)
	g.c.sleep(d)
	g.silent.Store(false)
}

func (g *guests) at(member string) (n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, one := range g.list {
		if one.member == member {
			n++
		}
	}
	return n
}

// stop ends the visits, tells what they met, and judges it.
func (g *guests) stop() {
	if g.cancel == nil {
		return
	}
	g.cancel()
	g.cancel = nil
	g.done.Wait()
	g.c.t.Logf("%d visits, %d failed, %d took more than 500 ms, %d moved after a silence", g.visits, g.failed, g.slow, g.moved)
	if g.failed*100 > g.visits && g.dead == "" {
		g.wrong = append(g.wrong, fmt.Sprintf("%d of %d visits failed", g.failed, g.visits))
	}
	complain := g.c.t.Errorf
	if g.c.stoodStill() { // the machine did; then clients move, and that is no planned change
		complain = g.c.t.Logf
	}
	for _, w := range g.wrong[:min(len(g.wrong), 20)] {
		complain("%s", w)
	}
}
