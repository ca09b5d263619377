package acceptance

import (
	"bufio"
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opennlb/opennlb/config"
	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/lab"
)

// TestApply changes the configuration of a cluster that is in use: what a change does not
// concern goes on, and so do connections whose rule changes.
func TestApply(t *testing.T) {
	c := start(t, lab.Options{Clients: 220})
	for _, m := range c.Members {
		c.ok(m.StartEcho(7))
	}
	held := c.hold(c.Client.Addrs[:80], echo)
	probe := c.Client.StartProbe(lab.ProbeOptions{Target: web, Lanes: map[string][]netip.Addr{"all": c.Client.Addrs[80:]}, Timeout: 1500 * time.Millisecond})
	first := c.clusterYAML(c.Members[0])
	other := netip.MustParseAddr("10.77.0.102")
	version := c.status().Config
	if version != 1 {
		t.Errorf("the first configuration is version %d", version)
	}
	steps := []struct {
		name     string
		from, to string // replaced in the configuration in force
		then     func()
	}{
		{"a rule more", "  rules:\n", "  rules:\n    - {name: extra, ports: 9-19, mode: single}\n", nil},
		{"echo by network", "    - name: echo\n", "    - name: echo\n      affinity: network\n", nil},
		{"echo by port", "affinity: network\n      prefix_v4: 24\n      prefix_v6: 64", "affinity: none", nil},
		{"echo at one member", "name: echo\n      vip: all\n      protocol: tcp\n      ports: 7\n      mode: multiple", "name: echo\n      ports: 7\n      mode: single", nil},
		{"without a rule", "    - name: echo\n      vip: all\n      protocol: tcp\n      ports: 7\n      mode: single\n      affinity: none\n", "", nil},
		{"one VIP more", "  partition:", "    - " + other.String() + "\n  partition:", func() {
			for _, src := range c.Client.Addrs[80:100] {
				c.ask(src, netip.AddrPortFrom(other, 80))
			}
		}},
		{"and without it", "    - \"" + other.String() + "\"\n", "", func() {
			ctx, cancel := context.WithTimeout(c.ctx, time.Second)
			defer cancel()
			if _, err := c.Client.Ask(ctx, c.Client.Addrs[80], netip.AddrPortFrom(other, 80)); err == nil {
				t.Error("the VIP that was removed answers")
			}
		}},
	}
	for i, step := range steps {
		via := c.Members[i%len(c.Members)]
		now := c.clusterYAML(via)
		next := strings.Replace(now, step.from, step.to, 1)
		if step.name == "echo by network" { // the key is there already
			next = strings.Replace(now, "name: echo\n      vip: all\n      protocol: tcp\n      ports: 7\n      mode: multiple\n      affinity: single", "name: echo\n      ports: 7\n      affinity: network", 1)
		}
		if next == now {
			t.Fatalf("%s: nothing to replace in\n%s", step.name, now)
		}
		began := time.Now()
		res, err := via.Control().Apply(c.ctx, control.ApplyRequest{File: "test", YAML: next, Version: version})
		if err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		version++
		t.Logf("%s: %s, moves %v, after %s", step.name, strings.Join(res.Changes, "; "), res.Moves, time.Since(began).Round(time.Millisecond))
		c.checkVersion(version)
		if step.then != nil {
			step.then()
		}
		c.sleep(700 * time.Millisecond)
	}
	res, err := c.Members[1].Control().Rollback(c.ctx, control.RollbackRequest{Version: 1})
	c.ok(err)
	version++
	c.checkVersion(version)
	if res.Version != version || c.clusterYAML(c.Members[2]) != first {
		t.Errorf("rolled back to %d:\n%s\nwas:\n%s", res.Version, c.clusterYAML(c.Members[2]), first)
	}
	c.refusesChanges(version)

	c.unbroken("new connections of a rule that did not change", probe.Stop()["all"])
	held.stop()
}

// refusesChanges tries what must not change anything.
func (c *cluster) refusesChanges(version uint64) {
	c.t.Helper()
	now := c.clusterYAML(c.Members[0])
	host := c.Members[2].Addr.String()
	for name, row := range map[string]struct {
		request control.ApplyRequest
		says    string
	}{
		"not YAML":                   {control.ApplyRequest{File: "f.yaml", YAML: "cluster: ["}, "f.yaml:"},
		"not valid":                  {control.ApplyRequest{File: "f.yaml", YAML: strings.Replace(now, "ports: 7\n", "ports: 7-80\n", 1)}, "both cover"},
		"another cluster":            {control.ApplyRequest{File: "f", YAML: strings.Replace(now, "name:", "name: x #", 1)}, "the name of a cluster cannot change"},
		"of another version":         {control.ApplyRequest{File: "f", YAML: strings.Replace(now, "serve", "majority", 1), Version: version - 1}, fmt.Sprintf("version %d", version)},
		"a member's own address":     {control.ApplyRequest{File: "f", YAML: strings.Replace(now, "  partition:", "    - "+host+"\n  partition:", 1)}, "node3 cannot take it"},
		"an address of the client's": {control.ApplyRequest{File: "f", YAML: strings.Replace(now, "  partition:", "    - "+c.Client.Addrs[0].String()+"\n  partition:", 1)}, "is in use by"},
	} {
		_, err := c.Members[0].Control().Apply(c.ctx, row.request)
		if err == nil || !strings.Contains(err.Error(), row.says) {
			c.t.Errorf("%s: %v; want %q", name, err, row.says)
		}
	}
	c.checkVersion(version)
}

// clusterYAML is the configuration that a member says is in force.
func (c *cluster) clusterYAML(m *lab.Member) string {
	c.t.Helper()
	v, err := m.Control().Config(c.ctx, 0)
	c.ok(err)
	if _, err := config.ParseCluster("config", []byte(v.YAML)); err != nil {
		c.t.Fatal(err)
	}
	return v.YAML
}

// checkVersion wants all members that run to have the same configuration.
func (c *cluster) checkVersion(version uint64) {
	c.t.Helper()
	text := ""
	for _, m := range c.Members {
		if !m.Running() {
			continue
		}
		v, err := m.Control().Config(c.ctx, 0)
		c.ok(err)
		if v.Version != version {
			c.t.Errorf("%s has version %d, want %d", m.Name, v.Version, version)
		}
		if text == "" {
			text = v.YAML
		}
		if v.YAML != text {
			c.t.Errorf("%s has another configuration than the others", m.Name)
		}
	}
}

// TestApplyAtOnce lets two administrators change the configuration at the same time, at
// two members: one of them wins, and the other is told.
func TestApplyAtOnce(t *testing.T) {
	c := start(t, lab.Options{Clients: 20})
	text, version := c.clusterYAML(c.Members[0]), c.status().Config
	for round, void := 0, 0; round < trials(20, 100); round++ {
		var errs [2]error
		var both sync.WaitGroup
		for i := range errs {
			both.Go(func() {
				yaml := strings.Replace(text, "  rules:\n", fmt.Sprintf("  rules:\n    - {name: round%d-%d, ports: %d}\n", round, i, 1000+i), 1)
				_, errs[i] = c.Members[(round+i)%3].Control().Apply(c.ctx, control.ApplyRequest{File: "test", YAML: yaml, Version: version})
			})
		}
		both.Wait()
		if strings.Contains(fmt.Sprint(errs), "in no cluster at present") && void < 3 { // all stood still
			void++
			c.converged(3)
			version = c.status().Config
			continue
		}
		version++
		won := 0
		for _, err := range errs {
			switch {
			case err == nil:
				won++
			case !strings.Contains(err.Error(), "version") && !strings.Contains(err.Error(), "two changes"):
				t.Errorf("round %d: the other is told %v", round, err)
			}
		}
		if won != 1 {
			t.Fatalf("round %d: %d of two changes were made: %v", round, won, errs)
		}
		c.checkVersion(version)
		if got := strings.Count(c.clusterYAML(c.Members[0]), "name: \"round"); got != 1 {
			t.Fatalf("round %d: a mixture of %d changes:\n%s", round, got, c.clusterYAML(c.Members[0]))
		}
	}
}

// TestApplyMode gives the cluster another MAC address, and other times, while connections
// are open: all members begin anew.
func TestApplyMode(t *testing.T) {
	beside(t)
	c := start(t, lab.Options{Clients: 40})
	for _, m := range c.Members {
		c.ok(m.StartEcho(7))
	}
	type open struct {
		s      *session
		reader *bufio.Reader
	}
	var list []open
	for _, src := range c.Client.Addrs[:30] {
		conn, err := c.Client.DialFrom(c.ctx, src, echo)
		c.ok(err)
		defer conn.Close()
		o := open{&session{conn: conn}, bufio.NewReader(conn)}
		o.s.member, err = o.s.ask(o.reader, "first")
		c.ok(err)
		list = append(list, o)
	}
	for _, change := range []struct{ from, to, mode, detection string }{
		{"mode: unicast", "mode: multicast", "multicast", "normal"},
		{"detection: normal", "detection: relaxed", "multicast", "relaxed"},
		{"detection: relaxed", "detection: normal", "multicast", "normal"},
		{"mode: multicast", "mode: unicast", "unicast", "normal"},
	} {
		mode := change.to
		now := c.clusterYAML(c.Members[0])
		res, err := c.Members[1].Control().Apply(c.ctx, control.ApplyRequest{File: "test", YAML: strings.Replace(now, change.from, change.to, 1)})
		c.ok(err)
		t.Logf("%s: %s", mode, strings.Join(res.Warnings, "; "))
		began := time.Now()
		c.sleep(700 * time.Millisecond)
		c.converged(3)
		t.Logf("%s: one cluster again after %s", mode, time.Since(began))
		if s := c.status(); s.Mode != change.mode || s.Detection != change.detection {
			t.Fatalf("mode %s and detection %s, want %s and %s", s.Mode, s.Detection, change.mode, change.detection)
		}
		c.checkVersion(res.Version)
		c.sleep(time.Second)
		for _, o := range list {
			if _, err := fmt.Fprintln(o.s.conn, mode); err != nil {
				t.Errorf("%s: %v", o.s.conn.LocalAddr(), err)
				continue
			}
			_ = o.s.conn.SetReadDeadline(time.Now().Add(5 * time.Second))
			answer, err := o.reader.ReadString('\n')
			if err != nil || !strings.HasPrefix(answer, o.s.member) {
				t.Errorf("%s: connection of %s with %s: %q, %v", mode, o.s.conn.LocalAddr(), o.s.member, answer, err)
			}
		}
		c.owners(c.Client.Addrs[30:])
	}
}
