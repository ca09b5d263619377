package control

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/opennlb/opennlb/portrules"
)

// fake is a backend that remembers what it was asked.
type fake struct {
	*EventLog
	mu      sync.Mutex
	status  Status
	err     error
	panics  bool
	same    bool // a configuration that is applied is the one in force
	state   []StateRequest
	results []Result
	explain []ExplainRequest
	ports   []PortRequest
	traces  []TraceRequest
	ended   chan struct{} // a trace has
	clients []ClientsRequest
	rules   []RuleRequest
	applies []ApplyRequest
	backs   []RollbackRequest
	rotates []KeyRequest
}

func newFake() *fake {
	return &fake{EventLog: NewEventLog(100), status: sample(), ended: make(chan struct{})}
}

func (f *fake) Events(after uint64) ([]Event, <-chan struct{}) { return f.After(after) }

func (f *fake) Status(context.Context) (Status, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.panics {
		panic("broken")
	}
	return f.status, f.err
}

func (f *fake) SetState(_ context.Context, r StateRequest) ([]Result, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state = append(f.state, r)
	return f.results, f.err
}

func (f *fake) SetRule(_ context.Context, r RuleRequest) ([]Result, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = append(f.rules, r)
	return f.results, f.err
}

func (f *fake) Config(_ context.Context, version uint64) (ConfigVersion, error) {
	return ConfigVersion{Version: version, YAML: "cluster:\n"}, f.err
}

func (f *fake) ConfigHistory(context.Context) ([]ConfigVersion, error) { return nil, f.err }

func (f *fake) Apply(_ context.Context, r ApplyRequest) (ApplyResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.applies = append(f.applies, r)
	if f.same {
		return ApplyResult{Version: 7, Was: 7, DryRun: r.DryRun}, f.err
	}
	return ApplyResult{Version: 8, Was: 7, Done: !r.DryRun, DryRun: r.DryRun, Changes: []string{"mode: unicast -> igmp"}}, f.err
}

func (f *fake) Rollback(_ context.Context, r RollbackRequest) (ApplyResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.backs = append(f.backs, r)
	if f.same {
		return ApplyResult{Version: 7, Was: 7, DryRun: r.DryRun}, f.err
	}
	return ApplyResult{Version: 8, Was: 7, Done: true}, f.err
}

func (f *fake) RotateKey(_ context.Context, r KeyRequest) (KeyResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rotates = append(f.rotates, r)
	return KeyResult{Old: "0ld", New: "4ew"}, f.err
}

func (f *fake) KeyStatus(context.Context) (KeyStatus, error) {
	return KeyStatus{Generation: 3, Fingerprint: "4ew"}, f.err
}

func (f *fake) ShowKey(context.Context) (KeyShown, error) {
	return KeyShown{Key: "c2VjcmV0", Fingerprint: "4ew"}, f.err
}

func (f *fake) Explain(_ context.Context, r ExplainRequest) (Explanation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.explain = append(f.explain, r)
	return Explanation{ExplainRequest: r, Rule: "http", Bucket: 7, Owner: "node1", Steps: []string{"one", "two"}}, f.err
}

func (f *fake) QueryPort(_ context.Context, r PortRequest) (Port, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ports = append(f.ports, r)
	return Port{PortRequest: r, Epoch: 7, Counters: []PortCounter{{Member: "node1"}}}, f.err
}

func (f *fake) Trace(ctx context.Context, r TraceRequest) (<-chan Sample, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.traces = append(f.traces, r)
	if f.err != nil {
		return nil, f.err
	}
	out := make(chan Sample, 2)
	out <- Sample{Member: "node1", Reason: "new"}
	out <- Sample{Member: "node1", Reason: "owner", Missed: 3}
	go func() {
		<-ctx.Done()
		close(out)
		close(f.ended)
	}()
	return out, nil
}

func (f *fake) Clients(_ context.Context, r ClientsRequest) (ClientList, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.clients = append(f.clients, r)
	return ClientList{Rule: r.Rule, Member: "node1", Keep: Duration(time.Minute), Total: 2}, f.err
}

func sample() Status {
	return Status{
		Cluster: "web", Mode: "unicast", ClusterMAC: "02:bf:c0:00:02:0a",
		VIPs:  []netip.Addr{netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("2001:db8::10")},
		Epoch: 17, Converged: true, DefaultHost: "node1", Self: "node1", Version: "1.2.3", Lease: true,
		Dataplane: Dataplane{Kind: "xdp", Counters: []Counter{
			{"http", "new", 10}, {"", "default-host", 3}, {"http", "new", 5},
		}},
		Members: []Member{
			{"node1", 1, netip.MustParseAddr("192.0.2.1"), "started", true, 0, false, 0},
			{"node2", 2, netip.MustParseAddr("192.0.2.2"), "draining", true, 12, false, 0},
			{"node3", 3, netip.MustParseAddr("192.0.2.3"), "started", false, 0, false, 0},
		},
		Rules: []Rule{{
			Name: "http", VIP: "all", Protocol: portrules.TCP, Ports: "80-443", Mode: portrules.Multiple, Affinity: portrules.AffinitySingle,
			Owners: []Owner{{"node1", 4000}, {"node2", 96}},
		}},
	}
}

// start serves the backend on a unix socket until the test ends.
func start(t *testing.T, b Backend) (*Client, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "nlb", "nlbd.sock")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	serveDuring(t, l, b)
	c := Dial(path)
	t.Cleanup(c.Close)
	return c, path
}

func serveDuring(t *testing.T, l net.Listener, b Backend) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- NewServer(b, nil, slog.New(slog.DiscardHandler)).Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
