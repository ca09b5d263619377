package control

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// site is a member that can be administered from afar, and its certificates.
type site struct {
	t     *testing.T
	ca    *Authority
	dir   string
	at    string
	files AccessFiles
	log   *logged
	audit *Audit
	fake  *fake
	later atomic.Int64 // nanoseconds by which the clock of files is ahead
}

// logged is a log that may be read while it is written.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newSite(t *testing.T, admins, readers []string) *site {
	t.Helper()
	ca, pair, err := NewAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, ca: ca, dir: t.TempDir(), log: &logged{}, fake: newFake()}
	s.fake.results = []Result{{Member: "node1", OK: true, Old: "started", New: "stopped"}}
	s.put("ca", pair)
	s.issueServer("127.0.0.1")
	s.files = AccessFiles{Cert: s.path("server.pem"), Key: s.path("server.key"), ClientCA: s.path("ca.pem")}
	log := slog.New(slog.NewTextHandler(s.log, nil))
	access, err := OpenAccess(s.files, admins, readers, log)
	if err != nil {
		t.Fatal(err)
	}
	access.now = func() time.Time { return time.Now().Add(time.Duration(s.later.Load())) }
	if s.audit, err = OpenAudit(s.dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.audit.Close() })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.at = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- NewServer(s.fake, s.audit, log).ServeRemote(ctx, l, access) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *site) path(name string) string { return filepath.Join(s.dir, name) }

func (s *site) put(name string, p Pair) {
	s.t.Helper()
	if err := errors.Join(os.WriteFile(s.path(name+".pem"), p.Cert, 0o600), os.WriteFile(s.path(name+".key"), p.Key, 0o600)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) issueServer(hosts ...string) {
	s.t.Helper()
	p, err := s.ca.Server(time.Now(), hosts...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.put("server", p)
}

// client makes a client that holds a certificate of ca for name.
func (s *site) client(ca *Authority, name string, now time.Time) *Client {
	s.t.Helper()
	p, err := ca.Client(now, name)
	if err != nil {
		s.t.Fatal(err)
	}
	s.put("client", p)
	c, err := DialRemote(s.at, RemoteFiles{Cert: s.path("client.pem"), Key: s.path("client.key"), CA: s.path("ca.pem")})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(c.Close)
	return c
}

func (s *site) expectError(err error, want string) {
	s.t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		s.t.Errorf("got %v, want %q", err, want)
	}
}

var stopIt = StateRequest{Action: Stop, Members: []string{"node1"}}

func TestRemoteRoles(t *testing.T) {
	s := newSite(t, []string{"alice"}, []string{"monitor"})
	ctx := t.Context()

	alice := s.client(s.ca, "alice", time.Now())
	if got, err := alice.Status(ctx); err != nil || got.Cluster != "web" {
		t.Errorf("alice: %v, %v", got, err)
	}
	if r, err := alice.SetState(ctx, stopIt); err != nil || !r[0].OK {
		t.Errorf("alice: %v, %v", r, err)
	}

	monitor := s.client(s.ca, "monitor", time.Now())
	if _, err := monitor.Status(ctx); err != nil {
		t.Error(err)
	}
	if _, err := monitor.Events(ctx, 0, 0); err != nil {
		t.Error(err)
	}
	_, err := monitor.SetState(ctx, stopIt)
	s.expectError(err, `"monitor" may only look: write that name into control.remote.admins`)
	_, err = monitor.Audit(ctx, 10)
	s.expectError(err, "may only look")

	mallory := s.client(s.ca, "mallory", time.Now())
	_, err = mallory.Status(ctx)
	s.expectError(err, `"mallory" is neither an administrator nor a reader`)
	_, err = mallory.SetState(ctx, stopIt)
	s.expectError(err, "neither")

	if n := len(s.fake.state); n != 1 {
		t.Errorf("%d changes were obeyed", n)
	}
	entries, err := alice.Audit(ctx, 10)
	if err != nil || len(entries) != 3 {
		t.Fatalf("%+v, %v", entries, err)
	}
	e := entries[0]
	if e.Who != "alice" || e.Role != "admin" || !strings.HasPrefix(e.From, "127.0.0.1:") || e.Verb != "stop" ||
		e.Targets[0] != "node1" || e.Old != "started" || e.New != "stopped" || e.Result != Done || time.Since(e.Time) > time.Minute {
		t.Errorf("%+v", e)
	}
	for i, who := range []string{"monitor", "mallory"} {
		if e := entries[1+i]; e.Who != who || e.Result != Refused || e.Verb != "stop" || e.Error == "" || e.Old != "" {
			t.Errorf("%+v", e)
		}
		if !strings.Contains(s.log.String(), "who="+who) {
			t.Errorf("the log does not name %s:\n%s", who, s.log)
		}
	}
}

func TestAnybodyMayLook(t *testing.T) {
	s := newSite(t, []string{"alice"}, []string{"monitor", Anybody})
	if _, err := s.client(s.ca, "whoever", time.Now()).Status(t.Context()); err != nil {
		t.Error(err)
	}
	_, err := s.client(s.ca, Anybody, time.Now()).SetState(t.Context(), stopIt)
	s.expectError(err, "may only look")
}

// A name as long as a certificate can have it is on record all the same.
func TestLongNameIsOnRecord(t *testing.T) {
	s := newSite(t, nil, []string{Anybody})
	_, err := s.client(s.ca, strings.Repeat("x", 2*auditLine), time.Now()).SetState(t.Context(), stopIt)
	s.expectError(err, "may only look")
	if e := last(t, s.audit, 1); len(e) != 1 || e[0].Who != strings.Repeat("x", maxName) || e[0].Result != Refused {
		t.Errorf("%+v", e)
	}
}

// Certificates that prove nothing are refused before HTTP, which the log tells.
func TestWrongCertificates(t *testing.T) {
	s := newSite(t, []string{Anybody}, nil)
	other, _, err := NewAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.client(other, "alice", time.Now()).Status(t.Context())
	s.expectError(err, "refuses the certificate of --cert")
	_, err = s.client(s.ca, "alice", time.Now().Add(-3*certificateLife)).Status(t.Context())
	s.expectError(err, "refuses the certificate of --cert")

	// A member's own certificate is for servers.
	member, err := DialRemote(s.at, RemoteFiles{Cert: s.files.Cert, Key: s.files.Key, CA: s.files.ClientCA})
	if err != nil {
		t.Fatal(err)
	}
	_, err = member.Status(t.Context())
	s.expectError(err, "refuses the certificate of --cert")

	s.client(s.ca, "alice", time.Now())
	good, err := tls.LoadX509KeyPair(s.path("client.pem"), s.path("client.key"))
	if err != nil {
		t.Fatal(err)
	}
	for name, config := range map[string]*tls.Config{
		"none":    {InsecureSkipVerify: true},
		"TLS 1.2": {InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12, Certificates: []tls.Certificate{good}},
	} {
		c := http.Client{Transport: &http.Transport{TLSClientConfig: config}}
		if resp, err := c.Get("https://" + s.at + "/v1/status"); err == nil {
			resp.Body.Close()
			t.Errorf("%s: answered %s", name, resp.Status)
		}
	}
	if !strings.Contains(s.log.String(), "connection for remote administration refused") || !strings.Contains(s.log.String(), "unknown authority") {
		t.Errorf("log:\n%s", s.log)
	}
	if len(s.fake.state) > 0 {
		t.Error("obeyed")
	}
}

// The client does not talk to whoever listens there.
func TestWrongServer(t *testing.T) {
	s := newSite(t, []string{Anybody}, nil)
	c := s.client(s.ca, "alice", time.Now())
	other := newSite(t, []string{Anybody}, nil)
	c.base, c.at = "https://"+other.at, other.at
	c.http.Transport.(*http.Transport).DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", other.at)
	}
	_, err := c.Status(t.Context())
	s.expectError(err, "that --ca does not vouch for")

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	c.base = "https://" + l.Addr().String()
	c.http.Transport.(*http.Transport).DialContext = (&net.Dialer{}).DialContext
	_, err = c.Status(t.Context())
	s.expectError(err, "is it running, with control.remote set?")
}

// New files count without a restart, on connections from before as well; broken ones do not.
func TestCertificatesAreReread(t *testing.T) {
	s := newSite(t, []string{"alice"}, nil)
	alice := s.client(s.ca, "alice", time.Now())
	ask := func() error { _, err := alice.Status(t.Context()); return err }
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.files.ClientCA, []byte("half a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.later.Add(int64(2 * lookEvery))
	if err := ask(); err != nil || !strings.Contains(s.log.String(), "keep the earlier certificates") {
		t.Errorf("with a broken file: %v; log:\n%s", err, s.log)
	}

	ca, pair, err := NewAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.files.ClientCA, pair.Cert, 0o600); err != nil {
		t.Fatal(err)
	}
	s.later.Add(int64(2 * lookEvery))
	s.expectError(ask(), "not good any more")
	// The server's is of the CA before, which clients may go on to trust.
	again := s.client(ca, "alice", time.Now())
	again.http.Transport.(*http.Transport).TLSClientConfig.RootCAs = alice.http.Transport.(*http.Transport).TLSClientConfig.RootCAs
	if _, err := again.Status(t.Context()); err != nil {
		t.Errorf("a certificate of the new CA: %v", err)
	}
}

// Who holds a certificate of an intermediate authority sends that one's along, with each
// connection.
func TestIntermediateAuthority(t *testing.T) {
	s := newSite(t, []string{"alice"}, nil)
	authority := func(name string, by *Authority) (*Authority, Pair) {
		t.Helper()
		key, err := newKey()
		if err != nil {
			t.Fatal(err)
		}
		c := draft(name, time.Now(), authorityLife)
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
		if by == nil {
			by = &Authority{c, key}
		}
		pair, err := sign(c, by.cert, key, by.key)
		if err != nil {
			t.Fatal(err)
		}
		a, err := ReadAuthority(pair)
		if err != nil {
			t.Fatal(err)
		}
		return a, pair
	}
	root, rootPair := authority("root", nil)
	office, officePair := authority("office", root)
	alice, err := office.Client(time.Now(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	alice.Cert = append(alice.Cert, officePair.Cert...)
	s.put("client", alice)
	c, err := DialRemote(s.at, RemoteFiles{Cert: s.path("client.pem"), Key: s.path("client.key"), CA: s.path("ca.pem")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if err := os.WriteFile(s.files.ClientCA, rootPair.Cert, 0o600); err != nil {
		t.Fatal(err)
	}
	s.later.Add(int64(2 * lookEvery))
	if _, err := c.Status(t.Context()); err != nil {
		t.Error(err)
	}
}

// A trace ends with the certificate of who asked for it.
func TestTraceEndsWithCertificate(t *testing.T) {
	s := newSite(t, nil, []string{"monitor"})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var got []Sample
	err := s.client(s.ca, "monitor", time.Now()).Trace(ctx, TraceRequest{}, func() {}, func(sample Sample) error {
		if got = append(got, sample); len(got) > 1 { // all that the fake has
			return nil
		}
		_, pair, err := NewAuthority(time.Now())
		if err != nil {
			return err
		}
		s.later.Add(int64(2 * lookEvery))
		return os.WriteFile(s.files.ClientCA, pair.Cert, 0o600)
	})
	s.expectError(err, "has ended the trace")
	if len(got) != 3 || !strings.Contains(got[2].Error, "the certificate is not good any more: x509: certificate signed by unknown authority") {
		t.Errorf("%+v", got)
	}
	<-s.fake.ended
}

func TestBrowsersAreNotTrickedIntoAsking(t *testing.T) {
	s := newSite(t, []string{"alice"}, nil)
	c := s.client(s.ca, "alice", time.Now())
	r, err := http.NewRequestWithContext(t.Context(), "POST", c.base+"/v1/state", strings.NewReader(`{"action":"stop"}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	resp, err := c.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden || len(s.fake.state) > 0 {
		t.Errorf("got %s, obeyed %v", resp.Status, s.fake.state)
	}
}

func TestConnectionsPerAddress(t *testing.T) {
	s := newSite(t, []string{Anybody}, nil)
	var open []net.Conn
	for range maxPerAddress {
		c, err := net.Dial("tcp", s.at)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		open = append(open, c)
	}
	c, err := net.Dial("tcp", s.at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("one connection too many: %v", err)
	}
	// What nlbctl says of it: the log of nlbd tells why.
	if !strings.Contains(s.log.String(), "16 connections of this address are open") {
		t.Errorf("log:\n%s", s.log)
	}
	for _, c := range open {
		c.Close()
	}
	alice := s.client(s.ca, "alice", time.Now())
	deadline := time.Now().Add(5 * time.Second)
	for {
		_, err := alice.Status(t.Context())
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("places were not given back: %v", err)
		}
	}
}
