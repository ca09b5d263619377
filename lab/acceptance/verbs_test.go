package acceptance

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/lab"
)

// patience is within which each command has an answer, that to an unreachable member too:
// 3 s of nlbd, and what starting nlbctl takes on a busy machine.
const patience = 4 * time.Second

// TestVerbsForSeveral gives commands to a frozen member, to one whose cable is cut and to a
// good one, by way of a fourth: each is answered for, in time, with success or the reason.
func TestVerbsForSeveral(t *testing.T) {
	c := start(t, lab.Options{Members: 4, Clients: 10})
	via, good, frozen, cut := c.Members[0], c.Members[1], c.Members[2], c.Members[3]
	c.nlbctl(via, done, "stop --all", "node1  stopped", "node2  stopped", "node3  stopped", "node4  stopped")
	c.nlbctl(via, done, "start --all", "node1  started", "node2  started", "node3  started", "node4  started")
	c.converged(4)
	c.nlbctl(via, failed, "resume node2 node3", "node2  is started, not suspended: nothing to resume", "node3  is started, not suspended: nothing to resume")
	c.nlbctl(via, failed, "stop node2 node9", "no member is called node9")

	c.ok(frozen.Freeze())
	c.ok(c.Switch.SetLoss(c.ctx, cut.Host, 100))
	// At once: nobody knows yet that they are lost.
	c.nlbctl(via, failed, "suspend node2 node3 node4", "node2  suspended", "node3  did not answer", "node4  did not answer")
	c.seenAs(via, good.Name, "suspended")
	// Later, when it is known.
	c.nlbctl(via, failed, "resume node2 node3 node4", "node2  resumed", "node3  is not reachable: nlbd there is down or cut off", "node4  is not reachable")
	c.nlbctl(via, failed, "start --all", "node1  started", "node2  started", "node3  is not reachable", "node4  is not reachable")
	c.seenAs(via, good.Name, "started")

	// Neither does late what it was said not to have done.
	c.ok(frozen.Thaw())
	c.ok(c.Switch.Heal(c.ctx))
	c.converged(4)
	c.sleep(500 * time.Millisecond) // what waited for them would have come
	for _, m := range []*lab.Member{frozen, cut} {
		if s := c.stateOf(m.Name); s != "started" {
			t.Errorf("%s is %s", m.Name, s)
		}
		events, err := m.Control().Events(c.ctx, 0, 0)
		c.ok(err)
		if slices.ContainsFunc(events, func(e control.Event) bool { return e.Kind == "command" && strings.Contains(e.Message, "suspend") }) {
			t.Errorf("%s did late what it was said not to have done", m.Name)
		}
	}
}

// TestAbandonedCommands: what was asked of a member that stood still, and was given up, is
// not done when it goes on.
func TestAbandonedCommands(t *testing.T) {
	c := start(t, lab.Options{Members: 2, Clients: 10, Edit: undampened})
	m := c.Members[1]
	for range trials(3, 20) {
		c.ok(m.Freeze())
		ctx, cancel := context.WithTimeout(c.ctx, 500*time.Millisecond)
		client := control.Dial(m.Socket)
		_, err := client.SetState(ctx, control.StateRequest{Action: control.Suspend})
		cancel()
		client.Close()
		if err == nil {
			t.Fatal("a member that stands still answered")
		}
		c.sleep(2 * time.Second)
		c.ok(m.Thaw())
		c.sleep(time.Second)
		c.converged(2)
		if s := c.stateOf(m.Name); s != "started" {
			t.Fatalf("%s does late what was given up: it is %s", m.Name, s)
		}
	}
}

// seenAs waits until one member sees another in a state.
func (c *cluster) seenAs(by *lab.Member, name, state string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, 5*time.Second)
	defer cancel()
	for {
		s, err := by.Status(ctx)
		c.ok(err)
		if slices.ContainsFunc(s.Members, func(m control.Member) bool { return m.Name == name && m.State == state }) {
			return
		}
		c.sleep(20 * time.Millisecond)
	}
}

// Exit statuses of nlbctl.
const (
	done   = 0
	failed = 1
)

// nlbctl runs a command line at a member and wants these lines, in any order, in time.
func (c *cluster) nlbctl(at *lab.Member, status int, line string, want ...string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, 20*time.Second)
	defer cancel()
	begin := time.Now()
	out, err := exec.CommandContext(ctx, filepath.Join(filepath.Dir(nlbd), "nlbctl"),
		append([]string{"--socket", at.Socket}, strings.Fields(line)...)...).CombinedOutput()
	took := time.Since(begin)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		c.t.Fatal(err)
	}
	got := 0
	if exit != nil {
		got = exit.ExitCode()
	}
	text := string(out)
	for _, w := range want {
		if !regexp.MustCompile(`(?m)(^|: )` + regexp.QuoteMeta(w)).MatchString(text) {
			text += fmt.Sprintf("(%q is missing)\n", w)
		}
	}
	if got != status || text != string(out) || took > patience {
		c.t.Errorf("nlbctl %s: exit %d, wanted %d, after %s:\n%s", line, got, status, took, text)
	}
}
