package acceptance

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opennlb/opennlb/doctor"
	"github.com/opennlb/opennlb/lab"
)

// doctor examines a member and returns what it found, and whether the exit status says
// that there is a problem.
func (c *cluster) doctor(m *lab.Member) (found []doctor.Finding, failed bool) {
	c.t.Helper()
	out, err := m.Run(c.ctx, filepath.Join(filepath.Dir(nlbd), "nlbctl"), "doctor", "-o", "json", "--socket", m.Socket, "--config", filepath.Join(c.Dir, m.Name+".yaml"))
	var d struct {
		Problems int
		Checks   []doctor.Finding
	}
	if bad := json.Unmarshal([]byte(out), &d); bad != nil {
		c.t.Fatalf("doctor at %s: %v, %v:\n%s", m.Name, err, bad, out)
	}
	if d.Problems > 0 != (err != nil) {
		c.t.Errorf("doctor at %s: %d problems, and %v", m.Name, d.Problems, err)
	}
	return d.Checks, err != nil
}

// diagnose wants findings about the cluster that begin like these, "result check: message",
// and no others. The machine itself may be as it is.
func (c *cluster) diagnose(m *lab.Member, want ...string) {
	c.t.Helper()
	found, failed := c.doctor(m)
	wanted := false
	var list []string
	for _, f := range found {
		if f.Result != doctor.OK && !slices.Contains([]string{"kernel", "clock", "systemd", "state_dir", "nat"}, f.Check) {
			list = append(list, string(f.Result)+" "+f.Check+": "+f.Message)
		}
	}
	left := slices.Clone(list)
	for _, w := range want {
		wanted = wanted || strings.HasPrefix(w, "problem")
		i := slices.IndexFunc(left, func(l string) bool { return strings.HasPrefix(l, w) })
		if i < 0 {
			c.t.Errorf("%s: doctor does not say %q", m.Name, w)
			continue
		}
		left = slices.Delete(left, i, i+1)
	}
	if len(left) > 0 || failed != wanted {
		c.t.Errorf("%s: exit 1 %v, wanted %v; unexpected among %q: %q", m.Name, failed, wanted, list, left)
	}
}

// TestDoctor: sound members are told to be sound, before and after they start, and what
// is broken on a host is named there, or at the others that meet it.
func TestDoctor(t *testing.T) {
	beside(t)
	c := start(t, lab.Options{Members: 3, IPv6: true, Rules: "[{name: web, ports: 80}]"})
	node1, node2, node3 := c.Members[0], c.Members[1], c.Members[2]
	for _, m := range c.Members {
		c.diagnose(m)
	}
	c.configureSwitch()
	c.spread(c.Client.Addrs[:20], web)

	run := func(h *lab.Member, line string) {
		t.Helper()
		_, err := h.Run(c.ctx, "sh", "-ec", line)
		c.ok(err)
	}
	// A firewall that lets the present connections and UDP go on, and a smaller MTU.
	run(node2, "nft add table inet wall; nft add chain inet wall in '{ type filter hook input priority 0; }'; nft add rule inet wall in tcp dport 7946 tcp flags '& (syn|ack) == syn' drop")
	run(node2, "ip link set eth0 mtu 1400")
	c.diagnose(node1, "problem members: node2 (10.77.0.2) answers a ping, but not TCP", "warning mtu: node2 (10.77.0.2) answers a ping, but none of 1500 bytes")
	run(node2, "nft delete table inet wall; ip link set eth0 mtu 1500; nft add table inet wall")

	// Another balancer, which has taken a VIP, and a second leg in the same network.
	sleep, err := os.ReadFile("/bin/sleep")
	c.ok(err)
	balancer := filepath.Join(t.TempDir(), "keepalived")
	c.ok(os.WriteFile(balancer, sleep, 0o755))
	p, err := node3.StartCommand(balancer, "60")
	c.ok(err)
	run(node3, "ip link add leg type veth peer name leg0; ip link set leg up; ip address add 10.77.0.203/24 dev leg noprefixroute; ip address add fd77::100/64 dev leg nodad")
	c.warns(node3, "clients of VIP fd77::100 may get no answer")
	c.diagnose(node3, "warning other balancers: keepalived runs here", "problem VIPs: VIP fd77::100 is an address of leg",
		"warning cluster: clients of VIP fd77::100 may get no answer from this member: VIP fd77::100 is already an address of leg", "problem other interfaces: leg is in the network of VIP 10.77.0.100")
	c.diagnose(node1) // which has no part in it
	c.ok(p.Kill())
	run(node3, "ip link del leg")

	// A death that nobody cleared away after.
	c.ok(node3.Kill())
	c.diagnose(node3, "warning nlbd: cannot reach nlbd", "warning VIPs: VIPs are on lo, and no nlbd", "warning cluster MAC: eth0 accepts the cluster MAC")
	run(node3, "ip link set eth0 down")
	c.diagnose(node3, "warning nlbd", "warning VIPs", "warning cluster MAC", "problem interface: eth0 is down", "warning address", "warning members: 10.77.0.1 is not reached", "warning members: 10.77.0.2 is not reached")
}

// TestDoctorModes: members of other modes and data planes are sound, too, and a switch that
// is configured as nlbctl says serves them.
func TestDoctorModes(t *testing.T) {
	beside(t)
	for _, o := range []lab.Options{{Mode: "multicast", Dataplane: "tc"}, {Mode: "igmp", Dataplane: "afpacket"}} {
		t.Run(o.Mode+"/"+o.Dataplane, func(t *testing.T) {
			o.Members, o.IPv6, o.Rules = 2, true, "[{name: web, ports: 80}]"
			c := start(t, o)
			c.diagnose(c.Members[0])
			c.configureSwitch()
			c.spread(c.Client.Addrs[:20], web)
			c.ok(c.Members[1].Stop())
			c.diagnose(c.Members[1], "warning nlbd: cannot reach nlbd") // nothing is left of it
		})
	}
}

// configureSwitch does to the lab's switch what switch-config prints for it.
func (c *cluster) configureSwitch() {
	c.t.Helper()
	var ports []string
	for _, m := range c.Members {
		ports = append(ports, m.Port)
	}
	text, err := exec.CommandContext(c.ctx, filepath.Join(filepath.Dir(nlbd), "nlbctl"), "--socket", c.Members[0].Socket, "switch-config", "linux", "--interface", strings.Join(ports, ",")).Output()
	c.ok(err)
	if !strings.Contains(string(text), "\nbridge link set") {
		c.t.Errorf("switch-config has no command:\n%s", text)
	}
	_, err = c.Switch.Run(c.ctx, "sh", "-ec", strings.ReplaceAll(string(text), "<BRIDGE>", "br0"))
	c.ok(err)
}

func clusterMACOf(c *cluster) string {
	s, err := c.Members[0].Status(c.ctx)
	c.ok(err)
	return s.ClusterMAC
}
