package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opennlb/opennlb/config"
	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/portrules"
)

// TestMain sets a clock that is not that of the members: tables tell times by the reader's.
func TestMain(m *testing.M) {
	time.Local = time.FixedZone("", 3600)
	os.Exit(m.Run())
}

var update = flag.Bool("update", false, "rewrite testdata")

// fake is a daemon that answers what it is told to.
type fake struct {
	*control.EventLog
	mu      sync.Mutex
	status  control.Status
	results []control.Result
	asked   []control.StateRequest
	explain []control.ExplainRequest
	ports   []control.PortRequest
	traces  []control.TraceRequest
	rules   []control.RuleRequest
	applies []control.ApplyRequest
}

func (f *fake) Events(after uint64) ([]control.Event, <-chan struct{}) { return f.After(after) }

func (f *fake) Status(context.Context) (control.Status, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.status
	s.Members = slices.Clone(s.Members)
	return s, nil
}

func (f *fake) SetState(_ context.Context, r control.StateRequest) ([]control.Result, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, r)
	return f.results, nil
}

func (f *fake) Explain(_ context.Context, r control.ExplainRequest) (control.Explanation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.explain = append(f.explain, r)
	return control.Explanation{
		ExplainRequest: r, Epoch: 17, Rule: "http", Mode: "multiple", Affinity: "single", Key: "c6336407", Bucket: 1234,
		Owner: "node2", OwnerPriority: 2, Member: "node1", Verdict: "drop", Reason: "not-owner",
		Steps: []string{"rule http covers tcp port 80 of all virtual IPs", "bucket 1234 belongs to node2"},
		Members: []control.Part{
			{
				Member: "node1", Priority: 1, State: "started", Epoch: 17, Lease: true, Flag: "residual", New: control.Exit{Verdict: "drop", Reason: "not-owner"},
				Existing: control.Exit{Verdict: "accept", Reason: "residual"}, Unknown: control.Exit{Verdict: "drop", Reason: "not-owner"}, Listens: "yes", Connections: 2,
			},
			{
				Member: "node2", Priority: 2, State: "draining", Epoch: 17, Lease: true, Flag: "own", New: control.Exit{Verdict: "accept", Reason: "new"},
				Existing: control.Exit{Verdict: "accept", Reason: "owner"}, Unknown: control.Exit{Verdict: "accept", Reason: "owner"}, Listens: "no",
			},
			{Member: "node3", Priority: 3, State: "started", Error: "did not answer within 3s"},
		},
		Answered: true, Conclusion: "node2 answers: it owns bucket 1234.",
	}, nil
}

func (f *fake) QueryPort(_ context.Context, r control.PortRequest) (control.Port, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ports = append(f.ports, r)
	p := control.Port{
		PortRequest: r, Epoch: 17,
		Shares: []control.PortShare{
			{Member: "node1", State: "started", RuleState: "enabled", Weight: 100, Priority: 1, Buckets: 2731, Percent: 66.67480},
			{Member: "node2", State: "draining", RuleState: "enabled", Weight: 50, Priority: 2, Buckets: 1365, Percent: 33.32520, Keeps: 12},
			{Member: "node4", State: "started", RuleState: "disabled", Weight: 50, Priority: 4},
			{Member: "node5", State: "started", RuleState: "draining", Weight: 50, Priority: 5, Keeps: 3},
		},
		Counters: []control.PortCounter{
			{Member: "node1", Counts: map[string]uint64{"new": 5, "not-owner": 12}},
			{Member: "node2", Counts: map[string]uint64{"new": 1234, "owner": 7}},
			{Member: "node3", Error: "did not answer within 3s"},
		},
		Warnings: []string{"something \x1b[2Jodd"},
	}
	if r.Port != 81 {
		p.Rule = &f.status.Rules[0]
	}
	return p, nil
}

func (f *fake) Trace(ctx context.Context, r control.TraceRequest) (<-chan control.Sample, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.traces = append(f.traces, r)
	at := netip.MustParseAddr
	out := make(chan control.Sample, 3)
	out <- control.Sample{
		Time: time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC), Member: "node1", Client: at("198.51.100.7"), ClientPort: 40000,
		VIP: at("192.0.2.10"), Port: 80, Protocol: "tcp", Rule: "http", Verdict: "accept", Reason: "new",
	}
	out <- control.Sample{Member: "node2", Client: at("2001:db8::7"), VIP: at("2001:db8::10"), Protocol: "icmpv6", Verdict: "drop", Reason: "not-default", Missed: 7}
	out <- control.Sample{Member: "node3", Error: "did not answer within 3s"}
	go func() {
		<-ctx.Done()
		close(out)
	}()
	return out, nil
}

func (f *fake) SetRule(_ context.Context, r control.RuleRequest) ([]control.Result, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = append(f.rules, r)
	return []control.Result{{Member: "node1", OK: true}, {Member: "node2", Error: "is not reachable"}}, nil
}

func (f *fake) Config(_ context.Context, version uint64) (control.ConfigVersion, error) {
	return control.ConfigVersion{Version: 7, Cluster: "web", InForce: version == 0, By: "alice", At: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), YAML: "cluster:\n  name: web\n"}, nil
}

// changedAt is in a zone that is hardly the reader's.
var changedAt = time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 5*3600+1800))

func (f *fake) ConfigHistory(context.Context) ([]control.ConfigVersion, error) {
	return []control.ConfigVersion{
		{Version: 7, InForce: true, By: "alice", At: changedAt, Note: "back to 5", Changes: []string{"rule dns: removed"}},
		{Version: 6, By: "bob", At: time.Date(2026, 1, 1, 3, 4, 5, 0, time.UTC)},
	}, nil
}

func (f *fake) Apply(_ context.Context, r control.ApplyRequest) (control.ApplyResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.applies = append(f.applies, r)
	res := control.ApplyResult{Version: 8, Was: 7, Done: !r.DryRun, DryRun: r.DryRun, Changes: []string{"mode: unicast -> igmp", "rule dns: removed"},
		Buckets: 4608, Moves: []control.Move{{Rule: "http", From: "node1", To: "node2", Buckets: 512}, {To: "node2", Buckets: 4096}}, Warnings: []string{"the cluster MAC becomes another"}}
	if !r.DryRun {
		res.Members = []control.Result{{Member: "node1", OK: true}, {Member: "node2", Error: "did not answer in time"}}
	}
	return res, nil
}

func (f *fake) Rollback(_ context.Context, r control.RollbackRequest) (control.ApplyResult, error) {
	return control.ApplyResult{Version: 7, Was: 7}, nil
}

func (f *fake) RotateKey(_ context.Context, r control.KeyRequest) (control.KeyResult, error) {
	if r.Force {
		return control.KeyResult{Old: "01d", New: "4ec"}, nil
	}
	return control.KeyResult{}, &control.Error{Status: 409, Message: "nothing was changed: node3 is down"}
}

func (f *fake) KeyStatus(context.Context) (control.KeyStatus, error) {
	return control.KeyStatus{
		Generation: 4, Fingerprint: "01d", UnderWay: true, Waits: "waits for node3", By: "root at node1",
		Members: []control.KeyMember{
			{Member: "node1", Generation: 4, Keys: []string{"01d", "4ec"}},
			{Member: "node2", Error: "did not \x1b[2Janswer"},
		},
	}, nil
}

func (f *fake) ShowKey(context.Context) (control.KeyShown, error) {
	return control.KeyShown{Key: "c2VjcmV0", Fingerprint: "01d", UnderWay: true}, nil
}

func (f *fake) Clients(_ context.Context, r control.ClientsRequest) (control.ClientList, error) {
	list := control.ClientList{Rule: r.Rule, Member: "node1", Keep: control.Duration(10 * time.Second), Total: 4, Clients: []control.KeptClient{
		{Client: netip.MustParseAddr("198.51.100.7"), Member: "node2", Bucket: 17, Owner: "node1", Silent: control.Duration(1234 * time.Millisecond)},
		{Client: netip.MustParseAddr("198.51.100.8"), Bucket: 18, Owner: "node3", Silent: control.Duration(2 * time.Second)},
		{Client: netip.MustParseAddr("2001:db8::7"), Port: 40000, Member: "node1", Bucket: 4095, Owner: "node1", Silent: control.Duration(9 * time.Second)},
	}}
	list.Clients = list.Clients[:min(r.Limit, len(list.Clients))]
	return list, nil
}

func newFake() *fake {
	owners := []control.Owner{{Member: "node1", Buckets: 2731}, {Member: "node2", Buckets: 1365}}
	return &fake{
		EventLog: control.NewEventLog(10),
		status: control.Status{
			Cluster: "web", Mode: "unicast", ClusterMAC: "02:bf:c0:00:02:0a",
			VIPs:  []netip.Addr{netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("2001:db8::10")},
			Epoch: 17, Config: 7, Converged: true, DefaultHost: "node1", Self: "node1", Version: "1.2.3", Lease: true,
			Detection: "normal", LeaseTime: control.Duration(400 * time.Millisecond),
			Dataplane: control.Dataplane{Kind: "xdp", Counters: []control.Counter{{Rule: "http", Reason: "new", Packets: 5}}},
			Members: []control.Member{
				{Name: "node1", Priority: 1, Address: netip.MustParseAddr("192.0.2.1"), State: "started", Alive: true},
				{Name: "node2", Priority: 2, Address: netip.MustParseAddr("192.0.2.2"), State: "draining", Alive: true, Connections: 12},
				{Name: "node3", Priority: 3, Address: netip.MustParseAddr("192.0.2.3"), State: "stopped", Alive: true, HeldBack: control.Duration(12 * time.Second)},
				{Name: "node-thirty", Priority: 30, Address: netip.MustParseAddr("2001:db8::30"), State: "started"},
			},
			Rules: []control.Rule{
				{Name: "http", VIP: "all", Protocol: portrules.TCP, Ports: "80-443", Mode: portrules.Multiple, Affinity: portrules.AffinitySingle, Owners: owners},
				{Name: "dns", VIP: "192.0.2.10", Protocol: portrules.Both, Ports: "53", Mode: portrules.Disabled, Affinity: portrules.AffinityNetwork, Timeout: control.Duration(time.Minute)},
			},
			Warnings: []string{"clock \x1b[2Jskew"},
		},
	}
}

// serve runs the fake daemon and returns its socket.
func serve(t *testing.T, f *fake) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := control.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- control.NewServer(f, nil, slog.New(slog.DiscardHandler)).Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return path
}

// outcome is what a command line led to.
type outcome struct {
	status         int
	stdout, stderr string
}

func nlbctl(t *testing.T, e env, args ...string) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	e.stdout, e.stderr = &stdout, &stderr
	status := run(t.Context(), e, args)
	return outcome{status, stdout.String(), stderr.String()}
}

func (o outcome) expect(t *testing.T, status int, stdout, stderr string) {
	t.Helper()
	if o.status != status || !strings.Contains(o.stdout, stdout) || !strings.Contains(o.stderr, stderr) {
		t.Errorf("exit %d\nstdout: %s\nstderr: %s\nwant exit %d, %q, %q", o.status, o.stdout, o.stderr, status, stdout, stderr)
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
}

func TestOutput(t *testing.T) {
	f := newFake()
	f.results = []control.Result{{Member: "node1", OK: true}, {Member: "node-thirty", OK: true}}
	socket := serve(t, f)
	for name, args := range map[string][]string{
		"status":  {"status"},
		"stop":    {"stop", "--all"},
		"explain": {"explain", "198.51.100.7", "192.0.2.10:80"},
		"clients": {"clients", "http"},
		"ip2mac":  {"ip2mac", "192.0.2.10"},

		"queryport": {"queryport", "192.0.2.10:80"},
	} {
		for _, format := range []string{"table", "json", "yaml"} {
			t.Run(name+"/"+format, func(t *testing.T) {
				o := nlbctl(t, env{}, append([]string{"--socket", socket, "-o", format}, args...)...)
				if o.status != done || o.stderr != "" {
					t.Fatalf("exit %d: %s", o.status, o.stderr)
				}
				if format == "json" && !json.Valid([]byte(o.stdout)) {
					t.Error("not JSON")
				}
				golden(t, name+"."+format, o.stdout)
			})
		}
	}
}

func TestEvents(t *testing.T) {
	f := newFake()
	at := time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)
	f.Add(control.Event{Time: at, Kind: "converged", Message: "node2 joined", Epoch: 17, Duration: control.Duration(42 * time.Millisecond)})
	f.Add(control.Event{Time: at, Kind: "failed", Message: "node2", Epoch: 17, Member: "node2"})
	socket := serve(t, f)
	when := at.Local().Format("2006-01-02 15:04:05.000")
	if o := nlbctl(t, env{}, "--socket", socket, "events"); o.stdout != when+"  converged     epoch 17    node2 joined (42ms)\n"+
		when+"  failed        epoch 17    node2\n" {
		t.Errorf("got %+v", o)
	}
	for _, format := range []string{"json", "yaml"} {
		golden(t, "events."+format, nlbctl(t, env{}, "--socket", socket, "events", "-o", format).stdout)
	}
}

func TestColourOnTerminalsOnly(t *testing.T) {
	socket := serve(t, newFake())
	for _, tt := range []struct {
		env  env
		want bool
	}{
		{env{}, false}, {env{terminal: true}, true}, {env{terminal: true, noColor: true}, false},
	} {
		o := nlbctl(t, tt.env, "--socket", socket, "status")
		if got := strings.Contains(o.stdout, green+"started"+reset); got != tt.want {
			t.Errorf("%+v: coloured %v", tt.env, got)
		}
		if got := strings.Contains(o.stdout, "\x1b"); got != tt.want {
			t.Errorf("%+v: escape sequences %v", tt.env, got)
		}
		if strings.Contains(o.stdout, "\x1b[2J") {
			t.Errorf("%+v: a message of the daemon steers the terminal", tt.env)
		}
	}
	if o := nlbctl(t, env{terminal: true}, "--socket", socket, "-o", "json", "status"); strings.Contains(o.stdout, "\x1b") {
		t.Error("colour in JSON")
	}
}

// TestApplyCommand: what a file says of its version is obeyed, and the outcome is told.
func TestApplyCommand(t *testing.T) {
	f := newFake()
	socket := serve(t, f)
	dir := t.TempDir()
	file := filepath.Join(dir, "c.yaml")
	text := "# version 7 of cluster web, by alice\ncluster: {name: web, vips: [192.0.2.10]}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out := nlbctl(t, env{}, "--socket", socket, "apply", file, "--note", "why")
	for _, want := range []string{"rule dns: removed", "4608 buckets get another owner", "rule http            node1 to node2    512", "what no rule covers  nobody to node2  4096",
		"Warning: the cluster MAC becomes another", "Version 8 is in force (it was 7)", "node2 did not answer in time"} {
		if !strings.Contains(out.stdout, want) {
			t.Errorf("no %q in\n%s", want, out.stdout)
		}
	}
	if out.status != failed { // node2 has it not on its disk
		t.Errorf("exit %d", out.status)
	}
	if out = nlbctl(t, env{}, "--socket", socket, "apply", "--dry-run", "--force", file); out.status != done || !strings.Contains(out.stdout, "Nothing was changed") {
		t.Errorf("dry run: %+v", out)
	}
	if r := f.applies; len(r) != 2 || r[0].Version != 7 || r[0].YAML != text || r[0].Note != "why" || r[0].DryRun || r[1].Version != 0 || !r[1].DryRun {
		t.Errorf("asked %+v", r)
	}
	if err := os.WriteFile(file, []byte("\ufeff"+strings.ReplaceAll(text, "\n", "\r\n")), 0o600); err != nil { // as Windows saves it
		t.Fatal(err)
	}
	nlbctl(t, env{}, "--socket", socket, "apply", file)
	if r := f.applies; len(r) != 3 || r[2].Version != 7 {
		t.Errorf("of a file with a byte order mark asked %+v", r[2:])
	}
	if err := os.WriteFile(file, []byte("cluster: {name: web}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out = nlbctl(t, env{}, "--socket", socket, "apply", file); out.status != failed || !strings.Contains(out.stderr, file+":1:") || len(f.applies) != 3 {
		t.Errorf("a file that is not valid: %+v", out)
	}
}

func TestConfigCommands(t *testing.T) {
	f := newFake()
	socket := serve(t, f)
	for line, want := range map[string]string{
		"config":            "# version 7 of cluster web, by alice, 2026-01-02T03:04:05Z\ncluster:\n  name: web\n",
		"config show 7":     "# version 7 of",
		"config history":    "7 *      " + changedAt.Local().Format(time.DateTime) + "  alice  back to 5  rule dns: removed\n",
		"config rollback 7": "Nothing to change: version 7, which is in force, says the same.\n",
	} {
		if out := nlbctl(t, env{}, append([]string{"--socket", socket}, strings.Fields(line)...)...); out.status != done || !strings.Contains(out.stdout, want) {
			t.Errorf("%s: %+v; want %q", line, out, want)
		}
	}
	nlbctl(t, env{}, "config", "show", "7", "8").expect(t, misuse, "", "unexpected argument \"8\"")
	if out := nlbctl(t, env{}, "--socket", socket, "config", "rollback", "zero"); out.status != misuse {
		t.Errorf("rollback zero: %+v", out)
	}
}

func TestRuleCommands(t *testing.T) {
	f := newFake()
	socket := serve(t, f)
	for _, row := range []struct {
		line string
		want control.RuleRequest
	}{
		{"rule disable http --all", control.RuleRequest{Action: "disable", Rule: "http", All: true}},
		{"rule drain http --member node1 --member node2", control.RuleRequest{Action: "drain", Rule: "http", Members: []string{"node1", "node2"}}},
		{"rule enable http", control.RuleRequest{Action: "enable", Rule: "http"}},
		{"weight http 70 --member node2", control.RuleRequest{Action: "weight", Rule: "http", Value: 70, Members: []string{"node2"}}},
		{"priority http 3", control.RuleRequest{Action: "priority", Rule: "http", Value: 3}},
	} {
		out := nlbctl(t, env{}, append([]string{"--socket", socket}, strings.Fields(row.line)...)...)
		if got := f.rules[len(f.rules)-1]; !reflect.DeepEqual(got, row.want) {
			t.Errorf("%s: asked %+v, want %+v", row.line, got, row.want)
		}
		if out.status != failed || !strings.Contains(out.stdout, "node2  is not reachable") { // the fake says so
			t.Errorf("%s: %+v", row.line, out)
		}
	}
	for _, line := range []string{"weight http 101", "weight http -1", "weight http", "priority http 0", "priority http 33", "rule drain", "rule enable http --all --member a"} {
		if out := nlbctl(t, env{}, append([]string{"--socket", socket}, strings.Fields(line)...)...); out.status != misuse {
			t.Errorf("%s: %+v", line, out)
		}
	}
}

func TestKeyCommands(t *testing.T) {
	socket := serve(t, newFake())
	ctl := func(line string) outcome {
		return nlbctl(t, env{}, append([]string{"--socket", socket}, strings.Fields(line)...)...)
	}
	ctl("key rotate").expect(t, failed, "", "node3 is down")
	ctl("key rotate --force").expect(t, done, "new cluster key, fingerprint 4ec. The old one, 01d, is refused", "")
	ctl("key rotate now").expect(t, misuse, "", "unexpected argument")
	ctl("key turn").expect(t, misuse, "", "unknown verb")
	out := ctl("key show")
	out.expect(t, done, "c2VjcmV0\n", "is being changed")
	if out.stdout != "c2VjcmV0\n" {
		t.Errorf("more than the key: %q", out.stdout)
	}
	out = ctl("key status")
	for _, want := range []string{
		"Cluster key 01d, generation 4, last changed by root at node1\n", "holds an earlier key", "It is being changed. waits for node3\n",
		"node1   4           01d     4ec\n", "node2   ?                                    did not ?[2Janswer\n",
	} {
		out.expect(t, done, want, "")
	}
}

func TestUsage(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"", "no verb"},
		{"statu", "did you mean status or start?"},
		{"rules enable http", "unknown verb"}, // a later version's
		{"status now", "unexpected argument"},
		{"status --loud", "unknown flag"},
		{"status -o xml", "write table, json or yaml"},
		{"start --all node1", "not both"},
		{"start node1 node1", "named twice"},
		{"stop --timeout 5m", "unknown flag"},
		{"drain --timeout soon", "invalid argument"},
		{"drain --timeout -5m", "out of range"},
		{"explain 192.0.2.1", "VIP is missing"},
		{"explain www 192.0.2.10:80", "not an address"},
		{"explain 192.0.2.1 192.0.2.10 --proto tcp", "needs a port"},
		{"explain 192.0.2.1 192.0.2.10:80 --proto icmp", "no ports"},
		{"explain 192.0.2.1 192.0.2.10:80 --proto gre", "tcp, udp, sctp or icmp"},
		{"explain 192.0.2.1 [2001:db8::1]:80", "one family"},
		{"queryport", "VIP:PORT is missing"},
		{"queryport 192.0.2.10", "with a port"},
		{"queryport 192.0.2.10:80 --proto icmp", "tcp, udp or sctp"},
		{"trace --client www", "no address or prefix"},
		{"trace --client 10.0.0.0/33", "no address or prefix"},
		{"trace --port 65536", "invalid argument"},
		{"trace --for -1s", "before now"},
		{"trace now", "unexpected argument"},
		{"clients", "RULE is missing"},
		{"weight http 256", "give a whole number, 0 to 100"},
		{"priority http 1.5", "give a whole number, 1 (first) to 32"},
		{"config show 1 2", "unexpected argument"},
		{"clients http --limit 0", "out of range"},
		{"ip2mac", "IP is missing"},
		{"ip2mac fe80::1%eth0", "not an address"},
		{"validate", "FILE is missing"},
		{"keygen /etc/key", "unexpected argument"},
		{"completion csh", "bash, fish or zsh"},
	} {
		o := nlbctl(t, env{}, strings.Fields(tt.args)...)
		o.expect(t, misuse, "", tt.want)
		if !strings.Contains(o.stderr, "--help`") || o.stdout != "" {
			t.Errorf("%s: %+v", tt.args, o)
		}
	}
	nlbctl(t, env{}, "--help").expect(t, done, "Usage:", "")
}

func TestWithoutDaemon(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	for _, args := range []string{"status", "start", "drain --wait", "events --follow", "clients http", "explain 192.0.2.1 192.0.2.10:80"} {
		o := nlbctl(t, env{}, append([]string{"--socket", socket}, strings.Fields(args)...)...)
		o.expect(t, failed, "", "nlbctl: cannot reach nlbd at "+socket+": is it running? (systemctl status nlbd)\n")
	}
}

func TestStateRequests(t *testing.T) {
	for _, tt := range []struct {
		args string
		want control.StateRequest
	}{
		{"start", control.StateRequest{Action: "start"}},
		{"stop node1 node2", control.StateRequest{Action: "stop", Members: []string{"node1", "node2"}}},
		{"suspend --all", control.StateRequest{Action: "suspend", All: true}},
		{"resume node1", control.StateRequest{Action: "resume", Members: []string{"node1"}}},
		{"drain node1 --timeout 5m", control.StateRequest{Action: "drain", Members: []string{"node1"}, Timeout: control.Duration(5 * time.Minute)}},
	} {
		f := newFake()
		f.results = []control.Result{{Member: "node1", OK: true}}
		nlbctl(t, env{}, append([]string{"--socket", serve(t, f)}, strings.Fields(tt.args)...)...).expect(t, done, "node1", "")
		if len(f.asked) != 1 || f.asked[0].Action != tt.want.Action || f.asked[0].All != tt.want.All ||
			f.asked[0].Timeout != tt.want.Timeout || !slices.Equal(f.asked[0].Members, tt.want.Members) {
			t.Errorf("%s: asked for %+v", tt.args, f.asked)
		}
	}
}

func TestPartialFailure(t *testing.T) {
	f := newFake()
	f.results = []control.Result{{Member: "node1", OK: true}, {Member: "node2", Error: "does not answer"}}
	socket := serve(t, f)
	o := nlbctl(t, env{}, "--socket", socket, "stop", "--all")
	o.expect(t, failed, "node1  stopped\nnode2  does not answer\n", "")
	nlbctl(t, env{}, "--socket", socket, "stop", "--all", "-o", "json").expect(t, failed, `"error": "does not answer"`, "")
}

// script changes the fake's second member at each pause of the command.
func script(f *fake, steps ...func(*control.Member)) env {
	i := 0
	return env{sleep: func(ctx context.Context, _ time.Duration) error {
		if i == len(steps) {
			return context.DeadlineExceeded
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		steps[i](&f.status.Members[1])
		i++
		return ctx.Err()
	}}
}

func draining(n int) func(*control.Member) {
	return func(m *control.Member) { m.State, m.Connections = "draining", n }
}

func state(s string) func(*control.Member) { return func(m *control.Member) { m.State = s } }

func TestDrainWaits(t *testing.T) {
	died := func(m *control.Member) { m.Alive = false }
	for _, tt := range []struct {
		name           string
		steps          []func(*control.Member)
		status         int
		stdout, stderr string
	}{
		{"to the end", []func(*control.Member){state("started"), draining(12), draining(12), draining(1), state("stopped")}, done,
			"node2  draining\nnode2: 12 connections left\nnode2: 1 connection left\nnode2: stopped\n", ""},
		{"counted later", []func(*control.Member){func(m *control.Member) { m.State, m.Connections, m.Counting = "draining", 0, true },
			func(m *control.Member) { m.Connections, m.Counting = 3, false }, state("stopped")}, done,
			"node2  draining\nnode2: counting its connections\nnode2: 3 connections left\nnode2: stopped\n", ""},
		{"suspended meanwhile", []func(*control.Member){draining(1), state("suspended")}, done, "node2: suspended\n", ""},
		{"started again", []func(*control.Member){draining(12), state("started")}, failed, "12 connections left\n", "node2 was started again"},
		{"died", []func(*control.Member){draining(12), died}, failed, "12 connections left\n", "node2 left the cluster"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFake()
			f.status.Members[1].State = "started" // has not heard of it yet
			f.results = []control.Result{{Member: "node2", OK: true}}
			o := nlbctl(t, script(f, tt.steps...), "--socket", serve(t, f), "drain", "node2", "--wait")
			o.expect(t, tt.status, tt.stdout, tt.stderr)
		})
	}
}

// TestDrainOfSeveral: one that dies does not hide how the others get on.
func TestDrainOfSeveral(t *testing.T) {
	f := newFake()
	f.results = []control.Result{{Member: "node1", OK: true}, {Member: "node2", OK: true}, {Member: "node3", Error: "is stopped: there is nothing to drain"}}
	members := f.status.Members
	members[0].State, members[0].Connections = "draining", 2
	e := script(f,
		func(m *control.Member) { m.Connections = 11 },
		func(m *control.Member) { m.Alive = false },
		func(*control.Member) { members[0].Connections = 1 },
		func(*control.Member) { members[0].State = "stopped" },
	)
	o := nlbctl(t, e, "--socket", serve(t, f), "drain", "--all", "--wait")
	o.expect(t, failed, "node3  is stopped: there is nothing to drain\n"+
		"node1: 2 connections left\nnode2: 12 connections left\nnode2: 11 connections left\nnode1: 1 connection left\nnode1: stopped\n",
		"nlbctl: node2 left the cluster while draining\n")
}

func TestDrainKeepsJSONClean(t *testing.T) {
	f := newFake()
	f.results = []control.Result{{Member: "node2", OK: true}}
	o := nlbctl(t, script(f, state("stopped")), "--socket", serve(t, f), "drain", "node2", "--wait", "-o", "json")
	o.expect(t, done, "", "node2: stopped")
	if !json.Valid([]byte(o.stdout)) {
		t.Errorf("not JSON: %s", o.stdout)
	}
}

// lines hands on what is written, line by line.
type lines struct{ c chan string }

func (l lines) Write(p []byte) (int, error) { l.c <- string(p); return len(p), nil }

func TestFollow(t *testing.T) {
	f := newFake()
	f.Add(control.Event{Kind: "joined", Message: "node2"})
	ctx, cancel := context.WithCancel(t.Context())
	out := lines{make(chan string)}
	status := make(chan int, 1)
	var stderr bytes.Buffer
	socket := serve(t, f)
	go func() {
		status <- run(ctx, env{stdout: out, stderr: &stderr}, []string{"--socket", socket, "events", "-f", "-o", "json"})
	}()
	for i, kind := range []string{"joined", "failed", "converged"} {
		var e control.Event
		if line := <-out.c; json.Unmarshal([]byte(line), &e) != nil || e.Kind != kind || !strings.HasSuffix(line, "}\n") {
			t.Errorf("event %d: %s", i, line)
		}
		f.Add(control.Event{Kind: []string{"failed", "converged", "last"}[i]})
	}
	<-out.c
	cancel()
	if s := <-status; s != done || stderr.Len() > 0 {
		t.Errorf("exit %d: %s", s, &stderr)
	}
}

// TestFollowGoesOn: nlbd ends, to begin anew, and counts its events from 1 again or goes on
// counting. Each event is shown once.
func TestFollowGoesOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	serve := func(log *control.EventLog) (end func()) {
		f := newFake()
		f.EventLog = log
		l, err := control.Listen(path)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- control.NewServer(f, nil, slog.New(slog.DiscardHandler)).Serve(ctx, l) }()
		return func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	add := func(log *control.EventLog, text string) {
		log.Add(control.Event{Time: time.Now(), Kind: "join", Message: text})
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, lost, back := lines{make(chan string)}, make(chan bool), make(chan bool)
	status := make(chan int, 1)
	var stderr bytes.Buffer
	e := env{stdout: out, stderr: &stderr, sleep: func(ctx context.Context, _ time.Duration) error {
		lost <- true
		<-back
		return ctx.Err()
	}}
	shows := func(want string) {
		t.Helper()
		if line := <-out.c; !strings.Contains(line, want) {
			t.Fatalf("shows %s, want %s", line, want)
		}
	}
	log := control.NewEventLog(10)
	add(log, "first")
	add(log, "second")
	end := serve(log)
	go func() { status <- run(ctx, e, []string{"--socket", path, "events", "-f"}) }()
	shows("first")
	shows("second")
	end()
	<-lost
	add(log, "third") // the same log
	end = serve(log)
	back <- true
	shows("third")
	end()
	<-lost
	log = control.NewEventLog(10) // of another process
	for _, text := range strings.Fields("fourth fifth sixth seventh") {
		add(log, text)
	}
	end = serve(log)
	back <- true
	for _, text := range strings.Fields("fourth fifth sixth seventh") {
		shows(text)
	}
	add(log, "eighth")
	shows("eighth")
	cancel()
	end()
	if s := <-status; s != done || strings.Count(stderr.String(), "waiting for it") != 2 {
		t.Errorf("exit %d: %s", s, &stderr)
	}
}

func TestExplainRequests(t *testing.T) {
	addr := netip.MustParseAddr
	for _, tt := range []struct {
		args string
		want control.ExplainRequest
	}{
		{"192.0.2.7 192.0.2.10:80", control.ExplainRequest{Client: addr("192.0.2.7"), VIP: addr("192.0.2.10"), Port: 80, Protocol: "tcp"}},
		{"192.0.2.7:9 192.0.2.10:53 --proto udp", control.ExplainRequest{Client: addr("192.0.2.7"), ClientPort: 9, VIP: addr("192.0.2.10"), Port: 53, Protocol: "udp"}},
		{"192.0.2.7:9 192.0.2.10", control.ExplainRequest{Client: addr("192.0.2.7"), VIP: addr("192.0.2.10"), Protocol: "icmp"}},
		{"2001:db8::7 [2001:db8::10]:443", control.ExplainRequest{Client: addr("2001:db8::7"), VIP: addr("2001:db8::10"), Port: 443, Protocol: "tcp"}},
		{"[2001:db8::7]:1 2001:db8::10 --proto icmp", control.ExplainRequest{Client: addr("2001:db8::7"), VIP: addr("2001:db8::10"), Protocol: "icmp"}},
	} {
		f := newFake()
		nlbctl(t, env{}, append([]string{"--socket", serve(t, f), "explain"}, strings.Fields(tt.args)...)...).expect(t, done, "node2", "")
		if len(f.explain) != 1 || f.explain[0] != tt.want {
			t.Errorf("%s: asked %+v", tt.args, f.explain)
		}
	}
}

func TestKeygen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cluster.key")
	nlbctl(t, env{}, "keygen", "--out", path).expect(t, done, "", "Wrote "+path)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	c := &config.Config{Membership: config.Membership{KeyFile: path}}
	key, err := c.ReadKey()
	if err != nil || len(key) != config.KeySize {
		t.Errorf("got %d bytes, %v", len(key), err)
	}
	nlbctl(t, env{}, "keygen", "--out", path).expect(t, failed, "", "exists: move it away first")
	if again, _ := c.ReadKey(); !bytes.Equal(again, key) {
		t.Error("the key was replaced")
	}
	if o := nlbctl(t, env{}, "keygen"); o.status != done || len(o.stdout) != 45 {
		t.Errorf("%+v", o)
	}
}

func TestValidate(t *testing.T) {
	good := "../../deploy/nlb.yaml"
	nlbctl(t, env{}, "validate", good).expect(t, done, good+" is valid.\n", "")
	bad := filepath.Join(t.TempDir(), "nlb.yaml")
	if err := os.WriteFile(bad, []byte("cluster:\n  mode: broadcast\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	nlbctl(t, env{}, "validate", bad).expect(t, failed, "", bad+":2:9: cluster.mode: ")
	o := nlbctl(t, env{}, "validate", bad, "-o", "json")
	o.expect(t, failed, `"path": "cluster.mode"`, "")
	var v verdict
	if err := json.Unmarshal([]byte(o.stdout), &v); err != nil || v.Valid || len(v.Problems) < 3 {
		t.Errorf("%v %+v", err, v)
	}
	nlbctl(t, env{}, "validate", bad+".none").expect(t, failed, "", "no such file")
}

func TestQueryPort(t *testing.T) {
	f := newFake()
	socket := serve(t, f)
	nlbctl(t, env{}, "--socket", socket, "queryport", "[::ffff:192.0.2.10]:81", "--proto", "udp").
		expect(t, done, "none: traffic for the default host", "")
	nlbctl(t, env{}, "--socket", socket, "queryport", "192.0.2.10:0").expect(t, done, "192.0.2.10:0 tcp", "")
	f.ports = f.ports[:1]
	want := control.PortRequest{VIP: netip.MustParseAddr("192.0.2.10"), Port: 81, Protocol: "udp"}
	if len(f.ports) != 1 || f.ports[0] != want {
		t.Errorf("asked %+v", f.ports)
	}
	nlbctl(t, env{}, "__complete", "--socket", socket, "queryport", "192").
		expect(t, done, "192.0.2.10:80\trule http\n192.0.2.10:53\trule dns\n", "")
	nlbctl(t, env{}, "__complete", "--socket", socket, "explain", "192.0.2.7", "[").
		expect(t, done, "[2001:db8::10]:80\trule http\n", "")
	nlbctl(t, env{}, "__complete", "--socket", socket, "explain", "--proto", "").expect(t, done, "tcp\nudp\nsctp\nicmp\n", "")
}

func TestTrace(t *testing.T) {
	f := newFake()
	socket := serve(t, f)
	o := nlbctl(t, env{}, "--socket", socket, "trace", "--all", "--client", "198.51.100.77/24", "--port", "80", "--count", "3")
	o.expect(t, done, "  node1         tcp     198.51.100.7:40000    -> 192.0.2.10:80          accept new, rule http\n", "7 more packets matched and were not shown.\n")
	o.expect(t, done, "  node2         icmpv6  2001:db8::7           -> 2001:db8::10           drop not-default, no rule\n", "")
	o.expect(t, done, "  node3         did not answer within 3s\n", "")
	want := control.TraceRequest{Client: netip.MustParsePrefix("198.51.100.0/24"), Port: 80, All: true}
	if len(f.traces) != 1 || f.traces[0] != want {
		t.Errorf("asked %+v", f.traces)
	}
	o = nlbctl(t, env{}, "--socket", socket, "trace", "-o", "json", "--count", "1")
	var s control.Sample
	if err := json.Unmarshal([]byte(o.stdout), &s); err != nil || s.Reason != "new" || o.status != done {
		t.Errorf("%v: %+v", err, o)
	}
	nlbctl(t, env{}, "--socket", socket, "trace", "-o", "yaml", "--count", "1").expect(t, done, "---\ntime: ", "")
	nlbctl(t, env{}, "--socket", socket, "trace", "--for", "20ms").expect(t, done, "", "") // its time is over: no error
	nlbctl(t, env{}, "--socket", socket+"x", "trace").expect(t, failed, "", "cannot reach nlbd")
}

func TestVersion(t *testing.T) {
	nlbctl(t, env{}, "version").expect(t, done, "nlbctl unknown", "")
	nlbctl(t, env{}, "version", "-o", "json").expect(t, done, `"version": "unknown"`, "")
}
