package acceptance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opennlb/opennlb/lab"
)

const rejectRules = lab.DefaultRules + `
- {name: silent, protocol: both, ports: 6000-6001, mode: disabled}
- {name: closed, protocol: both, ports: 7000-7001, mode: disabled, reject: true}
`

var portState = regexp.MustCompile(`(\d+)/(open|closed|filtered|open\|filtered)/(tcp|udp)`)

// TestReject lets nmap tell a disabled rule that rejects from one that is silent, and
// counts the answers on the wire: one each.
func TestReject(t *testing.T) {
	beside(t)
	for _, dataplane := range []string{"xdp", "afpacket", "tc"}[:trials(2, 3)] {
		t.Run(dataplane, func(t *testing.T) {
			c := start(t, lab.Options{Dataplane: dataplane, Clients: 1, IPv6: true, Rules: rejectRules})
			for _, m := range c.Members {
				_, err := m.Listen("tcp", ":6000") // whose answers would be another's
				c.ok(err)
				_, err = m.Listen("tcp", ":7000")
				c.ok(err)
			}
			c.nmap(lab.VIP)
			c.nmap(lab.VIP6, "-6")
			c.oneReset()
		})
	}
}

// nmap scans the ports of both rules.
func (c *cluster) nmap(vip netip.Addr, family ...string) {
	c.t.Helper()
	args := append(family, "-n", "-Pn", "-sS", "-sU", "-p", "T:80,6000,6001,7000,7001,U:6000,6001,7000,7001",
		"--max-retries", "1", "--max-rtt-timeout", "200ms", "-oG", "-", vip.String())
	want := map[string]string{
		"80/tcp":   "open",
		"6000/tcp": "filtered", "6001/tcp": "filtered", "7000/tcp": "closed", "7001/tcp": "closed",
		"6000/udp": "open|filtered", "6001/udp": "open|filtered", "7000/udp": "closed", "7001/udp": "closed",
	}
	err := c.fair(func() error {
		out, err := c.Client.Run(c.ctx, "nmap", args...)
		got := make(map[string]string)
		for _, m := range portState.FindAllStringSubmatch(out, -1) {
			got[m[1]+"/"+m[3]] = m[2]
		}
		if err == nil && !maps.Equal(got, want) {
			err = fmt.Errorf("nmap sees %s\n%v, want\n%v", vip, got, want)
		}
		return err
	})
	if err != nil {
		c.t.Error(err)
	}
}

// oneReset connects to a port that is rejected and counts what comes back.
func (c *cluster) oneReset() {
	c.t.Helper()
	capture, err := c.Switch.Capture(c.ctx, filepath.Join(c.Dir, "reject.pcap"), "port 7001 or icmp")
	c.ok(err)
	ctx, cancel := context.WithTimeout(c.ctx, 2*time.Second)
	defer cancel()
	began := time.Now()
	_, err = c.Client.DialFrom(ctx, c.Client.Addrs[0], netip.AddrPortFrom(lab.VIP, 7001))
	c.refused("connect", err)
	took := time.Since(began)
	_, err = c.Client.AskUDP(ctx, netip.AddrPortFrom(c.Client.Addrs[0], 0), netip.AddrPortFrom(lab.VIP, 7001))
	c.refused("datagram", err)
	c.sleep(100 * time.Millisecond)
	c.ok(capture.Stop())
	frames := func(filter string) int {
		out, err := c.Switch.Run(c.ctx, "tshark", "-r", capture.File, "-Y", filter, "-T", "fields", "-e", "eth.src")
		c.ok(err)
		if clusterMAC := c.status().ClusterMAC; strings.Contains(out, clusterMAC) {
			c.t.Errorf("a frame with %s left from the cluster MAC", filter)
		}
		return len(strings.Fields(out))
	}
	syns, resets, unreachable := frames("tcp.flags.syn == 1"), frames("tcp.flags.reset == 1"), frames("icmp.type == 3")
	if resets > syns || unreachable > 1 {
		c.t.Errorf("%d resets for %d SYNs, %d ICMP errors for one datagram", resets, syns, unreachable)
	}
	if syns != 1 || resets != 1 || unreachable != 1 { // a SYN sent again
		c.judge(0)("%d SYNs, %d resets, %d ICMP errors: not one of each", syns, resets, unreachable)
	}
	counted := ""
	for member, by := range c.counters() {
		if by["rejected"] > 0 {
			counted += fmt.Sprintf("%s rejected %d ", member, by["rejected"])
		}
	}
	if strings.Count(counted, "rejected") != 1 {
		c.judge(0)("not exactly one member rejects: %s", counted)
	}
	c.t.Logf("refused after %s; %s", took, counted)
}

// refused checks how an attempt at a rejected port ended.
func (c *cluster) refused(attempt string, err error) {
	c.t.Helper()
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		c.judge(0)("%s to a rejected port: %v, want refused", attempt, err)
	default:
		c.t.Errorf("%s to a rejected port: %v, want refused", attempt, err)
	}
}
