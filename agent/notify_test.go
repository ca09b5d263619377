package agent

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opennlb/opennlb/config"
	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/converge"
)

// TestNotify runs a real program at the events that are asked for, and at no others.
func TestNotify(t *testing.T) {
	dir := t.TempDir()
	l, now := alone(t)
	l.log, l.events, l.now.wall = slog.New(slog.DiscardHandler), control.NewEventLog(10), now
	l.cfg.Notify = config.Notify{
		Command: []string{"/bin/sh", "-c", `env | sort >$1/env.$NLB_SEQ; cat >$1/stdin.$NLB_SEQ; test $NLB_EVENT != state`, "hook", dir},
		Timeout: 1e10, Events: []string{"state", "no_owner"},
	}
	l.hook = newHook(l.cfg.Notify, l.events, l.log)
	t.Setenv("NOTIFY_SOCKET", "/run/systemd/notify")
	l.event(converge.Event{Kind: "join", Text: "not asked for"})
	l.eventBy(converge.Event{Kind: "state", Text: "n2 is\x00 stopped", Member: "n2", Epoch: 7}, "alice\nNLB_STATE=x")
	l.event(converge.Event{Kind: "no owner", Text: "rule web"})
	ended, end := context.WithCancel(t.Context())
	end()
	if err := l.hook.Run(ended); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "env.*"))
	if err != nil || len(files) != 2 {
		t.Fatalf("%v: %v", err, files)
	}
	text, err := os.ReadFile(filepath.Join(dir, "env.2"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		names = append(names, name)
		want, ok := map[string]string{
			"NLB_EVENT": "state", "NLB_MESSAGE": "n2 is  stopped", "NLB_ABOUT": "n2", "NLB_BY": "alice NLB_STATE=x", "NLB_EPOCH": "7",
			"NLB_CLUSTER": "web", "NLB_MEMBER": "n1", "NLB_PRIORITY": "1", "NLB_STATE": "started", "NLB_VIPS": "192.0.2.10 2001:db8::10",
		}[name]
		if ok && value != want {
			t.Errorf("%s is %q, want %q", name, value, want)
		}
	}
	names = slices.DeleteFunc(names, func(n string) bool { return n == "PATH" || n == "PWD" || n == "OLDPWD" || n == "SHLVL" || n == "_" })
	manual, err := os.ReadFile("../docs/INSTALL.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if !strings.HasPrefix(n, "NLB_") || !strings.Contains(string(manual), "`"+n+"`") {
			t.Errorf("%s is in the environment, and not in docs/INSTALL.md", n)
		}
	}
	if len(names) != 14 {
		t.Errorf("the environment is %v", names)
	}
	var e control.Event
	stdin, _ := os.ReadFile(filepath.Join(dir, "stdin.2"))
	if err := json.Unmarshal(stdin, &e); err != nil || e.Kind != "state" || e.Seq != 2 || e.Member != "n2" {
		t.Errorf("%v: %s", err, stdin)
	}
	events, _ := l.events.After(3)
	if len(events) != 1 || events[0].Kind != "hook" || events[0].Epoch != 7 || events[0].Message != "the notify command failed at event state: exit status 1" {
		t.Errorf("%+v", events)
	}
}
