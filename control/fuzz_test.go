package control

import (
	"encoding/json"
	"net/http"
	"testing"
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
