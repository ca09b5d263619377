package control

import (
	"encoding/json"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"
)

func TestDialRemoteRefuses(t *testing.T) {
	s := newSite(t, nil, nil)
	good := RemoteFiles{Cert: s.files.Cert, Key: s.files.Key, CA: s.files.ClientCA}
	for _, tt := range []struct {
		host  string
		spoil func(*RemoteFiles)
		want  string
	}{
		{"", nil, "is not a host"},
		{"http://x", nil, "is not a host"},
		{"a:b:c", nil, "is not a host"},
		{"node1:0", nil, "is not a host"},
		{"node1", func(f *RemoteFiles) { f.CA = "" }, "--ca is missing"},
		{"node1", func(f *RemoteFiles) { f.Key = f.Cert }, "--cert and --key"},
		{"node1", func(f *RemoteFiles) { f.CA = f.Key }, "holds no certificate"},
	} {
		f := good
		if tt.spoil != nil {
			tt.spoil(&f)
		}
		_, err := DialRemote(tt.host, f)
		s.expectError(err, tt.want)
	}
	for host, want := range map[string]string{
		"node1": "node1:9921", "192.0.2.1": "192.0.2.1:9921", "192.0.2.1:1": "192.0.2.1:1",
		"2001:db8::1": "[2001:db8::1]:9921", "[2001:db8::1]": "[2001:db8::1]:9921", "[2001:db8::1]:7": "[2001:db8::1]:7",
	} {
		if c, err := DialRemote(host, good); err != nil || c.at != want {
			t.Errorf("%s: %v, %v", host, c, err)
		}
	}
}

func TestOpenAccessRefuses(t *testing.T) {
	s := newSite(t, nil, nil)
	for _, spoil := range []func(*AccessFiles){
		func(f *AccessFiles) { f.Cert = s.path("none.pem") },
		func(f *AccessFiles) { f.Key = s.path("ca.key") },
		func(f *AccessFiles) { f.ClientCA = s.path("server.key") },
	} {
		f := s.files
		spoil(&f)
		if _, err := OpenAccess(f, nil, nil, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%+v: accepted", f)
		}
	}
	if err := os.Chmod(s.files.Key, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenAccess(s.files, nil, nil, slog.New(slog.NewTextHandler(s.log, nil))); err != nil || !strings.Contains(s.log.String(), "chmod 600") {
		t.Errorf("%v; log:\n%s", err, s.log)
	}
}

func TestAuditIsJSONLines(t *testing.T) {
	s := newSite(t, []string{"alice"}, nil)
	if _, err := s.client(s.ca, "alice", time.Now()).SetState(t.Context(), stopIt); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(s.path("audit.log"))
	if err != nil {
		t.Fatal(err)
	}
	var line map[string]any
	if err := json.Unmarshal(text, &line); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	expect(t, "audit entry", line, "time", "who", "role", "from", "verb", "targets", "old", "new", "result", "members")
}
