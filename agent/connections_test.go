package agent

import (
	"net/netip"
	"testing"
	"time"

	"github.com/opennlb/opennlb/dataplane"
	"github.com/opennlb/opennlb/dataplane/sockets"
	"github.com/opennlb/opennlb/portrules"
)

// TestCensus: a client that stays and has a connection counts once, one without is in its bucket
// all the same, and so is a connection that no rule covers.
func TestCensus(t *testing.T) {
	l, now := alone(t,
		portrules.Rule{Name: "web", Protocol: portrules.TCP, First: 80, Last: 80, Mode: portrules.Multiple, Affinity: portrules.AffinitySingle, Timeout: time.Minute},
	)
	l.found(now)
	keep := newKeeping(l.cfg.Cluster.Rules)
	vip := l.cluster.VIPs[0]
	conn := func(client string, port uint16) sockets.Conn {
		return sockets.Conn{Local: netip.AddrPortFrom(vip, port), Remote: netip.MustParseAddrPort(client)}
	}
	key := func(client string) portrules.ClientKey {
		return l.policy.ClientKey(0, portrules.ProtoTCP, portrules.Flow{Src: netip.MustParseAddrPort(client), Dst: netip.AddrPortFrom(vip, 80)})
	}
	client := func(addr string, mine bool, silent time.Duration) (c dataplane.Client) {
		c.Key, c.Mine, c.Silent = key(addr), mine, silent
		return c
	}
	conns := []sockets.Conn{conn("198.51.100.1:1000", 80), conn("198.51.100.1:1001", 80), conn("198.51.100.2:1000", 8080)}
	kept := []dataplane.Client{
		client("198.51.100.1:1", true, 0),
		client("198.51.100.3:1", true, 0),
		client("198.51.100.4:1", true, time.Hour),
		client("198.51.100.5:1", false, 0), // another's
	}
	var c census
	c.take(l.policy, keep, conns, kept)
	if len(c.conns) != 3 || c.clients != 1 {
		t.Errorf("%d connections and %d clients without, want 3 and 1", len(c.conns), c.clients)
	}
	for slot, clients := range [][]string{{"198.51.100.1:1", "198.51.100.3:1"}, {"198.51.100.2:1000"}} {
		rule := slot
		if slot == len(l.policy.Rules) {
			rule = -1
		}
		for _, client := range clients {
			b := l.policy.BucketOf(rule, netip.MustParseAddrPort(client))
			if !c.occupied[slot].Has(b) {
				t.Errorf("bucket %d of slot %d, of %s, counts as empty", b, slot, client)
			}
			c.occupied[slot][b/8] &^= 1 << (b % 8)
		}
		if !c.occupied[slot].Empty() {
			t.Errorf("more of slot %d is occupied than there are clients", slot)
		}
	}
}
