package acceptance

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opennlb/opennlb/lab"
)

// TestHeldConnections: who has no key, and holds all the connections to the membership port
// that he gets, keeps nobody from replacing a member that dies.
func TestHeldConnections(t *testing.T) {
	c := start(t, lab.Options{Members: 3, Clients: 20})
	ctx, cancel := context.WithCancel(c.ctx)
	var holders sync.WaitGroup
	defer holders.Wait()
	defer cancel()
	for _, m := range c.Members[:2] {
		for i := range 100 {
			holders.Go(func() { c.occupy(ctx, c.Client.Addrs[i%len(c.Client.Addrs)], netip.AddrPortFrom(m.Addr, 7946)) })
		}
	}
	c.sleep(2 * time.Second)
	c.ok(c.Members[2].Kill())
	begin := time.Now()
	c.converged(2)
	took := time.Since(begin)
	t.Logf("node3 was replaced after %v", took)
	complain := c.judge(0)
	if took > 3*time.Second {
		complain("it took %v", took)
	}
	for _, m := range c.Members[:2] {
		if strings.Contains(m.Log(1000), "does not answer although it is alive") {
			complain("%s left another member out", m.Name)
		}
	}
}

// occupy connects, again and again, and says nothing until it is hung up on.
func (c *cluster) occupy(ctx context.Context, from netip.Addr, to netip.AddrPort) {
	for ctx.Err() == nil {
		conn, err := c.Client.DialFrom(ctx, from, to)
		if err != nil {
			continue
		}
		stop := context.AfterFunc(ctx, func() { conn.Close() })
		_, _ = conn.Read(make([]byte, 1))
		stop()
		conn.Close()
	}
}
