package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestAbuseLeavesNothing sends 10,000 requests and connections that must be refused,
// and compares memory and goroutines before and after.
func TestAbuseLeavesNothing(t *testing.T) {
	s := newSite(t, []string{"alice"}, []string{"monitor"})
	other, _, err := NewAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	monitor, mallory := s.client(s.ca, "monitor", time.Now()), s.client(s.ca, "mallory", time.Now())
	stranger := s.client(other, "alice", time.Now())
	huge := `{"action":"` + strings.Repeat("x", maxBody) + `"}`
	post := func(c *Client, body string, refused ...int) func() error {
		return func() error { return c.refusal("POST", "/v1/state", body, refused...) }
	}
	kinds := []struct {
		name  string
		times int
		send  func() error
	}{
		{"reader changes", 3000, post(monitor, `{"action":"stop"}`, 403, 429)},
		{"nobody asks", 2000, func() error { return mallory.refusal("GET", "/v1/status", "", 403, 429) }},
		{"nobody changes", 1000, post(mallory, `{"action":"stop"}`, 403, 429)},
		{"malformed", 2000, post(monitor, `{"action":`, 400, 429)},
		{"oversized", 100, post(monitor, huge, 413, 429)},
		{"wrong path", 500, func() error { return monitor.refusal("PUT", "/v1/%00../audit", "", 404, 429) }},
		{"wrong certificate", 400, func() error {
			if _, err := stranger.Status(t.Context()); err == nil {
				return errors.New("answered")
			}
			return nil
		}},
		{"not TLS", 400, s.rubbish("GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n")},
		{"TLS cut short", 400, s.rubbish("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")},
		{"hangs up", 300, s.rubbish("")},
	}
	round := func(times func(int) int) (total int) {
		var all sync.WaitGroup
		for _, k := range kinds {
			n := times(k.times)
			total += n
			all.Go(func() {
				for range n {
					if err := k.send(); err != nil {
						t.Errorf("%s: %v", k.name, err)
						return
					}
				}
			})
		}
		all.Wait()
		for _, c := range []*Client{monitor, mallory, stranger} {
			c.Close()
		}
		return total
	}

	round(func(n int) int { return n / 20 }) // what is made once is there now
	goroutines, heap := settled(0)
	total := round(func(n int) int { return n })
	after, grown := settled(goroutines)
	t.Logf("%d refused; goroutines %d -> %d, heap %d -> %d KiB", total, goroutines, after, heap>>10, grown>>10)
	if total < 10_000 {
		t.Errorf("only %d", total)
	}
	if after > goroutines {
		buf := make([]byte, 1<<16)
		t.Errorf("%d goroutines before, %d after:\n%s", goroutines, after, buf[:runtime.Stack(buf, true)])
	}
	if grown > heap+1<<20 {
		t.Errorf("heap grew from %d to %d bytes", heap, grown)
	}
	if len(s.fake.state) > 0 {
		t.Errorf("%d were obeyed", len(s.fake.state))
	}
	if lines := strings.Count(s.log.String(), "\n"); lines > 500 {
		t.Errorf("%d lines of log", lines)
	}
	if _, err := s.client(s.ca, "alice", time.Now()).Status(t.Context()); err != nil {
		t.Errorf("alice: %v", err)
	}
}

// refusal sends a request that must get one of these answers.
func (c *Client) refusal(method, path, body string, want ...int) error {
	r, err := http.NewRequest(method, c.base+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return nil //nolint:nilerr // the server may hang up on what is too large
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	for _, code := range want {
		if resp.StatusCode == code {
			return nil
		}
	}
	return fmt.Errorf("answered %s", resp.Status)
}

// rubbish sends bytes instead of TLS and waits until the server hangs up, or hangs up.
func (s *site) rubbish(text string) func() error {
	return func() error {
		c, err := net.Dial("tcp", s.at)
		if err != nil {
			return err
		}
		defer c.Close()
		_, _ = io.WriteString(c, text)
		if strings.HasPrefix(text, "GET") {
			_, _ = io.Copy(io.Discard, c)
		}
		return nil
	}
}

// settled collects garbage and returns the goroutines and bytes that are left, when
// there are no more goroutines than wanted, or after a while.
func settled(want int) (goroutines int, heap uint64) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for ctx.Err() == nil && (want == 0 || runtime.NumGoroutine() > want) {
		runtime.GC()
		if want == 0 && stable() {
			break
		}
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return runtime.NumGoroutine(), m.HeapAlloc
}

// stable reports whether no goroutine came or went in a while.
func stable() bool {
	n := runtime.NumGoroutine()
	timer := time.NewTimer(200 * time.Millisecond)
	defer timer.Stop()
	<-timer.C
	return n == runtime.NumGoroutine()
}
