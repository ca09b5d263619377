package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"
)

func TestRoundTrips(t *testing.T) {
	f := newFake()
	c, _ := start(t, f)
	ctx := t.Context()

	got, err := c.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	want := sample()
	want.fillNil()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("status\ngot  %+v\nwant %+v", got, want)
	}

	f.results = []Result{{Member: "node2", OK: true}, {Member: "node3", Error: "not reachable"}}
	req := StateRequest{Action: Drain, Members: []string{"node2", "node3"}, Timeout: Duration(5 * time.Minute)}
	results, err := c.SetState(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(results, f.results) {
		t.Errorf("results %+v", results)
	}
	if !reflect.DeepEqual(f.state, []StateRequest{req}) {
		t.Errorf("the backend saw %+v", f.state)
	}

	ask := ExplainRequest{Client: netip.MustParseAddr("192.0.2.200"), ClientPort: 1234, VIP: netip.MustParseAddr("192.0.2.10"), Port: 80, Protocol: "tcp"}
	e, err := c.Explain(ctx, ask)
	if err != nil {
		t.Fatal(err)
	}
	if e.ExplainRequest != ask || e.Bucket != 7 || len(e.Steps) != 2 {
		t.Errorf("explanation %+v", e)
	}
	if !reflect.DeepEqual(f.explain, []ExplainRequest{ask}) {
		t.Errorf("the backend saw %+v", f.explain)
	}
}

func TestQueryPortRoundTrip(t *testing.T) {
	f := newFake()
	c, _ := start(t, f)
	ask := PortRequest{VIP: netip.MustParseAddr("192.0.2.10"), Port: 80, Protocol: "udp"}
	p, err := c.QueryPort(t.Context(), ask)
	if err != nil || p.PortRequest != ask || p.Epoch != 7 || !reflect.DeepEqual(f.ports, []PortRequest{ask}) {
		t.Errorf("%+v, %v; the backend saw %+v", p, err, f.ports)
	}
	for _, wrong := range []PortRequest{{VIP: ask.VIP, Protocol: "icmp"}, {Protocol: "tcp"}} {
		if _, err := c.QueryPort(t.Context(), wrong); err == nil {
			t.Errorf("%+v is taken", wrong)
		}
	}
}

// A trace ends at the member when the caller hangs up.
func TestTrace(t *testing.T) {
	f := newFake()
	c, _ := start(t, f)
	ctx, cancel := context.WithCancel(t.Context())
	ask := TraceRequest{Client: netip.MustParsePrefix("192.0.2.0/24"), Port: 80}
	var got []Sample
	begun := false
	err := c.Trace(ctx, ask, func() { begun = true }, func(s Sample) error {
		if got = append(got, s); len(got) == 2 {
			cancel()
		}
		return nil
	})
	if err != nil || !begun || len(got) != 2 || got[1].Missed != 3 || !reflect.DeepEqual(f.traces, []TraceRequest{ask}) {
		t.Errorf("%v: %+v; the backend saw %+v", err, got, f.traces)
	}
	<-f.ended
	f.err = Refuse("another trace is running")
	if err := c.Trace(t.Context(), TraceRequest{}, func() {}, nil); err == nil || err.Error() != "another trace is running" {
		t.Errorf("refused: %v", err)
	}
	if err := c.Trace(t.Context(), TraceRequest{Client: netip.MustParsePrefix("::ffff:192.0.2.0/120")}, func() {}, nil); err == nil {
		t.Error("an unusable prefix is taken")
	}
}

// Outside programs rely on these names: see the contract in docs.
func TestStatusFieldNames(t *testing.T) {
	text, err := json.Marshal(sample())
	if err != nil {
		t.Fatal(err)
	}
	var s struct {
		Cluster, Mode, ClusterMAC, Self string
		Members, Rules                  []map[string]any
	}
	var top map[string]any
	if err := errors.Join(json.Unmarshal(text, &s), json.Unmarshal(text, &top)); err != nil {
		t.Fatal(err)
	}
	expect(t, "status", top, "cluster", "mode", "cluster_mac", "vips", "epoch", "converged", "default_host", "self", "members", "rules")
	expect(t, "member", s.Members[0], "name", "priority", "address", "state", "alive")
	expect(t, "rule", s.Rules[0], "name", "mode", "affinity", "owners")
	expect(t, "owner", s.Rules[0]["owners"].([]any)[0].(map[string]any), "member", "buckets")
	if s.Rules[0]["mode"] != "multiple" || s.Rules[0]["protocol"] != "tcp" || s.Rules[0]["timeout"] != "0s" {
		t.Errorf("rule %v", s.Rules[0])
	}
}

func expect(t *testing.T, what string, m map[string]any, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, ok := m[name]; !ok {
			t.Errorf("%s has no field %s", what, name)
		}
	}
}

func TestEmptyListsAreNotNull(t *testing.T) {
	f := newFake()
	f.status, f.same = Status{Rules: []Rule{{}}}, true
	for _, tt := range []struct{ method, path, body string }{
		{"GET", "/v1/status", ""},
		{"POST", "/v1/state", `{"action":"start"}`},
		{"GET", "/v1/events", ""},
		{"POST", "/v1/explain", `{"client":"192.0.2.200","vip":"192.0.2.10","protocol":"icmp"}`},
		{"GET", "/v1/clients?rule=http", ""},
		{"GET", "/v1/config/history", ""},
		{"POST", "/v1/config/apply", `{"yaml":"x"}`},
		{"POST", "/v1/config/rollback", `{"version":1}`},
	} {
		w := call(f, tt.method, tt.path, tt.body)
		if w.Code != http.StatusOK || strings.Contains(w.Body.String(), "null") {
			t.Errorf("%s: %d %s", tt.path, w.Code, w.Body)
		}
	}
}

func call(b Backend, method, path, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	asAdmin(b, slog.New(slog.DiscardHandler)).ServeHTTP(w, r)
	return w
}

// asAdmin is the API for requests of an administrator.
func asAdmin(b Backend, log *slog.Logger) http.Handler { return as(Admin, NewServer(b, nil, log)) }

// as is the API of s for requests of one role.
func as(role Role, s *Server) http.Handler {
	h := s.api.handler()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r.WithContext(WithCaller(r.Context(), Caller{Name: "test", Role: role})))
	})
}

func TestRefused(t *testing.T) {
	explain := func(s string) string {
		return `{"client":"192.0.2.200","vip":"192.0.2.10","protocol":"tcp","port":80` + s + `}`
	}
	for _, tt := range []struct {
		name, method, path, body string
		code                     int
		want                     string
	}{
		{"path", "GET", "/v1/nothing", "", 404, "different versions"},
		{"root", "GET", "/", "", 404, "different versions"},
		{"method", "POST", "/v1/status", "", 405, "read with GET"},
		{"method state", "GET", "/v1/state", "", 405, "read with POST"},
		{"method head", "DELETE", "/v1/events", "", 405, "read with GET"},
		{"empty", "POST", "/v1/state", "", 400, "not understood"},
		{"malformed", "POST", "/v1/state", `{"action":`, 400, "not understood"},
		{"not an object", "POST", "/v1/state", `["start"]`, 400, "not understood"},
		{"unknown field", "POST", "/v1/state", `{"action":"start","force":true}`, 400, "force"},
		{"trailing", "POST", "/v1/state", `{"action":"start"}{"action":"stop"}`, 400, "more follows"},
		{"trailing rubbish", "POST", "/v1/state", `{"action":"start"}]`, 400, "not understood"},
		{"oversize", "POST", "/v1/state", `{"action":"` + strings.Repeat("x", 1<<20) + `"}`, 413, "larger than 1 MiB"},
		{"oversize tail", "POST", "/v1/state", `{"action":"start"}` + strings.Repeat(" ", 1<<20), 413, "larger than 1 MiB"},
		{"deep", "POST", "/v1/state", strings.Repeat("[", 100_000), 400, "not understood"},
		{"no action", "POST", "/v1/state", `{}`, 400, "unknown action"},
		{"action", "POST", "/v1/state", `{"action":"explode"}`, 400, "unknown action"},
		{"all and some", "POST", "/v1/state", `{"action":"stop","all":true,"members":["a"]}`, 400, "contradict"},
		{"many members", "POST", "/v1/state", `{"action":"stop","members":["a"` + strings.Repeat(`,"a"`, 32) + `]}`, 400, "at most 32"},
		{"empty member", "POST", "/v1/state", `{"action":"stop","members":[""]}`, 400, "not usable"},
		{"long member", "POST", "/v1/state", `{"action":"stop","members":["` + strings.Repeat("a", 64) + `"]}`, 400, "not usable"},
		{"member twice", "POST", "/v1/state", `{"action":"stop","members":["a","a"]}`, 400, "twice"},
		{"timeout", "POST", "/v1/state", `{"action":"stop","timeout":"1s"}`, 400, "only drain"},
		{"negative timeout", "POST", "/v1/state", `{"action":"drain","timeout":"-1s"}`, 400, "out of range"},
		{"long timeout", "POST", "/v1/state", `{"action":"drain","timeout":"25h"}`, 400, "out of range"},
		{"no client", "POST", "/v1/explain", `{"vip":"192.0.2.10","protocol":"tcp"}`, 400, "client"},
		{"no vip", "POST", "/v1/explain", `{"client":"192.0.2.200","protocol":"tcp"}`, 400, "virtual IP"},
		{"zone", "POST", "/v1/explain", `{"client":"fe80::1%eth0","vip":"fe80::2","protocol":"tcp"}`, 400, "unusable"},
		{"mapped", "POST", "/v1/explain", `{"client":"::ffff:1.2.3.4","vip":"::1","protocol":"tcp"}`, 400, "unusable"},
		{"families", "POST", "/v1/explain", `{"client":"192.0.2.200","vip":"2001:db8::1","protocol":"tcp"}`, 400, "one family"},
		{"protocol", "POST", "/v1/explain", explain(`,"protocol":"gre"`), 400, "unknown protocol"},
		{"icmp port", "POST", "/v1/explain", explain(`,"protocol":"icmp"`), 400, "no ports"},
		{"port", "POST", "/v1/explain", explain(`,"port":65536`), 400, "not understood"},
		{"after", "GET", "/v1/events?after=-1", "", 400, "number of an event"},
		{"wait", "GET", "/v1/events?wait=1h", "", 400, "not a duration"},
		{"no rule", "GET", "/v1/clients", "", 400, "name of a rule"},
		{"limit", "GET", "/v1/clients?rule=http&limit=1001", "", 400, "limit is not 1 to 1000"},
		{"limit word", "GET", "/v1/clients?rule=http&limit=all", "", 400, "not a number"},
		{"note", "POST", "/v1/config/apply", `{"yaml":"cluster:\n","note":"x\ncluster: {}"}`, 400, "on one line"},
		{"long note", "POST", "/v1/config/apply", `{"yaml":"cluster:\n","note":"` + strings.Repeat("x", 201) + `"}`, 400, "longer than 200 bytes"},
		{"wait negative", "GET", "/v1/events?wait=-1s", "", 400, "not a duration"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFake()
			w := call(f, tt.method, tt.path, tt.body)
			var e Error
			if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil {
				t.Fatalf("not JSON: %s", w.Body)
			}
			if w.Code != tt.code || !strings.Contains(e.Message, tt.want) {
				t.Errorf("got %d %q, want %d %q", w.Code, e.Message, tt.code, tt.want)
			}
			if len(f.state)+len(f.explain)+len(f.clients)+len(f.applies) > 0 {
				t.Error("the request reached the backend")
			}
		})
	}
}

func TestBackendErrors(t *testing.T) {
	f := newFake()
	f.err = errors.New("disk on fire")
	if w := call(f, "GET", "/v1/status", ""); w.Code != 500 || !strings.Contains(w.Body.String(), "disk on fire") {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	f.err = &Error{Status: 409, Message: "suspended: resume it first"}
	c, _ := start(t, f)
	_, err := c.SetState(t.Context(), StateRequest{Action: Start})
	var refused *Error
	if !errors.As(err, &refused) || refused.Status != 409 || err.Error() != "suspended: resume it first" {
		t.Errorf("got %v", err)
	}
}

func TestPanicIsLoggedAndAnswered(t *testing.T) {
	f := newFake()
	f.panics = true
	var log bytes.Buffer
	w := httptest.NewRecorder()
	asAdmin(f, slog.New(slog.NewTextHandler(&log, nil))).ServeHTTP(w, httptest.NewRequest("GET", "/v1/status", nil))
	if w.Code != 500 || !strings.Contains(w.Body.String(), "see the log") {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	if !strings.Contains(log.String(), "broken") || !strings.Contains(log.String(), "fake_test.go") {
		t.Errorf("log: %s", log.String())
	}
	if strings.Contains(w.Body.String(), "broken") {
		t.Error("the answer shows the panic")
	}
}

func TestChangesAreLoggedWithCaller(t *testing.T) {
	f := newFake()
	path := t.TempDir() + "/s"
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- NewServer(f, nil, slog.New(slog.NewTextHandler(&log, nil))).Serve(ctx, l) }()
	_, err = Dial(path).SetState(ctx, StateRequest{Action: Stop, All: true})
	cancel()
	if err := errors.Join(err, <-done); err != nil {
		t.Fatal(err)
	}
	want := "pid " + strconv.Itoa(os.Getpid()) + " (control.test)"
	if !strings.Contains(log.String(), "verb=stop") || !strings.Contains(log.String(), want) {
		t.Errorf("log %q, want %s", log.String(), want)
	}
}

func TestManyCallersAtOnce(t *testing.T) {
	_, path := start(t, newFake())
	var g errgroup.Group
	for range 4 * maxConnections {
		g.Go(func() error {
			c := Dial(path)
			defer c.Close()
			_, err := c.Status(t.Context())
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}

func TestFollowersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		h := asAdmin(f, slog.New(slog.DiscardHandler))
		get := func(path string) int {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
			return w.Code
		}
		codes := make(chan int, maxFollowers)
		for range maxFollowers {
			go func() { codes <- get("/v1/events?wait=1m") }()
		}
		synctest.Wait()
		if code := get("/v1/events?wait=1m"); code != http.StatusServiceUnavailable {
			t.Errorf("one follower too many: %d", code)
		}
		for _, path := range []string{"/v1/events", "/v1/status"} {
			if code := get(path); code != http.StatusOK {
				t.Errorf("%s beside the followers: %d", path, code)
			}
		}
		f.Add(Event{Kind: "joined"})
		for range maxFollowers {
			if code := <-codes; code != http.StatusOK {
				t.Errorf("a follower got %d", code)
			}
		}
		if code := get("/v1/events?after=1&wait=1s"); code != http.StatusOK {
			t.Errorf("after they left: %d", code)
		}
	})
}

func TestNotNLBD(t *testing.T) {
	path := t.TempDir() + "/s"
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusTeapot)
		io.WriteString(w, "<html>")
	}))
	s.Listener = l
	s.Start()
	defer s.Close()
	if _, err := Dial(path).Status(t.Context()); err == nil || !strings.Contains(err.Error(), "is that socket nlbd's?") {
		t.Errorf("got %v", err)
	}
}
