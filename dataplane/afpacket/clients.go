package afpacket

import (
	"net/netip"
	"sync"

	"github.com/opennlb/opennlb/dataplane"
	"github.com/opennlb/opennlb/portrules"
)

// clients is the table of clients, for the goroutine that judges and for others.
type clients struct {
	mu    sync.Mutex
	table portrules.Clients
}

func (c *clients) get(key portrules.ClientKey, now dataplane.Instant) (portrules.Client, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.table.Get(key, int64(now))
}

// note remembers a client, unless its rule is gone.
func (c *clients) note(rule *counts, d *portrules.Decision, pkt *portrules.Packet, now dataplane.Instant) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if rule.gone.Load() { // asked under the lock: else it may be forgotten just now
		return
	}
	c.table.Note(d.Note, d.Client, netip.AddrPortFrom(pkt.Src, pkt.SrcPort), int64(now))
}

// forgetRules removes the clients of rules, by ID, that are marked as gone.
func (c *clients) forgetRules(gone map[uint16]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var keys []portrules.ClientKey
	for k := range c.table.All(0) {
		if gone[k.Rule] {
			keys = append(keys, k)
		}
	}
	for _, k := range keys {
		c.table.Forget(k)
	}
}

// Client looks one up, see dataplane.Clients.
func (e *Engine) Client(key portrules.ClientKey) (portrules.Client, bool, error) {
	c, known := e.judge.clients.get(key, dataplane.Now())
	return c, known, nil
}

// Clients lists who is remembered, see dataplane.Clients.
func (e *Engine) Clients() ([]dataplane.Client, error) {
	c := &e.judge.clients
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []dataplane.Client
	for k, of := range c.table.All(int64(dataplane.Now())) {
		out = append(out, dataplane.Client{Key: k, Client: of})
	}
	return out, nil
}

// Learn enters clients of other members, see dataplane.Clients.
func (e *Engine) Learn(others []dataplane.Client) error {
	c := &e.judge.clients
	c.mu.Lock()
	defer c.mu.Unlock()
	now := int64(dataplane.Now())
	for _, o := range others {
		c.table.Learn(o.Key, o.Client, now)
	}
	return nil
}

// Forget removes clients, see dataplane.Clients.
func (e *Engine) Forget(keys []portrules.ClientKey) error {
	c := &e.judge.clients
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range keys {
		c.table.Forget(k)
	}
	return nil
}

// ForgetClients removes all clients.
func (e *Engine) ForgetClients() error {
	c := &e.judge.clients
	c.mu.Lock()
	defer c.mu.Unlock()
	c.table = portrules.Clients{}
	return nil
}
