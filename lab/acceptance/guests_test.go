package acceptance

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/lab"
)

// guests are clients that come back again and again.
type guests struct {
	c       *cluster
	timeout time.Duration // of their rules
	every   time.Duration // each comes about as often
	list    []*guest
	quiet   sync.RWMutex // held by visits, and by who wants none
	cancel  context.CancelFunc
	done    sync.WaitGroup

	mu     sync.Mutex // guards what follows, and the guests
	wrong  []string
	lost   []string // visits that met no answer
	dead   string   // a member whose clients may meet errors, and move
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

// visit begins to ask from all addresses, from each about as often as every says.
func (c *cluster) visit(tcp, udp []netip.Addr, timeout, every time.Duration) *guests {
	c.t.Helper()
	// An answer that finds nobody any more would be refused; such an ICMP error is counted by
	// the member that takes it, and not by the switch.
	_, err := c.Client.Run(c.ctx, "nft", "add table ip quiet; add chain ip quiet out { type filter hook output priority 0; }; add rule ip quiet out icmp type destination-unreachable drop")
	c.ok(err)
	ctx, cancel := context.WithCancel(c.ctx)
	g := &guests{c: c, timeout: timeout, every: every, cancel: cancel}
	for _, a := range tcp {
		g.list = append(g.list, &guest{src: netip.AddrPortFrom(a, 0)})
	}
	for _, a := range udp {
		g.list = append(g.list, &guest{src: netip.AddrPortFrom(a, 7777)})
	}
	for i, one := range g.list {
		g.done.Go(func() {
			own := every*4/5 + time.Duration(i%40)*every/100
			sleep(ctx, time.Duration(i)*every/time.Duration(len(g.list)))
			for ctx.Err() == nil {
				if g.quiet.TryRLock() {
					g.ask(one)
					g.quiet.RUnlock()
				}
				sleep(ctx, own)
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
		g.lost = append(g.lost, fmt.Sprintf("%s: %v", one.src, err))
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

// round lets every client come once, and some time pass.
func (g *guests) round(more time.Duration) {
	g.c.sleep(g.every*6/5 + more)
}

// displaced wants the share of clients that are with another member than the owner of
// their bucket to be from least to most, by a sample of 50.
func (g *guests) displaced(least, most float64) {
	g.c.t.Helper()
	g.mu.Lock()
	at := make(map[netip.AddrPort]string)
	for i := 0; i < len(g.list); i += max(1, len(g.list)/50) {
		at[g.list[i].src] = g.list[i].member
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
	g.c.t.Logf("%d of %d clients are with a member that does not own their bucket", n, len(at))
	if share := float64(n) / float64(len(at)); (share < least || share > most) && !g.c.stoodStill() {
		g.c.t.Errorf("%.2f of the clients are with a member that does not own their bucket, want %g to %g", share, least, most)
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
		if (list.Total < len(at) || known < min(len(at), control.MaxClients)/3 || wrong*50 > known) && !g.c.stoodStill() {
			g.c.t.Errorf("%s lists %d of %d clients, %d with their member, %d of these wrong", m.Name, list.Total, len(at), known, wrong)
		}
	}
}

// bury says that a member is about to die.
func (g *guests) bury(member string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.dead = member
}

// pause keeps all silent while f runs. It begins when the last visit is over: one that
// is lost on the way is tried for some seconds.
func (g *guests) pause(f func()) {
	g.quiet.Lock()
	defer g.quiet.Unlock()
	f()
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
		g.lost = append([]string{fmt.Sprintf("%d of %d visits failed", g.failed, g.visits)}, g.lost...)
	}
	complain, mourn := g.c.t.Errorf, g.c.judge(0) // an answer may be lost for want of a processor
	if g.c.stoodStill() {                         // then clients move, and that is no planned change; but the machine must be to blame
		complain = mourn
		mourn("a member fell out of its view")
	}
	for _, w := range g.wrong[:min(len(g.wrong), 20)] {
		complain("%s", w)
	}
	for _, l := range g.lost[:min(len(g.lost), 5)] {
		mourn("%s", l)
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
