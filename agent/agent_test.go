package agent

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/opennlb/opennlb/config"
	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/converge"
	"github.com/opennlb/opennlb/nlbhash"
	"github.com/opennlb/opennlb/portrules"
)

func TestUndoRunsBackwardsAndGoesOnAfterErrors(t *testing.T) {
	var u undo
	var order []string
	boom := errors.New("boom")
	for _, name := range []string{"a", "b", "c"} {
		u.add(name, func() error {
			order = append(order, name)
			if name == "b" {
				return boom
			}
			return nil
		})
	}
	err := u.run()
	if got := strings.Join(order, ""); got != "cba" {
		t.Errorf("order %s", got)
	}
	if !errors.Is(err, boom) || !strings.Contains(err.Error(), "b: boom") {
		t.Errorf("error %v", err)
	}
	if err := u.run(); err != nil || len(order) != 3 {
		t.Errorf("a second run did something: %v %v", err, order)
	}
}

// TestDigest changes every part of the cluster section that members must have alike.
func TestDigest(t *testing.T) {
	base := func() config.Cluster {
		return config.Cluster{
			Name: "web", Mode: config.Unicast, Partition: "serve",
			VIPs:  []netip.Addr{netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("192.0.2.11")},
			Rules: []portrules.Rule{{Name: "http", Protocol: portrules.TCP, First: 80, Last: 80}},
		}
	}
	same, again := base(), base()
	if digest(&same) != digest(&again) {
		t.Fatal("equal configurations differ")
	}
	changes := map[string]func(*config.Cluster){
		"name":      func(c *config.Cluster) { c.Name = "web2" },
		"mode":      func(c *config.Cluster) { c.Mode = config.IGMP },
		"partition": func(c *config.Cluster) { c.Partition = "majority" },
		"detection": func(c *config.Cluster) { c.Detection = "fast" },
		"dampening": func(c *config.Cluster) { c.Dampening = true },
		"vips":      func(c *config.Cluster) { slices.Reverse(c.VIPs) },
		"rule vip":  func(c *config.Cluster) { c.Rules[0].VIP = c.VIPs[0] },
		"port":      func(c *config.Cluster) { c.Rules[0].Last = 81 },
		"affinity":  func(c *config.Cluster) { c.Rules[0].Affinity = portrules.AffinityNetwork },
		"rules":     func(c *config.Cluster) { c.Rules = append(c.Rules, c.Rules[0]) },
	}
	for name, change := range changes {
		c := base()
		change(&c)
		if digest(&c) == digest(&same) {
			t.Errorf("%s: the digest does not change", name)
		}
	}
}

func TestKeysDependOnAll(t *testing.T) {
	key := deriveKey("beacon", "web", []byte("k1"))
	if key != deriveKey("beacon", "web", []byte("k1")) {
		t.Error("not the same twice")
	}
	for _, other := range []nlbhash.Key{
		deriveKey("client hash", "web", []byte("k1")), deriveKey("beacon", "mail", []byte("k1")), deriveKey("beacon", "web", []byte("k2")),
	} {
		if other == key {
			t.Error("purpose, cluster or key make no difference")
		}
	}
}

func TestNextState(t *testing.T) {
	const started, draining, stopped, suspended = converge.Started, converge.Draining, converge.Stopped, converge.Suspended
	type row struct {
		from   converge.State
		action string
		to     converge.State
		err    string
	}
	for _, r := range []row{
		{stopped, control.Start, started, ""},
		{draining, control.Start, started, ""},
		{started, control.Start, started, ""},
		{suspended, control.Start, 0, "resume it first"},
		{started, control.Stop, stopped, ""},
		{suspended, control.Stop, 0, "resume it first"},
		{started, control.Drain, draining, ""},
		{stopped, control.Drain, 0, "nothing to drain"},
		{suspended, control.Drain, 0, "resume it first"},
		{started, control.Suspend, suspended, ""},
		{suspended, control.Suspend, suspended, ""},
		{suspended, control.Resume, stopped, ""},
		{started, control.Resume, 0, "nothing to resume"},
		{started, "dance", 0, "unknown action"},
	} {
		got, err := nextState(r.from, r.action)
		switch {
		case r.err == "" && (err != nil || got != r.to):
			t.Errorf("%s when %s: %s, %v; want %s", r.action, r.from, got, err, r.to)
		case r.err != "" && (err == nil || !strings.Contains(err.Error(), r.err)):
			t.Errorf("%s when %s: error %v; want %q", r.action, r.from, err, r.err)
		}
	}
}

func TestPlural(t *testing.T) {
	if plural(1, "packet") != "1 packet" || plural(2, "packet") != "2 packets" {
		t.Error(plural(1, "packet"), plural(2, "packet"))
	}
}
