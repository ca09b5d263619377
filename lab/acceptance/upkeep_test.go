package acceptance

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/opennlb/opennlb/lab"
)

// TestUpkeep takes from a running member what nlbd put on its host, as programs do that
// manage interfaces. It is put back, and the member's clients are answered again.
func TestUpkeep(t *testing.T) {
	beside(t)
	c := start(t, lab.Options{Members: 2, Clients: 30, IPv6: true})
	m := c.Members[1]
	run := func(line string) string {
		t.Helper()
		out, err := m.Run(c.ctx, "sh", "-ec", line)
		c.ok(err)
		return out
	}
	served := func() {
		t.Helper()
		c.owners(c.Client.Addrs)
		for _, src := range c.Client.Addrs6 {
			if _, err := c.askWithin(2*time.Second, src, netip.AddrPortFrom(lab.VIP6, 80)); err != nil {
				t.Errorf("%s: %v", src, err)
			}
		}
	}
	for _, loss := range []struct{ name, how, where, what string }{
		{"lo goes down, as in systemctl restart networking", "ip link set lo down; ip link set lo up", "ip address show dev lo", lab.VIP6.String() + "/128"},
		{"somebody removes a VIP", "ip address del " + lab.VIP.String() + "/32 dev lo", "ip address show dev lo", lab.VIP.String() + "/32"},
		{"somebody removes the cluster MAC", "bridge fdb del " + clusterMACOf(c) + " dev eth0 self", "bridge fdb show dev eth0", clusterMACOf(c)},
	} {
		run(loss.how)
		c.eventually(loss.name, func() bool { return strings.Contains(run(loss.where), loss.what) })
		served()
	}
	c.hasEvent(m, "link", "VIP "+lab.VIP6.String()+" was taken from lo")
	c.hasEvent(m, "link", "VIP "+lab.VIP.String()+" was taken from lo")
	c.hasEvent(m, "link", "eth0 had lost the cluster MAC")

	const complaint = "clients of VIP fd77::100 may get no answer from this member: "
	run("sysctl -qw net.ipv6.conf.lo.disable_ipv6=1")
	c.warns(m, complaint)
	run("sysctl -qw net.ipv6.conf.lo.disable_ipv6=0")
	c.eventually("no complaint", func() bool { return !c.warning(m, complaint) })
	served()

	run("ip address add 10.77.9.9/24 dev eth0; ip address del " + m.Addr.String() + "/24 dev eth0")
	c.warns(m, "member.address "+m.Addr.String()+" is not an address of this host any more")
}

// TestOtherMAC gives the interface another MAC address, which its answers from VIPs do not have:
// where that is that of the interface, it is told.
func TestOtherMAC(t *testing.T) {
	beside(t)
	for mode, told := range map[string]bool{"unicast": false, "multicast": true} {
		t.Run(mode, func(t *testing.T) {
			c := start(t, lab.Options{Mode: mode, Members: 1, Clients: 10})
			m := c.Members[0]
			_, err := m.Run(c.ctx, "ip", "link", "set", "eth0", "address", "0a:77:00:00:00:99")
			c.ok(err)
			complaint := "eth0 has now the MAC address 0a:77:00:00:00:99, and answers from VIPs still leave with " + m.MAC.String()
			if told {
				c.warns(m, complaint)
				c.hasEvent(m, "link", complaint)
			}
			if c.owners(c.Client.Addrs); !told && c.warning(m, complaint) {
				t.Error("it complains of what does not matter")
			}
			c.ok(m.Restart())
			c.converged(1)
			c.owners(c.Client.Addrs)
			if c.warning(m, complaint) {
				t.Error("it still complains")
			}
		})
	}
}
