package agent

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opennlb/opennlb/config"
	"github.com/opennlb/opennlb/converge"
	"github.com/opennlb/opennlb/portrules"
)

func testConfig(t *testing.T) *config.Config {
	return &config.Config{
		Cluster: config.Cluster{
			Name: "web", Mode: config.Unicast, Partition: "serve", Detection: "normal", Dampening: true,
			VIPs: []netip.Addr{netip.MustParseAddr("192.0.2.10")},
			Rules: []portrules.Rule{
				{Name: "http", ID: 0, Protocol: portrules.TCP, First: 80, Last: 80, Affinity: portrules.AffinitySingle},
				{Name: "dns", ID: 1, Protocol: portrules.Both, First: 53, Last: 53, Affinity: portrules.AffinityNone},
			},
		},
		Member:   config.Member{Name: "n1", Priority: 1, Address: netip.MustParseAddr("192.0.2.1")},
		StateDir: t.TempDir(),
	}
}

// versions makes the own configuration and n that follow it.
func versions(t *testing.T, cfg *config.Config, n int) []*cluster {
	t.Helper()
	c, err := ownCluster(cfg, []byte("key"))
	if err != nil {
		t.Fatal(err)
	}
	all := []*cluster{c}
	for i := range n {
		next := c.Cluster
		next.Rules = slices.Clone(next.Rules)
		next.Rules[0].Last = uint16(81 + i)
		if c, err = c.successor(next, fmt.Sprint("admin", i), "note"); err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	return all
}

// TestPlanSurvives: what a plan says comes out of it again, and damage shows.
func TestPlanSurvives(t *testing.T) {
	cfg := testConfig(t)
	c := versions(t, cfg, 1)[1]
	again, err := parsePlan(c.plan)
	if err != nil {
		t.Fatal(err)
	}
	if again.By != "admin0" || again.HashKey != c.HashKey || len(c.Changes(&again.Cluster)) != 0 || !slices.Equal(again.Rules, c.Rules) {
		t.Errorf("read %+v, was %+v", again, c)
	}
	for name, spoil := range map[string]func(*converge.Plan){
		"digest":   func(p *converge.Plan) { p.Digest = "x" },
		"document": func(p *converge.Plan) { p.Document += " " },
		"rules":    func(p *converge.Plan) { p.Rules = p.Rules[:1] },
		"majority": func(p *converge.Plan) { p.Majority = true },
	} {
		p := *c.plan
		p.Rules = slices.Clone(p.Rules)
		spoil(&p)
		if _, err := parsePlan(&p); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// TestSuccessor: a rule keeps its ID while its clients mean the same, and a new one gets
// one that is free.
func TestSuccessor(t *testing.T) {
	c := versions(t, testConfig(t), 0)[0]
	next := c.Cluster
	next.Rules = []portrules.Rule{
		{Name: "smtp", Protocol: portrules.TCP, First: 25, Last: 25, Affinity: portrules.AffinitySingle},
		{Name: "dns", Protocol: portrules.Both, First: 53, Last: 54, Affinity: portrules.AffinityNone},
		{Name: "http", Protocol: portrules.TCP, First: 80, Last: 80, Affinity: portrules.AffinityNone},
	}
	got, err := c.successor(next, "alice", "")
	if err != nil {
		t.Fatal(err)
	}
	if ids := []uint16{got.Rules[0].ID, got.Rules[1].ID, got.Rules[2].ID}; !slices.Equal(ids, []uint16{2, 1, 3}) {
		t.Errorf("IDs of smtp, dns, http: %v", ids)
	}
	if got.plan.Version != 1 || got.HashKey != c.HashKey {
		t.Errorf("version %d, hash key %s, was %s", got.plan.Version, got.HashKey, c.HashKey)
	}
}

func TestHistory(t *testing.T) {
	cfg := testConfig(t)
	all := versions(t, cfg, keepHistory+3)
	h, c, problems, err := startCluster(cfg, []byte("key"))
	if err != nil || c.plan.Version != 0 || len(problems) != 0 {
		t.Fatalf("at first: %+v, %q, %v", c, problems, err)
	}
	for _, v := range all[1:] {
		if h.has(v.plan.Stamp()) {
			t.Errorf("version %d is on the disk before it is written", v.plan.Version)
		}
		if err := <-h.keep(v.plan); err != nil || !h.has(v.plan.Stamp()) {
			t.Fatalf("keep version %d: %v", v.plan.Version, err)
		}
	}
	list, err := h.list()
	if err != nil || len(list) != keepHistory || list[0].plan.Version != keepHistory+3 {
		t.Errorf("%d versions are kept, the latest first: %v", len(list), err)
	}
	_, c, problems, err = startCluster(cfg, []byte("key"))
	if err != nil || c.plan.Stamp() != list[0].plan.Stamp() || len(problems) != 0 {
		t.Errorf("starts with %+v, %q, %v", c, problems, err)
	}
}

// Whoever may look can ask for the history at any rate: a version is read and compared once.
func TestHistoryIsReadOnce(t *testing.T) {
	cfg := testConfig(t)
	all := versions(t, cfg, keepHistory+1)
	h, _, _, err := openHistory(cfg.StateDir)
	if err != nil {
		t.Fatal(err)
	}
	var was []kept
	for _, v := range all[1:] {
		if err := h.save(v.plan); err != nil {
			t.Fatal(err)
		}
		list, err := h.list()
		if err != nil {
			t.Fatal(err)
		}
		for i, k := range list {
			if last := i == len(list)-1; last != (k.changes == nil) || last != (k.before == nil) || !last && k.before != list[i+1].cluster {
				t.Fatalf("version %d after %v: %q", k.plan.Version, k.before, k.changes)
			}
		}
		for i, k := range list[1:] {
			if i < len(was) && k.cluster != was[i].cluster {
				t.Fatalf("version %d is read again", k.plan.Version)
			}
		}
		was = list
	}
	if len(h.known) != keepHistory {
		t.Errorf("%d versions are remembered", len(h.known))
	}
	if want := "rule http: ports: 80-130 -> 80-131"; len(was[0].changes) != 1 || was[0].changes[0] != want {
		t.Errorf("got %q, want %q", was[0].changes, want)
	}
}

// TestReplaceFileLeavesNothing of what it could not put in its place.
func TestReplaceFileLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "f", "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := replaceFile(filepath.Join(dir, "f"), []byte("x"), true); err == nil {
		t.Error("a directory was replaced")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// TestDamagedHistory: whatever happened to the latest version, the one before it counts,
// and somebody can still look at what is left.
func TestDamagedHistory(t *testing.T) {
	whole := func(cfg *config.Config) (path string, text []byte) {
		all := versions(t, cfg, 2)
		h, _, _, err := openHistory(cfg.StateDir)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range all[1:] {
			if err := h.save(v.plan); err != nil {
				t.Fatal(err)
			}
		}
		path = filepath.Join(h.dir, versionFile(all[2].plan.Stamp()))
		if text, err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
		return path, text
	}
	_, text := whole(testConfig(t))
	damages := map[string]func([]byte) []byte{
		"empty":         func([]byte) []byte { return nil },
		"zeros":         func(b []byte) []byte { return make([]byte, len(b)) },
		"another":       func([]byte) []byte { return []byte(`{"version":9}`) },
		"one bit":       func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"another world": func([]byte) []byte { return []byte("<html>") },
	}
	for n := 0; n < len(text)-1; n += 97 {
		damages[fmt.Sprint("cut at ", n)] = func(b []byte) []byte { return b[:n] }
	}
	for name, damage := range damages {
		cfg := testConfig(t)
		path, text := whole(cfg)
		if err := os.WriteFile(path, damage(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, c, problems, err := startCluster(cfg, []byte("key"))
		if err != nil || c.plan.Version != 1 || len(problems) != 1 || !strings.Contains(problems[0], path+" cannot be used") {
			t.Errorf("%s: starts with %+v, %q, %v", name, c, problems, err)
		}
		if _, err := os.Stat(path + ".damaged"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestHistoryOfAnotherCluster(t *testing.T) {
	cfg := testConfig(t)
	h, _, _, err := openHistory(cfg.StateDir)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.save(versions(t, cfg, 1)[1].plan); err != nil {
		t.Fatal(err)
	}
	cfg.Cluster.Name = "mail"
	if _, _, _, err := startCluster(cfg, nil); err == nil || !strings.Contains(err.Error(), "remove "+h.dir) {
		t.Errorf("got %v", err)
	}
}

// TestCatalog does not parse the same plan over and over, and does not grow.
func TestCatalog(t *testing.T) {
	cfg := testConfig(t)
	c := catalog{cfg, make(map[converge.Stamp]entry)}
	for _, v := range versions(t, cfg, 3*catalogSize) {
		first, err := c.find(v.plan)
		if err != nil {
			t.Fatal(err)
		}
		if second, _ := c.find(v.plan); second != first {
			t.Fatal("parsed twice")
		}
	}
	if len(c.entries) > catalogSize {
		t.Errorf("%d entries", len(c.entries))
	}
	bad := versions(t, cfg, 0)[0]
	bad.VIPs = []netip.Addr{cfg.Member.Address}
	taken, err := newCluster(1, bad.Cluster, document{HashKey: bad.HashKey, At: time.Unix(1, 0)})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.take(taken.plan); err == nil || !strings.Contains(err.Error(), "dedicated IP of n1") {
		t.Errorf("got %v", err)
	}
}

// TestBreaks: who changes the configuration is told what that does to clients.
func TestBreaks(t *testing.T) {
	was := versions(t, testConfig(t), 0)[0]
	for want, change := range map[string]func(*config.Cluster){
		"":                          func(c *config.Cluster) { c.Rules[0].Last = 90 },
		"begins anew":               func(c *config.Cluster) { c.Mode = config.IGMP },
		"cluster MAC becomes":       func(c *config.Cluster) { c.VIPs[0] = netip.MustParseAddr("192.0.2.99") },
		"VIP 192.0.2.10 end":        func(c *config.Cluster) { c.VIPs[0] = netip.MustParseAddr("192.0.2.99") },
		"detection":                 func(c *config.Cluster) { c.Detection = "fast" },
		"rule http: it is disabled": func(c *config.Cluster) { c.Rules[0].Mode = portrules.Disabled },
		"rule http: what is hashed": func(c *config.Cluster) { c.Rules[0].Affinity = portrules.AffinityNone },
	} {
		next := was.Cluster
		next.VIPs, next.Rules = slices.Clone(next.VIPs), slices.Clone(next.Rules)
		change(&next)
		made, err := was.successor(next, "alice", "")
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Join(breaks(was, made), "; ")
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("warns %q, want %q", got, want)
		}
	}
}
