package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func openAudit(t *testing.T, dir string) *Audit {
	t.Helper()
	a, err := OpenAudit(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

func last(t *testing.T, a *Audit, n int) []AuditEntry {
	t.Helper()
	entries, err := a.Last(n)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func verbs(entries []AuditEntry) string {
	var all []string
	for _, e := range entries {
		all = append(all, e.Verb)
	}
	return strings.Join(all, " ")
}

// The log survives a restart, begins a new file when it is full, and keeps one.
func TestAuditRotates(t *testing.T) {
	dir := t.TempDir()
	a := openAudit(t, dir)
	line, err := json.Marshal(AuditEntry{Verb: "v0", Result: Done})
	if err != nil {
		t.Fatal(err)
	}
	a.limit = int64(3*len(line) + 6) // three lines
	for _, v := range strings.Fields("v0 v1 v2 v3 v4 v5 v6") {
		if err := a.Write(AuditEntry{Verb: v, Result: Done}); err != nil {
			t.Fatal(err)
		}
	}
	if got := verbs(last(t, a, 100)); got != "v3 v4 v5 v6" {
		t.Errorf("kept %s", got)
	}
	if got := verbs(last(t, a, 2)); got != "v5 v6" {
		t.Errorf("the last two are %s", got)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if got := verbs(last(t, openAudit(t, dir), 100)); got != "v3 v4 v5 v6" {
		t.Errorf("after a restart %s", got)
	}
	for _, name := range []string{"audit.log", "audit.log.1"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Size() > a.limit || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info, err)
		}
	}
}

// A file that was moved away, by logrotate or by hand, does not take what follows with it.
func TestAuditSurvivesMove(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.log")
	a := openAudit(t, dir)
	for i, move := range []func() error{
		func() error { return nil },
		func() error { return os.Rename(path, path+".1") }, // as a rotation does that could not open another
		func() error { return os.Remove(path) },
		func() error { return errors.Join(os.Remove(path), os.WriteFile(path, nil, 0o600)) },
	} {
		if err := move(); err != nil {
			t.Fatal(err)
		}
		verb := fmt.Sprint("v", i)
		if err := a.Write(AuditEntry{Verb: verb, Result: Done}); err != nil {
			t.Fatal(err)
		}
		if got := last(t, a, 1); len(got) != 1 || got[0].Verb != verb {
			t.Errorf("wrote %s, read %+v", verb, got)
		}
	}
	if got := verbs(last(t, a, 100)); got != "v0 v3" {
		t.Errorf("kept %s", got)
	}
}

// What a crash or a stranger left in the file is skipped, and spoils nothing after it.
func TestAuditSurvivesDamage(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.log")
	damage := `{"verb":"v1"}` + "\n\n\x00\x00\nrubbish\n" + strings.Repeat("x", 3*auditLine) + "\n" + `{"verb":"v2"}` + "\n" + `{"verb":"v3","ti`
	if err := os.WriteFile(path, []byte(damage), 0o600); err != nil {
		t.Fatal(err)
	}
	a := openAudit(t, dir)
	if err := a.Write(AuditEntry{Verb: "v4", Result: Done}); err != nil {
		t.Fatal(err)
	}
	if err := a.Write(AuditEntry{Verb: "v5", Result: Done, Error: strings.Repeat("x", auditLine)}); err != nil {
		t.Fatal(err)
	}
	if got := verbs(last(t, a, 100)); got != "v1 v2 v4 v5" {
		t.Errorf("read %s", got)
	}
}

func TestAuditRefusesLinks(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("/dev/null", filepath.Join(dir, "audit.log")); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenAudit(dir); err == nil {
		t.Error("a link was followed")
	}
}

// Whoever is refused again and again cannot push out what others did.
func TestRefusalsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := openAudit(t, t.TempDir())
		for range 1000 {
			if err := a.Write(AuditEntry{Verb: "stop", Result: Refused}); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(last(t, a, MaxAudit)); n != int(refusalsWritten.burst) {
			t.Errorf("%d written", n)
		}
		if err := a.Write(AuditEntry{Verb: "start", Result: Done}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		if err := a.Write(AuditEntry{Verb: "drain", Result: Refused}); err != nil {
			t.Fatal(err)
		}
		end := last(t, a, 2)
		if end[0].Verb != "start" || end[0].Missed != 1000-uint64(refusalsWritten.burst) || end[1].Verb != "drain" || end[1].Missed != 0 {
			t.Errorf("%+v", end)
		}
	})
}

func TestConclude(t *testing.T) {
	for _, tt := range []struct {
		name string
		v    any
		err  error
		want AuditEntry
	}{
		{"nothing to tell", nil, nil, AuditEntry{Result: Done}},
		{"refused", nil, Refuse("no such member"), AuditEntry{Result: Refused, Error: "no such member"}},
		{"failed", nil, errors.New("boom"), AuditEntry{Result: Failed, Error: "boom"}},
		{"two alike", []Result{{"a", true, "", "started", "stopped"}, {"b", true, "", "started", "stopped"}}, nil, AuditEntry{Result: Done, Old: "started", New: "stopped"}},
		{"two kinds", []Result{{"a", true, "", "started", "stopped"}, {"b", true, "", "draining", "stopped"}}, nil, AuditEntry{Result: Done}},
		{"one of two", []Result{{"a", true, "", "started", "stopped"}, {Member: "b", Error: "is gone"}}, nil, AuditEntry{Result: Partly}},
		{"all fail", []Result{{Member: "a", Error: "is gone"}, {Member: "b", Error: "is gone"}}, nil, AuditEntry{Result: Failed, Error: "is gone"}},
	} {
		e := AuditEntry{Result: Failed, Error: "internal"}
		e.conclude(tt.v, tt.err)
		tt.want.Members, _ = tt.v.([]Result)
		if !reflect.DeepEqual(e, tt.want) {
			t.Errorf("%s: got %+v, want %+v", tt.name, e, tt.want)
		}
	}
}

// A change that panics is in the log, too, and one that learns the old value late.
func TestChangeIsAlwaysAudited(t *testing.T) {
	s := NewServer(newFake(), openAudit(t, t.TempDir()), slog.New(slog.DiscardHandler))
	attempt := func(do func(context.Context) (any, error)) {
		h := s.api.answer(s.api.changes(func(http.ResponseWriter, *http.Request) (*change, error) {
			c := &change{verb: "apply", targets: []string{"cluster"}}
			c.do = func(ctx context.Context) (any, error) {
				c.old, c.new = "version 3", "version 4"
				return do(ctx)
			}
			return c, nil
		}))
		r := httptest.NewRequest("POST", "/", nil)
		h(httptest.NewRecorder(), r.WithContext(WithCaller(r.Context(), Caller{Role: Admin, PID: int32(os.Getpid())})))
	}
	attempt(func(context.Context) (any, error) { panic("broken") })
	attempt(func(ctx context.Context) (any, error) {
		if c := CallerOf(ctx); c.Name != "root" || !strings.HasPrefix(c.Process, "control.test") {
			t.Errorf("caller %+v", c)
		}
		return nil, nil
	})
	got := last(t, s.api.audit, 10)
	if len(got) != 2 || got[0].Result != Failed || got[1].Result != Done || got[1].Old != "version 3" || got[1].New != "version 4" ||
		!strings.Contains(got[1].From, "pid") || !strings.Contains(got[1].Who, "root") {
		t.Errorf("%+v", got)
	}
}

// What is asked for is on record as nlbctl has it, and what only was tried as tried.
func TestAuditSaysWhatWasAsked(t *testing.T) {
	f := newFake()
	s := NewServer(f, openAudit(t, t.TempDir()), slog.New(slog.DiscardHandler))
	const file = `"file":"f","yaml":"cluster:\n"`
	for _, ask := range []struct {
		path, body string
		same       bool // as what is in force
		fails      error
		want       AuditEntry
	}{
		{"config/apply", "{" + file + "}", false, nil, AuditEntry{Verb: "apply", Old: "configuration 7", New: "configuration 8: mode: unicast -> igmp"}},
		{"config/apply", "{" + file + `,"dry_run":true}`, false, nil, AuditEntry{Verb: "apply --dry-run", Old: "configuration 7", New: "mode: unicast -> igmp"}},
		{"config/apply", "{" + file + `,"dry_run":true}`, false, Refuse("node2 cannot take it"), AuditEntry{Verb: "apply --dry-run"}},
		{"config/apply", "{" + file + "}", true, nil, AuditEntry{Verb: "apply", Old: "configuration 7", New: "configuration 7"}},
		{"config/rollback", `{"version":3,"dry_run":true}`, true, nil, AuditEntry{Verb: "config rollback --dry-run", Targets: []string{"3"}, Old: "configuration 7", New: "configuration 7"}},
		{"rule", `{"action":"weight","rule":"web","value":30,"all":true}`, false, nil, AuditEntry{Verb: "weight", Targets: []string{"web", "30", "--all"}}},
		{"rule", `{"action":"drain","rule":"web","members":["node2"]}`, false, nil, AuditEntry{Verb: "rule drain", Targets: []string{"web", "node2"}}},
	} {
		f.same, f.err = ask.same, ask.fails
		r := httptest.NewRequest("POST", "/v1/"+ask.path, strings.NewReader(ask.body))
		s.api.handler().ServeHTTP(httptest.NewRecorder(), r.WithContext(WithCaller(r.Context(), Caller{Role: Admin})))
		got := last(t, s.api.audit, 1)[0]
		got = AuditEntry{Verb: got.Verb, Targets: got.Targets, Old: got.Old, New: got.New}
		if !reflect.DeepEqual(got, ask.want) {
			t.Errorf("%s %s: got %+v, want %+v", ask.path, ask.body, got, ask.want)
		}
	}
}

func TestNoAudit(t *testing.T) {
	if w := call(newFake(), "GET", "/v1/audit", ""); w.Code != 503 || !strings.Contains(w.Body.String(), "keeps no audit log") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for _, n := range []string{"0", "-1", "x", "1001"} {
		if w := call(newFake(), "GET", "/v1/audit?n="+n, ""); w.Code != 400 {
			t.Errorf("n=%s: %d", n, w.Code)
		}
	}
}

// bare is a log that shows of a record what belongs to it, as lines of the journal do.
type bare struct{ slog.Handler }

func (b bare) WithAttrs([]slog.Attr) slog.Handler { return b }

// The line about a change says itself who asks for what, for it may be all that is shipped.
func TestRequestIsToldInItsLine(t *testing.T) {
	var log strings.Builder
	h := NewServer(newFake(), nil, slog.New(bare{slog.NewTextHandler(&log, nil)})).api.handler()
	for _, c := range []Caller{{Name: "alice", Role: Admin}, {Name: "monitor", Role: Reader}} {
		c.Remote = netip.MustParseAddrPort("192.0.2.9:4711")
		r := httptest.NewRequestWithContext(WithCaller(t.Context(), c), "POST", "/v1/state", strings.NewReader(`{"action":"stop","members":["node1"]}`))
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
	for _, want := range []string{
		`msg="change requested" verb=stop targets=[node1] who=alice role=admin from=192.0.2.9:4711`,
		`msg="change refused" verb=stop targets=[node1] who=monitor role=reader from=192.0.2.9:4711`,
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %s in:\n%s", want, log.String())
		}
	}
}
