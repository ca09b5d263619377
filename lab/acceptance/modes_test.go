package acceptance

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/opennlb/opennlb/lab"
)

// TestModes serves real clients in every mode and with both data planes.
func TestModes(t *testing.T) {
	beside(t)
	for _, mode := range []string{"unicast", "multicast", "igmp"} {
		for _, dataplane := range []string{"tc", "xdp"} {
			t.Run(mode+"/"+dataplane, func(t *testing.T) {
				beside(t)
				clients := trials(200, 600)
				if mode == "unicast" {
					clients = 600
				}
				c := start(t, lab.Options{Mode: mode, Dataplane: dataplane, Clients: clients, IPv6: true})
				capture, err := c.Switch.Capture(c.ctx, filepath.Join(c.Dir, "all.pcap"), "")
				c.ok(err)
				c.spread(c.Client.Addrs, web)
				c.spread(c.Client.Addrs6[:60], netip.AddrPortFrom(lab.VIP6, 80))
				c.pingOnce()
				c.arpOnce(mode)
				c.switchLearned()
				c.ok(capture.Stop())
				c.manufacturers(capture.File, mode)
				if got := c.status().Dataplane.Kind; got != dataplane {
					t.Errorf("data plane is %s", got)
				}
			})
		}
	}
}

// spread asks three times from every client: no failure, even shares, affinity kept.
func (c *cluster) spread(clients []netip.Addr, target netip.AddrPort) {
	c.t.Helper()
	owner := make(map[netip.Addr]string)
	share := make(map[string]int)
	for range 3 {
		for _, src := range clients {
			name := c.ask(src, target)
			if owner[src] != "" && owner[src] != name {
				c.judge(0)("%s was answered by %s and by %s", src, owner[src], name)
			}
			owner[src] = name
			share[name]++
		}
	}
	c.t.Logf("%s: %d requests from %d addresses: %v", target, 3*len(clients), len(clients), share)
	if len(clients) < 600 {
		return // too few for a bound on the shares
	}
	for _, m := range c.Members {
		if percent := 100 * share[m.Name] / (3 * len(clients)); percent < 27 || percent > 39 {
			c.t.Errorf("%s answered %d%%, not 33%% ± 6", m.Name, percent)
		}
	}
}

// pingOnce proves that each echo request gets one answer, not three.
func (c *cluster) pingOnce() {
	c.t.Helper()
	for _, at := range []struct{ src, dst netip.Addr }{
		{c.Client.Addrs[0], lab.VIP}, {c.Client.Addrs6[0], lab.VIP6},
	} {
		err := c.fair(func() error {
			answers, err := c.Client.Ping(c.ctx, at.src, at.dst, 5)
			if answers > 5 {
				c.t.Errorf("5 pings to %s: %d answers", at.dst, answers)
			}
			if answers < 5 || err != nil {
				return fmt.Errorf("5 pings to %s: %d answers, %v", at.dst, answers, err)
			}
			return nil
		})
		if err != nil {
			c.t.Error(err)
		}
	}
}

var arpAnswer = regexp.MustCompile(`\[([0-9A-Fa-f:]+)\]`)

// arpOnce proves that each ARP request gets one answer, with the cluster MAC.
func (c *cluster) arpOnce(mode string) {
	c.t.Helper()
	want := c.status().ClusterMAC
	err := c.fair(func() error {
		out, err := c.Client.Run(c.ctx, "arping", "-b", "-c", "3", "-w", "5", "-I", "eth0", lab.VIP.String())
		macs := arpAnswer.FindAllStringSubmatch(out, -1)
		if len(macs) > 3 {
			c.t.Errorf("3 ARP requests, %d answers:\n%s", len(macs), out)
		}
		for _, m := range macs {
			if !strings.EqualFold(m[1], want) {
				c.t.Errorf("ARP answer names %s, not the cluster MAC %s (%s)", m[1], want, mode)
			}
		}
		if len(macs) < 3 {
			return fmt.Errorf("3 ARP requests, %d answers: %v\n%s", len(macs), err, out)
		}
		return err
	})
	if err != nil {
		c.t.Error(err)
	}
}

// switchLearned proves invariant 5 at the switch's own table.
func (c *cluster) switchLearned() {
	c.t.Helper()
	stations, err := c.Switch.FDB(c.ctx)
	c.ok(err)
	if len(stations) < 4 {
		c.t.Errorf("the switch learned only %v", stations)
	}
	for _, s := range stations {
		if s.MAC == c.status().ClusterMAC {
			c.t.Errorf("the switch learned the cluster MAC at %s", s.Host)
		}
	}
}

// manufacturers lets tshark name the MACs: the same names as Windows NLB has.
func (c *cluster) manufacturers(file, mode string) {
	c.t.Helper()
	names := func(filter, field string) string {
		out, err := c.Switch.Run(c.ctx, "tshark", "-r", file, "-Y", filter, "-T", "fields", "-e", field)
		c.ok(err)
		return out
	}
	if mode == "unicast" {
		if out := names("tcp.dstport == 80 && eth.dst[0:2] == 02:bf", "eth.dst_resolved"); !strings.Contains(out, "MS-NLB-VirtServer") {
			c.t.Errorf("tshark does not name the cluster MAC MS-NLB-VirtServer: %.200s", out)
		}
		sources := names("tcp.srcport == 80", "eth.src_resolved")
		for i := range c.Members {
			if want := fmt.Sprintf("MS-NLB-PhysServer-%02d", i+1); !strings.Contains(sources, want) {
				c.t.Errorf("tshark does not name any source %s", want)
			}
		}
	}
	clusterMAC := c.status().ClusterMAC
	if out := names("eth.src == "+clusterMAC, "frame.number"); strings.TrimSpace(out) != "" {
		c.t.Errorf("frames left with the cluster MAC as source: %.200s", out)
	}
	if out := names("eth.dst == "+clusterMAC, "frame.number"); strings.TrimSpace(out) == "" {
		c.t.Error("the capture has no frame to the cluster MAC: the checks above prove nothing")
	}
	_ = os.Remove(file)
}
