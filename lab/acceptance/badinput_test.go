package acceptance

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opennlb/opennlb/lab"
)

// refusedWithin is how long nlbd may take to notice that it cannot run.
const refusedWithin = 10 * time.Second

// badInput is one mistake, and how nlbd must refuse it.
type badInput struct {
	name    string
	write   []string // replacements in the valid configuration: old, new, old, new ...
	prepare string   // what the host is like, and
	restore string   // back: scripts for sh, run on the host
	foreign string   // an address that the client host has
	under   []string // the command that starts nlbd
	args    []string // of nlbd, besides --config FILE
	beside  bool     // started on node1, whose nlbd runs there
	says    []string // in its line
	lines   int      // default 1
}

// TestBadInput starts an nlbd that cannot run beside a cluster that does. It must
// end with one line that says why and what to do, leave its host as it found it,
// and never disturb the cluster.
func TestBadInput(t *testing.T) {
	c := start(t, lab.Options{Clients: 40})
	member := c.Members[2]
	c.ok(member.Stop())
	if err := member.Process().Wait(c.ctx); err != nil {
		t.Errorf("an orderly stop ends with %v:\n%s", err, member.Log(3))
	}
	c.converged(2)
	c.waitEvent(c.Members[0], "leave")
	for _, line := range c.hostState(member.Host) {
		for _, ours := range []string{lab.VIP.String(), c.status().ClusterMAC, " nlb_", member.PinDir(), member.Socket} {
			if strings.Contains(line, ours) {
				t.Errorf("an orderly stop leaves %s", line)
			}
		}
	}
	path, err := member.WriteConfig()
	c.ok(err)
	valid, err := os.ReadFile(path)
	c.ok(err)
	t.Cleanup(func() { os.RemoveAll("/sys/fs/bpf/nlb/" + c.Name + "-other") }) // else a failed row's stay
	c.ok(os.Chmod(filepath.Dir(nlbd), 0o755))                                  // some rows run it as nobody
	c.writeKeys()
	c.converged(2)
	epoch := c.status().Epoch

	for _, row := range badInputs(c) {
		t.Run(row.name, func(t *testing.T) {
			c := &cluster{Lab: c.Lab, t: t, ctx: c.ctx}
			host := member.Host
			if row.beside {
				host = c.Members[0].Host
			}
			c.sh(host, row.prepare)
			defer c.sh(host, row.restore)
			if row.foreign != "" {
				c.sh(c.Client.Host, "ip address add "+row.foreign+" dev eth0 nodad")
				defer c.sh(c.Client.Host, "ip address del "+row.foreign+" dev eth0")
			}
			before := c.hostState(host)
			c.refuses(host, row, c.writeBroken(string(valid), row.write))
			if diff := changes(before, c.hostState(host)); len(diff) > 0 {
				t.Errorf("left on the host:\n%s", strings.Join(diff, "\n"))
			}
		})
	}

	if s := c.status(); s.Epoch != epoch || len(s.Members) != 3 {
		c.judge(0)("the cluster noticed: epoch %d became %d, members %v", epoch, s.Epoch, s.Members)
	}
	c.owners(c.Client.Addrs)
	c.ok(member.Start()) // nothing that was wrong is left
	c.converged(3)
}

// waitEvent waits until a member has told of an event of this kind.
func (c *cluster) waitEvent(m *lab.Member, kind string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, 5*time.Second)
	defer cancel()
	for after := uint64(0); ; {
		events, err := m.Control().Events(ctx, after, time.Second)
		c.ok(err)
		for _, e := range events {
			if after = e.Seq; e.Kind == kind {
				return
			}
		}
	}
}

// refuses runs nlbd and checks how it ends.
func (c *cluster) refuses(host *lab.Host, row badInput, config string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, refusedWithin)
	defer cancel()
	line := slices.Concat(row.under, []string{nlbd, "--config", config}, row.args)
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	began := time.Now()
	c.ok(host.NetNS().Do(cmd.Start))
	err := cmd.Wait()
	took := time.Since(began).Round(time.Millisecond)

	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		c.t.Errorf("still runs after %s", refusedWithin)
	case !errors.As(err, &exit):
		c.t.Errorf("ended with %v, not with an error status", err)
	case !exit.Exited():
		c.t.Errorf("did not exit: %v", exit)
	}
	said := reasons(stderr.String())
	if len(said) != max(1, row.lines) || !says(said, row.says) {
		c.t.Errorf("said %q, want %d lines with %q; standard error:\n%s", said, max(1, row.lines), row.says, stderr.String())
		return
	}
	c.t.Logf("after %s: %s", took, strings.Join(said, "\n"))
}

// reasons are the lines that are not of the log.
func reasons(stderr string) (lines []string) {
	for line := range strings.Lines(stderr) {
		if !strings.HasPrefix(line, "time=") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// says reports whether every line begins as it should and every word is in one.
func says(lines, words []string) bool {
	for _, line := range lines {
		if !strings.HasPrefix(line, "nlbd: ") {
			return false
		}
	}
	all := strings.Join(lines, "\n")
	return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(all, w) })
}

// writeBroken writes the configuration with the replacements made.
func (c *cluster) writeBroken(text string, replace []string) (path string) {
	c.t.Helper()
	for pair := range slices.Chunk(replace, 2) {
		if !strings.Contains(text, pair[0]) {
			c.t.Fatalf("the configuration has no %q:\n%s", pair[0], text)
		}
		text = strings.ReplaceAll(text, pair[0], pair[1])
	}
	path = filepath.Join(c.Dir, "broken.yaml")
	c.ok(os.WriteFile(path, []byte(text), 0o644))
	return path
}

// sh runs a script on a host.
func (c *cluster) sh(h *lab.Host, script string) {
	c.t.Helper()
	_, err := h.Run(c.ctx, "sh", "-ec", script)
	c.ok(err)
}
