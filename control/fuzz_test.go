package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"
)

// Whatever comes, the answer is JSON, and the backend sees valid requests only.
func FuzzRequests(f *testing.F) {
	for _, seed := range []string{
		`{"action":"drain","members":["node1"],"timeout":"5m0s"}`,
		`{"action":"start","all":true}`,
		`{"client":"192.0.2.200","client_port":1,"vip":"192.0.2.10","port":80,"protocol":"tcp"}`,
		`{"client":"2001:db8::1","vip":"2001:db8::10","protocol":"icmp"}`,
		`{} {}`, `null`, `[`,
	} {
		f.Add(true, []byte(seed))
		f.Add(false, []byte(seed))
	}
	f.Fuzz(func(t *testing.T, state bool, body []byte) {
		b := newFake()
		path := "/v1/explain"
		if state {
			path = "/v1/state"
		}
		w := call(b, "POST", path, string(body))
		if !json.Valid(w.Body.Bytes()) {
			t.Fatalf("answer %q", w.Body)
		}
		if w.Code != 200 && w.Code != 400 {
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
		if reached := len(b.state)+len(b.explain) > 0; reached != (w.Code == 200) {
			t.Fatalf("status %d, reached the backend: %v", w.Code, reached)
		}
		for _, r := range b.state {
			if err := r.validate(); err != nil {
				t.Fatal(err)
			}
		}
		for _, r := range b.explain {
			if err := r.Check(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// Any method, path and body from any role: the answer is JSON, only an administrator
// reaches what changes something, and then the audit log has it.
func FuzzAPI(f *testing.F) {
	for _, path := range []string{"/v1/status", "/v1/state", "/v1/explain", "/v1/port", "/v1/trace", "/v1/events", "/v1/clients?rule=http", "/v1/audit?n=5", "/", "//", "/v1/../v1/state"} {
		for role := range uint8(3) {
			f.Add("GET", path, []byte(nil), role)
			f.Add("POST", path, []byte(`{"action":"stop","all":true}`), role)
			f.Add("POST", path, []byte(`{"client":"192.0.2.0/24","vip":"192.0.2.10","port":80,"protocol":"tcp"}`), role)
		}
	}
	audit, err := OpenAudit(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, method, path string, body []byte, as uint8) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond) // for traces and whoever waits for events
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, method, "http://nlbd"+path, bytes.NewReader(body))
		if err != nil {
			t.Skip()
		}
		role := Role(as % 3)
		b := newFake()
		s := NewServer(b, audit, slog.New(slog.DiscardHandler))
		before := last(t, audit, MaxAudit)
		w := httptest.NewRecorder()
		s.api.handler().ServeHTTP(w, r.WithContext(WithCaller(ctx, Caller{Name: "fuzz", Role: role, Remote: netip.MustParseAddrPort("192.0.2.9:1")})))

		if w.Code < 300 || w.Code >= 400 { // redirections are of net/http
			for d := json.NewDecoder(w.Body); ; {
				var v any
				if err := d.Decode(&v); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Fatalf("status %d, answer %q: %v", w.Code, w.Body, err)
				}
			}
		}
		changed, asked := len(b.state) > 0, len(b.state)+len(b.explain)+len(b.ports)+len(b.traces)+len(b.clients) > 0
		if changed && role != Admin || asked && role == Nobody || role == Nobody && w.Code == 200 {
			t.Fatalf("status %d for a %v, who reached the backend: %v", w.Code, role, asked)
		}
		if changed {
			after := last(t, audit, MaxAudit)
			if len(after) == len(before) && len(before) < MaxAudit {
				t.Fatal("a change that is not in the audit log")
			}
		}
	})
}

func FuzzEventQuery(f *testing.F) {
	f.Add("after=1")
	f.Add("after=18446744073709551616")
	f.Add("%zz;&after=x")
	f.Fuzz(func(t *testing.T, query string) {
		r, err := newRequest(query)
		if err != nil {
			t.Skip()
		}
		_, wait, err := eventQuery(r)
		if err == nil && (wait < 0 || wait > maxWait) {
			t.Fatalf("wait %v", wait)
		}
	})
}

func newRequest(query string) (*http.Request, error) {
	return http.NewRequest("GET", "http://nlbd/v1/events?"+query, nil)
}
