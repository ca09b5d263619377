package control

import (
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimits(rate{perSecond: 10, burst: 5})
		pass := func(caller string, n int) (passed int) {
			for range n {
				if l.allow(caller) {
					passed++
				}
			}
			return passed
		}
		if n := pass("a", 100); n != 5 {
			t.Errorf("%d at once", n)
		}
		if n := pass("b", 100); n != 5 {
			t.Errorf("another caller: %d", n)
		}
		time.Sleep(300 * time.Millisecond)
		if n := pass("a", 100); n != 3 {
			t.Errorf("%d after 0.3 s", n)
		}
		time.Sleep(time.Hour)
		if n := pass("a", 100); n != 5 {
			t.Errorf("%d after an hour", n)
		}
		for i := range 3 * maxCallers {
			time.Sleep(time.Millisecond)
			l.allow(fmt.Sprint(i))
		}
		if n := len(l.callers); n != maxCallers {
			t.Errorf("%d callers remembered", n)
		}
		for i := 2 * maxCallers; i < 3*maxCallers; i++ {
			if l.callers[fmt.Sprint(i)] == nil {
				t.Fatalf("caller %d is forgotten, and not one that asked before", i)
			}
		}
	})
}

// Too many requests are refused, of the one caller only, and go on after a moment.
func TestTooManyRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewServer(newFake(), nil, slog.New(slog.DiscardHandler))
		ask := func(uid uint32, method, path, body string) (int, string) {
			w, r := httptest.NewRecorder(), httptest.NewRequest(method, path, strings.NewReader(body))
			s.api.handler().ServeHTTP(w, r.WithContext(WithCaller(r.Context(), Caller{UID: uid, Role: Admin})))
			return w.Code, w.Body.String()
		}
		count := func(uid uint32, method, path, body string) (passed int) {
			for range 1000 {
				if code, _ := ask(uid, method, path, body); code == 200 {
					passed++
				}
			}
			return passed
		}
		stop := `{"action":"stop"}`
		if n := count(1, "POST", "/v1/state", stop); n != int(changeRate.burst) {
			t.Errorf("%d changes at once", n)
		}
		if code, text := ask(1, "GET", "/v1/status", ""); code != 429 || !strings.Contains(text, "too many requests: 200 a second") {
			t.Errorf("%d %s", code, text)
		}
		if n := count(2, "GET", "/v1/status", ""); n != int(readRate.burst) {
			t.Errorf("%d reads at once by another", n)
		}
		time.Sleep(time.Second)
		if n := count(1, "POST", "/v1/state", stop); n != int(changeRate.perSecond) {
			t.Errorf("%d changes a second later", n)
		}
		if n := count(2, "GET", "/v1/status", ""); n != int(readRate.perSecond) {
			t.Errorf("%d reads a second later", n)
		}
	})
}
