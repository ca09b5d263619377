package lab

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
)

func withTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, 500*time.Millisecond)
}

func scan(line string, sent, received *int) {
	fmt.Sscanf(line, "%d packets transmitted, %d received", sent, received)
}

// logHas waits until the member's log holds text.
func logHas(t *testing.T, m *Member, text string) {
	t.Helper()
	if log := waitUntil(t, func() string {
		if log := m.Log(100); !strings.Contains(log, text) {
			return "log: " + log
		}
		return ""
	}); log != "" {
		t.Errorf("want %q in the log; %s", text, log)
	}
}

func TestMemberLife(t *testing.T) {
	l := newLab(t, Options{Members: 2, Clients: 1})
	m := l.Members[0]
	if err := m.Stop(); err == nil {
		t.Error("stopped what does not run")
	}
	if err := l.Start(); err != nil {
		t.Fatal(err)
	}
	if err := m.Start(); err == nil {
		t.Error("started twice")
	}
	if err := l.Start(); err != nil {
		t.Errorf("Start with all running: %v", err)
	}
	logHas(t, m, "reading "+l.Dir+"/node1.yaml")
	if err := m.Reload(); err != nil {
		t.Error(err)
	}
	logHas(t, m, "got hangup")

	if err := m.Freeze(); err != nil || m.Running() || state(t, m) != "T" {
		t.Errorf("frozen: %v, running %t, state %s", err, m.Running(), state(t, m))
	}
	if err := m.Thaw(); err != nil || !m.Running() {
		t.Errorf("thawed: %v, running %t", err, m.Running())
	}
	first := m.Process().PID()
	if err := m.Restart(); err != nil || m.Process().PID() == first {
		t.Errorf("restart: %v, pid %d then %d", err, first, m.Process().PID())
	}
	logHas(t, m, "got terminated")
	if err := m.Kill(); err != nil || m.Running() {
		t.Errorf("killed: %v, running %t", err, m.Running())
	}
	if err := m.Kill(); err != nil {
		t.Errorf("killed twice: %v", err)
	}
	if err := l.Stop(t.Context()); err != nil || l.Members[1].Running() {
		t.Errorf("Stop: %v, node2 running %t", err, l.Members[1].Running())
	}
}

// TestCloseEndsFrozenMember: SIGKILL reaches a stopped process.
func TestCloseEndsFrozenMember(t *testing.T) {
	l := newLab(t, Options{Members: 1, Clients: 1})
	if err := l.Start(); err != nil {
		t.Fatal(err)
	}
	if err := l.Members[0].Freeze(); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if l.Members[0].Process().Running() {
		t.Error("nlbd is still there")
	}
}

func TestMemberConfig(t *testing.T) {
	edited := 0
	l := newLab(t, Options{Members: 2, Clients: 1, Mode: "igmp", Dataplane: "tc", IPv6: true, Edit: func(m *Member) {
		edited++
		m.Config["member"].(map[string]any)["initial_state"] = "stopped"
	}})
	path, err := l.Members[1].WriteConfig()
	if err != nil || edited != 1 {
		t.Fatalf("%v, edited %d times", err, edited)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Cluster struct {
			Name, Mode string
			VIPs       []string
			Rules      []struct{ Name, Ports string }
		}
		Member struct {
			Name, Address string
			Priority      int
			InitialState  string `yaml:"initial_state"`
		}
		Membership struct {
			Join    []string
			KeyFile string `yaml:"key_file"`
		}
		Dataplane string
	}
	if err := yaml.Unmarshal(text, &got); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	want := "{{" + l.Name + " igmp [10.77.0.100 fd77::100] [{web 80} {echo 7} {echo-udp 7}]} {node2 10.77.0.2 2 stopped} {[10.77.0.1] " + l.Dir + "/cluster.key} tc}"
	if s := fmt.Sprint(got); s != want {
		t.Errorf("got  %s\nwant %s\nof\n%s", s, want, text)
	}
}

func TestOptions(t *testing.T) {
	needRoot(t)
	for _, bad := range []Options{{Members: 33}, {Members: -1}, {Clients: 4001}, {Mode: "anycast"}, {Dataplane: "magic"}, {Nlbd: "/nowhere/nlbd"}} {
		if l, err := New(t.Context(), bad); err == nil {
			l.Close()
			t.Errorf("built a lab with %+v", bad)
		}
	}
}

// state is the letter for the process's state in /proc.
func state(t *testing.T, m *Member) string {
	t.Helper()
	// The signal is delivered a moment after kill(2) returns.
	var letter string
	waitUntil(t, func() string {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", m.Process().PID()))
		if err != nil {
			t.Fatal(err)
		}
		letter = strings.Fields(string(data[strings.LastIndex(string(data), ")")+1:]))[0]
		if letter == "T" {
			return ""
		}
		return letter
	})
	return letter
}
