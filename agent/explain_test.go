package agent

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/opennlb/opennlb/config"
	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/converge"
	"github.com/opennlb/opennlb/portrules"
)

// alone is the loop of a member that has a view of its own from the second second on.
func alone(t *testing.T, rules ...portrules.Rule) (l *loop, now time.Time) {
	t.Helper()
	now = time.Unix(1000, 0)
	cfg := &config.Config{
		Cluster: config.Cluster{Name: "web", Mode: config.Unicast, VIPs: []netip.Addr{netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("2001:db8::10")}, Rules: rules},
		Member:  config.Member{Name: "n1", Priority: 1, Rules: map[string]config.MemberRule{}},
	}
	for i := range rules {
		rules[i].ID = uint16(i)
	}
	c, err := ownCluster(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	self := converge.Info{Name: "n1", Priority: 1, Instance: 7}
	m := converge.New(converge.Config{Plan: c.plan, Newcomer: true, Timing: converge.DefaultTiming, Lease: 400 * time.Millisecond}, self, now)
	return &loop{cfg: cfg, cluster: c, machine: m}, now
}

// found lets the member make a view, and puts its tables in force.
func (l *loop) found(now time.Time) {
	for range 100 {
		now = now.Add(50 * time.Millisecond)
		if out := l.machine.Tick(now); out.Install != nil {
			l.policy = l.cluster.policy(out.Install.Now, l.cluster.VIPs)
		}
	}
}

func TestExplainSteps(t *testing.T) {
	l, now := alone(t,
		portrules.Rule{Name: "web", Protocol: portrules.TCP, First: 80, Last: 90, Affinity: portrules.AffinitySingle},
		portrules.Rule{Name: "any", Protocol: portrules.TCP, First: 91, Last: 91, Affinity: portrules.AffinityNone},
		portrules.Rule{Name: "net", Protocol: portrules.UDP, First: 53, Last: 53, Affinity: portrules.AffinityNetwork, Mode: portrules.Single, Keep: true},
		portrules.Rule{Name: "off", Protocol: portrules.TCP, First: 23, Last: 23, Mode: portrules.Disabled},
		portrules.Rule{Name: "signal", Protocol: portrules.SCTP, First: 80, Last: 80, Affinity: portrules.AffinitySingle},
		portrules.Rule{Name: "six", VIP: netip.MustParseAddr("2001:db8::10"), Protocol: portrules.TCP, First: 100, Last: 100, Affinity: portrules.AffinityNetwork},
	)
	l.found(now)
	for _, c := range []struct {
		client, vip string
		port        uint16
		protocol    string
		want        []string // parts of the steps, in that order
		conclusion  string
	}{
		{"198.51.100.7", "192.0.2.10", 80, "tcp", []string{
			"192.0.2.10 is a VIP of cluster web", "rule web covers it: tcp ports 80-90 of all VIPs", "share the buckets by weight: n1 50",
			"affinity single: hashed is the client's address 198.51.100.7, in hexadecimal c6336407", "ends in bucket", "which also serves rule any, rule signal, rule six, gives the bucket to n1 (priority 1), as it does 4096 of 4096",
		}, ""},
		{"198.51.100.7:258", "192.0.2.10", 91, "tcp", []string{"rule any", "the client's address 198.51.100.7 with its port 258, in hexadecimal c63364070102"}, ""},
		{"198.51.100.7", "192.0.2.10", 53, "udp", []string{
			"rule net", "mode single, preempt false: its owner stays while it is started, else the best handling priority takes everything: n1 1", "the client's network 198.51.100.0,", "also serves the default host",
			"a new flow is meant; each flow stays with its member until it was silent for 30s: give the client's port",
		}, ""},
		{"2001:db8::7", "2001:db8::10", 100, "tcp", []string{"rule six covers it: tcp ports 100 of 2001:db8::10", "the client's network 2001:db8::,"}, ""},
		{"198.51.100.7", "192.0.2.10", 100, "tcp", []string{"no rule covers tcp port 100: it goes to the default host"}, ""},
		{"198.51.100.7", "192.0.2.10", 80, "sctp", []string{"rule signal covers it: sctp ports 80 of all VIPs", "the client's address 198.51.100.7", "gives the bucket to n1"}, ""},
		{"198.51.100.7", "192.0.2.10", 81, "sctp", []string{"no rule covers sctp port 81: it goes to the default host"}, ""},
		{"198.51.100.7", "192.0.2.10", 0, "icmp", []string{"icmp has no ports: the default host answers"}, ""},
		{"198.51.100.7", "192.0.2.10", 23, "tcp", []string{"mode disabled: every member drops it"}, "Nobody answers: rule off is disabled."},
	} {
		r := control.ExplainRequest{VIP: netip.MustParseAddr(c.vip), Port: c.port, Protocol: c.protocol}
		if at, err := netip.ParseAddrPort(c.client); err == nil {
			r.Client, r.ClientPort = at.Addr(), at.Port()
		} else {
			r.Client = netip.MustParseAddr(c.client)
		}
		e, err := l.explain(r)
		if err != nil {
			t.Errorf("%s to %s port %d: %v", c.client, c.vip, c.port, err)
			continue
		}
		rest := strings.Join(e.Steps, "\n")
		for _, part := range c.want {
			i := strings.Index(rest, part)
			if i < 0 {
				t.Errorf("%s to %s port %d: %q is missing in\n%s", c.client, c.vip, c.port, part, strings.Join(e.Steps, "\n"))
				break
			}
			rest = rest[i:]
		}
		if e.Conclusion != c.conclusion || c.conclusion == "" && (e.Owner != "n1" || len(e.Members) != 1) {
			t.Errorf("%s to %s port %d: %+v", c.client, c.vip, c.port, e)
		}
	}
}

func TestExplainRefuses(t *testing.T) {
	l, now := alone(t, portrules.Rule{Name: "any", Protocol: portrules.TCP, First: 91, Last: 91, Affinity: portrules.AffinityNone})
	l.found(now)
	for _, c := range []struct {
		vip  string
		port uint16
		want string
	}{
		{"192.0.2.11", 80, "is not a VIP of this cluster: frames to it pass untouched; its VIPs are [192.0.2.10 2001:db8::10]"},
		{"192.0.2.10", 91, "give the client's port too"},
	} {
		_, err := l.explain(control.ExplainRequest{Client: netip.MustParseAddr("192.0.2.200"), VIP: netip.MustParseAddr(c.vip), Port: c.port, Protocol: "tcp"})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s port %d: %v", c.vip, c.port, err)
		}
	}
}

// TestExplainOutside: a member in no view says why it is silent.
func TestExplainOutside(t *testing.T) {
	l, now := alone(t)
	r := control.ExplainRequest{Client: netip.MustParseAddr("192.0.2.200"), VIP: netip.MustParseAddr("192.0.2.10"), Port: 80, Protocol: "tcp"}
	if e, err := l.explain(r); err != nil || e.Conclusion != "n1 answers nothing: it is in no view yet; try again when nlbctl status shows an epoch" {
		t.Errorf("starting: %v, %s", err, e.Conclusion)
	}
	l.machine.Beacon(now, converge.Beacon{Epoch: converge.Epoch{N: 9, By: 2, Instance: 1}, View: 0b110})
	if e, err := l.explain(r); err != nil || !strings.Contains(e.Conclusion, "another group of members serves this segment") || e.Answered {
		t.Errorf("rivalled: %v, %s", err, e.Conclusion)
	}
}

// TestOwnerless: a rule that was drained or disabled is not told to lack weight, and the
// member that is out of it is named.
func TestOwnerless(t *testing.T) {
	for _, c := range []struct {
		share            converge.Share
		state, step, why string
	}{
		{converge.Share{Weight: 0, Priority: 1}, "enabled", "by weight: n1 0", "rule web has weight 0 on every started member"},
		{converge.Share{Weight: 50, Priority: 1, State: converge.Draining}, "draining", "by weight: n1 50 (rule draining)",
			"rule web is draining or disabled on every started member: nlbctl rule enable web --all"},
		{converge.Share{Weight: 50, Priority: 1, State: converge.Stopped}, "disabled", "by weight: n1 50 (rule disabled)",
			"rule web is draining or disabled on every started member: nlbctl rule enable web --all"},
	} {
		l, now := alone(t, portrules.Rule{Name: "web", Protocol: portrules.TCP, First: 80, Last: 80, Affinity: portrules.AffinitySingle})
		l.machine.SetShares(now, map[string]converge.Share{"web": c.share})
		l.found(now)
		vip := netip.MustParseAddr("192.0.2.10")
		e, err := l.explain(control.ExplainRequest{Client: netip.MustParseAddr("192.0.2.200"), VIP: vip, Port: 80, Protocol: "tcp"})
		if err != nil || e.Conclusion != "Nobody answers: "+c.why+"." || !strings.Contains(strings.Join(e.Steps, "\n"), c.step) {
			t.Errorf("%s: %v, %s\n%s", c.state, err, e.Conclusion, strings.Join(e.Steps, "\n"))
		}
		p, err := l.queryPort(control.PortRequest{VIP: vip, Port: 80, Protocol: "tcp"})
		if err != nil || len(p.Shares) != 1 || p.Shares[0].RuleState != c.state || p.Warnings[0] != "nobody answers: "+c.why {
			t.Errorf("%s: %v, %+v", c.state, err, p)
		}
		if p, err := l.queryPort(control.PortRequest{VIP: vip, Port: 81, Protocol: "tcp"}); err != nil || p.Shares[0].RuleState != "" {
			t.Errorf("without a rule: %v, %+v", err, p)
		}
	}
}
