package control

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener in memory, so that time can be simulated.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// dial returns nil if the server does not accept now.
func (p *pipes) dial() net.Conn {
	near, far := net.Pipe()
	synctest.Wait()
	select {
	case p.conns <- far:
		return near
	default:
		return nil
	}
}

func withPipes(t *testing.T, b Backend, test func(t *testing.T, p *pipes)) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- NewServer(b, nil, slog.New(slog.DiscardHandler)).Serve(ctx, p) }()
		test(t, p)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// Whoever sends too slowly is cut off, whether in the header or in the body.
func TestSlowClientIsCutOff(t *testing.T) {
	for _, begin := range []string{"", "GET /v1/sta", "POST /v1/state HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"} {
		withPipes(t, newFake(), func(t *testing.T, p *pipes) {
			c := p.dial()
			began := time.Now()
			if _, err := io.WriteString(c, begin); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, c); err != nil {
				t.Errorf("%q: %v", begin, err)
			}
			if d := time.Since(began); d > readTimeout+time.Second {
				t.Errorf("%q: cut off after %v", begin, d)
			}
		})
	}
}

// So is who does not end its TLS handshake.
func TestSlowHandshakeIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		access := &Access{config: &tls.Config{MinVersion: tls.VersionTLS13}, now: time.Now}
		go func() { done <- NewServer(newFake(), nil, slog.New(slog.DiscardHandler)).ServeRemote(ctx, p, access) }()
		for _, begin := range []string{"", "\x16\x03\x01\x02\x00\x01"} {
			c := p.dial()
			began := time.Now()
			if _, err := io.WriteString(c, begin); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, c); err != nil {
				t.Errorf("%q: %v", begin, err)
			}
			if d := time.Since(began); d > readTimeout+time.Second {
				t.Errorf("%q: cut off after %v", begin, d)
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestConnectionsAreBounded(t *testing.T) {
	withPipes(t, newFake(), func(t *testing.T, p *pipes) {
		var idle []net.Conn
		for i := range maxConnections {
			c := p.dial()
			if c == nil {
				t.Fatalf("connection %d was not accepted", i)
			}
			idle = append(idle, c)
		}
		if p.dial() != nil {
			t.Fatal("one connection too many was accepted")
		}
		idle[7].Close()
		c := p.dial()
		if c == nil {
			t.Fatal("a free place was not given away")
		}
		fmt.Fprint(c, "GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n")
		if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != 200 {
			t.Errorf("got %v, %v", resp, err)
		}
		for _, c := range append(idle, c) {
			c.Close()
		}
	})
}

func TestLongPoll(t *testing.T) {
	f := newFake()
	withPipes(t, f, func(t *testing.T, p *pipes) {
		f.EventLog = NewEventLog(10) // its channel must be of this bubble
		c := p.dial()
		defer c.Close()
		r := bufio.NewReader(c)
		poll := func(after int, wait time.Duration) string {
			fmt.Fprintf(c, "GET /v1/events?after=%d&wait=%s HTTP/1.1\r\nHost: x\r\n\r\n", after, wait)
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != 200 {
				t.Fatal(resp.Status, err)
			}
			return string(body)
		}

		began := time.Now()
		if got := poll(0, maxWait); got != "[]\n" || time.Since(began) != maxWait {
			t.Errorf("nothing happened: got %s after %v", got, time.Since(began))
		}
		began = time.Now()
		time.AfterFunc(3*time.Second, func() { f.Add(Event{Kind: "joined", Message: "node2"}) })
		if got := poll(0, maxWait); len(got) < 10 || time.Since(began) != 3*time.Second {
			t.Errorf("got %s after %v", got, time.Since(began))
		}
		began = time.Now()
		if got := poll(0, maxWait); len(got) < 10 || time.Since(began) != 0 {
			t.Errorf("an old event: got %s after %v", got, time.Since(began))
		}
		if got := poll(1, 0); got != "[]\n" || time.Since(began) != 0 {
			t.Errorf("no wait: got %s after %v", got, time.Since(began))
		}
	})
}

// Those who wait for events do not hold up the end of the agent.
func TestShutdownEndsFollowers(t *testing.T) {
	f := newFake()
	synctest.Test(t, func(t *testing.T) {
		f.EventLog = NewEventLog(10)
		p := newPipes()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- NewServer(f, nil, slog.New(slog.DiscardHandler)).Serve(ctx, p) }()
		c := p.dial()
		go io.Copy(io.Discard, c)
		fmt.Fprint(c, "GET /v1/events?wait=1m HTTP/1.1\r\nHost: x\r\n\r\n")
		synctest.Wait()
		began := time.Now()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if d := time.Since(began); d > shutdownGrace {
			t.Errorf("took %v", d)
		}
		c.Close()
	})
}
