package main

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opennlb/opennlb/control"
)

// serveRemote runs the fake daemon for holders of certificates that nlbctl makes in dir:
// admin is alice, reader is monitor.
func serveRemote(t *testing.T, f *fake) (host, dir string) {
	t.Helper()
	dir = t.TempDir()
	nlbctl(t, env{}, "keygen", "--tls", dir, "--server", "node1,127.0.0.1", "--client", "alice", "--client", "monitor").
		expect(t, done, "", "Wrote "+filepath.Join(dir, "monitor.pem"))
	log := slog.New(slog.DiscardHandler)
	access, err := control.OpenAccess(control.AccessFiles{
		Cert: filepath.Join(dir, "node1.pem"), Key: filepath.Join(dir, "node1.key"), ClientCA: filepath.Join(dir, "ca.pem"),
	}, []string{"alice"}, []string{"monitor"}, log)
	if err != nil {
		t.Fatal(err)
	}
	audit, err := control.OpenAudit(dir)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- control.NewServer(f, audit, log).ServeRemote(ctx, l, access) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		audit.Close()
	})
	return l.Addr().String(), dir
}

func flagsOf(host, dir, name string) []string {
	return []string{
		"--remote", host, "--cert", filepath.Join(dir, name+".pem"), "--key", filepath.Join(dir, name+".key"), "--ca", filepath.Join(dir, "ca.pem"),
	}
}

func TestRemote(t *testing.T) {
	f := newFake()
	f.results = []control.Result{{Member: "node2", OK: true, Old: "started", New: "draining"}}
	host, dir := serveRemote(t, f)
	alice, monitor := flagsOf(host, dir, "alice"), flagsOf(host, dir, "monitor")

	nlbctl(t, env{}, append(alice, "status")...).expect(t, done, "converged, epoch 17", "")
	nlbctl(t, env{}, append(alice, "drain", "node2")...).expect(t, done, "draining", "")
	nlbctl(t, env{}, append(monitor, "status")...).expect(t, done, "converged", "")
	nlbctl(t, env{}, append(monitor, "trace", "--count", "1")...).expect(t, done, "accept", "")
	nlbctl(t, env{}, append(monitor, "drain", "node2")...).expect(t, failed, "", `"monitor" may only look`)
	nlbctl(t, env{}, append(monitor, "audit")...).expect(t, failed, "", "may only look")
	if len(f.asked) != 1 {
		t.Errorf("obeyed %v", f.asked)
	}

	o := nlbctl(t, env{}, append(alice, "audit", "-n", "2")...)
	o.expect(t, done, "alice    admin   127.0.0.1:", "")
	o.expect(t, done, "drain node2: started -> draining  done", "")
	o.expect(t, done, "monitor  reader  127.0.0.1:", "")
	o.expect(t, done, "refused: ", "")
	nlbctl(t, env{}, append(alice, "audit", "-n", "1", "-o", "json")...).expect(t, done, `"result": "refused"`, "")

	// The environment stands for the flags, and a socket that is named goes before it.
	set := map[string]string{"NLBCTL_REMOTE": host, "NLBCTL_CERT": alice[3], "NLBCTL_KEY": alice[5], "NLBCTL_CA": alice[7]}
	e := env{getenv: func(name string) string { return set[name] }}
	nlbctl(t, e, "status").expect(t, done, "converged, epoch 17", "")
	nlbctl(t, e, "--socket", "/nowhere", "status").expect(t, failed, "", "cannot reach nlbd at /nowhere")
}

func TestRemoteMistakes(t *testing.T) {
	host, dir := serveRemote(t, newFake())
	alice := flagsOf(host, dir, "alice")
	nlbctl(t, env{}, append(alice, "--socket", "/x", "status")...).expect(t, misuse, "", "contradict")
	nlbctl(t, env{}, "--remote", host, "status").expect(t, failed, "", "--cert is missing")
	nlbctl(t, env{}, "--remote", "http://x", "status").expect(t, failed, "", "is not a host")
	nlbctl(t, env{}, append(flagsOf(host, dir, "node1"), "status")...).expect(t, failed, "", "refuses the certificate of --cert")
	_, port, _ := net.SplitHostPort(host)
	nlbctl(t, env{}, append(flagsOf("localhost:"+port, dir, "alice"), "status")...).expect(t, failed, "", "is for other names")
	other := t.TempDir()
	nlbctl(t, env{}, "keygen", "--tls", other, "--client", "alice").expect(t, done, "", "ca.pem")
	nlbctl(t, env{}, append(flagsOf(host, other, "alice"), "status")...).expect(t, failed, "", "--ca does not vouch for")
}

func TestKeygenTLS(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	nlbctl(t, env{}, "keygen", "--tls", dir, "--client", "alice").expect(t, done, "", "alice.key")
	ca, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{"ca.key": 0o600, "alice.key": 0o600, "alice.pem": 0o644} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm()&^mode != 0 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	nlbctl(t, env{}, "keygen", "--tls", dir, "--client", "bob").expect(t, done, "", "bob.key") // the same CA
	if again, err := os.ReadFile(filepath.Join(dir, "ca.pem")); err != nil || string(again) != string(ca) {
		t.Errorf("the CA was replaced: %v", err)
	}
	nlbctl(t, env{}, "keygen", "--tls", dir, "--client", "bob").expect(t, failed, "", "exists: move it away first")
	for args, want := range map[string]string{
		"--client a":                    "need --tls",
		"--tls d --out k":               "give one of them",
		"--tls d --client ../a":         "is not a name",
		"--tls d --client *":            "is not a name",
		"--tls d --client ca":           "the name of two files",
		"--tls d --client a --server a": "the name of two files",
		"--tls d --server a,":           "is not a name",
	} {
		nlbctl(t, env{}, append([]string{"keygen"}, strings.Fields(args)...)...).expect(t, misuse, "", want)
	}
	if err := os.WriteFile(filepath.Join(dir, "ca.key"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	nlbctl(t, env{}, "keygen", "--tls", dir, "--client", "carol").expect(t, failed, "", "read the CA")
}

func TestAuditTable(t *testing.T) {
	var b strings.Builder
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local)
	(&cli{}).auditTable(&b, []control.AuditEntry{
		{Time: at, Who: "alice as root", Role: "admin", From: "unix, pid 7 (nlbctl)", Verb: "stop", Targets: []string{"--all"}, Result: "partly",
			Members: []control.Result{{Member: "node1", OK: true}, {Member: "node2", Error: "is not\x1b reachable"}}},
		{Time: at, Who: "bob", Role: "reader", From: "192.0.2.9:4711", Verb: "stop", Result: "refused", Error: "may only look", Missed: 9},
		// Who has such a name in his certificate must not add a line, or turn one round.
		{Time: at, Who: "x\n" + at.Format(time.DateTime) + " root", Role: "nobody", From: "192.0.2.9:4711", Verb: "stop", Targets: []string{"\u202eedon"}, Result: "refused"},
	})
	want := "TIME                 WHO                         ROLE    FROM                  CHANGE      RESULT\n" +
		"2026-01-02 03:04:05  alice as root               admin   unix, pid 7 (nlbctl)  stop --all  partly: node2 is not? reachable\n" +
		"2026-01-02 03:04:05  bob                         reader  192.0.2.9:4711        stop        refused: may only look; 9 refused before this one are not listed\n" +
		"2026-01-02 03:04:05  x 2026-01-02 03:04:05 root  nobody  192.0.2.9:4711        stop ?edon  refused\n"
	if b.String() != want {
		t.Errorf("got:\n%swant:\n%s", b.String(), want)
	}
}
