package acceptance

import (
	"context"
	"testing"

	"github.com/opennlb/opennlb/lab"
)

// TestBridgeMember: a member whose addresses are on a bridge, as on a host of virtual machines,
// is like any other, and sound.
func TestBridgeMember(t *testing.T) {
	beside(t)
	for _, mode := range []string{"unicast", "multicast"} {
		t.Run(mode, func(t *testing.T) {
			bridged := false
			bridge := func(m *lab.Member) {
				if m.Priority != 2 {
					return
				}
				m.Config["member"].(map[string]any)["interface"] = "br9"
				if bridged {
					return
				}
				bridged = true
				_, err := m.Run(context.Background(), "sh", "-ec", `
					route=$(ip route show | sed -n 's/ via \([^ ]*\).*/ via \1/p')
					ip link add br9 type bridge
					ip link set eth0 master br9
					ip address flush dev eth0
					ip link set br9 address `+m.MAC.String()+` up
					ip address add `+m.Addr.String()+`/24 dev br9
					ip route add $route`)
				if err != nil {
					t.Fatal(err)
				}
			}
			c := start(t, lab.Options{Mode: mode, Members: 2, Clients: 60, Edit: bridge, Rules: "[{name: web, ports: 80}]"})
			c.spread(c.Client.Addrs, web)
			if mode == "unicast" {
				c.switchLearned()
			}
			c.diagnose(c.Members[1])
			for _, m := range c.Members {
				c.ok(m.Kill())
				c.converged(1)
				c.owners(c.Client.Addrs)
				c.ok(m.Start())
				c.converged(2)
			}
		})
	}
}
