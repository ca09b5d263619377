package main

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opennlb/opennlb/config"
)

// complete is what the shell is offered after this line, the last word being begun.
func complete(t *testing.T, socket string, words ...string) (offers, directive string) {
	t.Helper()
	o := nlbctl(t, env{}, append([]string{"__complete", "--socket", socket}, words...)...)
	offers, directive, ok := strings.Cut(o.stdout, ":")
	if i := strings.LastIndex(o.stdout, "\n:"); i >= 0 { // offers may have colons
		offers, directive = o.stdout[:i], o.stdout[i+2:]
	}
	if o.status != done || !ok {
		t.Fatalf("%q: %+v", words, o)
	}
	return strings.Join(strings.Fields(offers), " "), strings.TrimSpace(directive)
}

const (
	noFiles   = "4" // directives of cobra
	filesOnly = "8"
	inOrder   = "36" // and no files
)

func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "fish", "zsh"} {
		nlbctl(t, env{}, "completion", shell).expect(t, done, "nlbctl", "")
	}
	socket := serve(t, newFake())
	for line, want := range map[string]string{
		"stop node1 node":     "node2 node3 node-thirty", // not one that stands there already
		"drain --wait node-":  "node-thirty",
		"clients ":            "http dns",
		"clients h":           "http",
		"clients http ":       "",
		"ip2mac ":             "192.0.2.10 2001:db8::10",
		"queryport 192":       "192.0.2.10:80 rule http 192.0.2.10:53 rule dns",
		"explain 192.0.2.7 [": "[2001:db8::10]:80 rule http",
		"explain --proto ":    "tcp udp sctp icmp",
		"status -o ":          "table json yaml",
		"events --kind ":      strings.Join(config.EventKinds(), " "),
		"completion ":         "bash fish zsh",
		"switch-config ar":    "arista-eos Arista EOS aruba HPE Aruba AOS-CX",
		"status ":             "",
		"events ":             "",
		"version ":            "",
		"stat":                "status Show the cluster, its members and rules",
	} {
		offers, directive := complete(t, socket, strings.Split(line, " ")...)
		if offers != want {
			t.Errorf("%q: offers %q, want %q", line, offers, want)
		}
		if directive != noFiles {
			t.Errorf("%q: directive %s", line, directive)
		}
	}
	for line, want := range map[string]string{"config show ": "7 by alice: back to 5 6 by bob", "config rollback 6": "6 by bob", "config show 7 ": ""} {
		if offers, directive := complete(t, socket, strings.Split(line, " ")...); offers != want || directive != inOrder {
			t.Errorf("%q: offers %q, directive %s", line, offers, directive)
		}
	}
	if offers, directive := complete(t, socket, "validate", ""); offers != "yaml yml" || directive != filesOnly {
		t.Errorf("validate: offers %q, directive %s", offers, directive)
	}
}

// TestCompletionAsksTheSocket that the line names, though the environment names a remote host.
func TestCompletionAsksTheSocket(t *testing.T) {
	e := env{getenv: func(name string) string { return map[string]string{"NLBCTL_REMOTE": "192.0.2.1"}[name] }}
	socket := serve(t, newFake())
	nlbctl(t, e, "__complete", "--socket", socket, "clients", "").expect(t, done, "http\ndns\n", "")
	nlbctl(t, e, "__complete", "--socket", socket, "rule", "drain", "http", "--member", "node1").expect(t, done, "node1\n", "")
	nlbctl(t, e, "__complete", "--socket", socket, "config", "show", "").expect(t, done, "7\t", "")
}

// TestCompletionWithoutDaemon: nothing is offered, soon and without a word, where nlbd
// does not run, and where it does not answer.
func TestCompletionWithoutDaemon(t *testing.T) {
	mute := filepath.Join(t.TempDir(), "mute")
	l, err := net.Listen("unix", mute)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, socket := range []string{mute + "x", mute} {
		begin := time.Now()
		o := nlbctl(t, env{}, "__complete", "--socket", socket, "stop", "")
		if took := time.Since(begin); o.stdout != ":4\n" || strings.Contains(o.stderr, "nlbd") || took > completionPatience+2*time.Second {
			t.Errorf("%s: after %s: %+v", socket, took, o)
		}
	}
}
