package acceptance

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/lab"
)

// TestRemote administers a member from the clients' host, with certificates made by
// nlbctl: an administrator is obeyed; a reader, a stranger and who holds a certificate
// of another CA are not; and the audit log of the member asked tells all of it.
func TestRemote(t *testing.T) {
	beside(t)
	dir, foreign := t.TempDir(), t.TempDir()
	c := start(t, lab.Options{Members: 2, Clients: 20, Edit: func(m *lab.Member) {
		if m.Priority != 1 {
			return
		}
		m.Config["control"].(map[string]any)["remote"] = map[string]any{
			"listen": m.Addr.String(), "cert": filepath.Join(dir, m.Name+".pem"), "key": filepath.Join(dir, m.Name+".key"),
			"client_ca": filepath.Join(dir, "ca.pem"), "admins": []string{"alice"}, "readers": []string{"monitor"},
		}
	}})
	n1, n2 := c.Members[0], c.Members[1]
	nlbctl := func(args ...string) (stdout string, err error) {
		return c.Client.Run(c.ctx, filepath.Join(filepath.Dir(nlbd), "nlbctl"), args...)
	}
	keygen := func(args ...string) {
		t.Helper()
		_, err := nlbctl(append([]string{"keygen", "--tls"}, args...)...)
		c.ok(err)
	}
	// Without its certificates the member runs, and without remote administration.
	if !strings.Contains(n1.Log(1000), "no remote administration") {
		t.Errorf("the log of %s does not say that certificates are missing", n1.Name)
	}
	keygen(dir, "--server", n1.Name+","+n1.Addr.String(), "--client", "alice", "--client", "monitor", "--client", "mallory")
	keygen(foreign, "--client", "alice")
	c.ok(n1.Restart())
	c.converged(2)

	as := func(dir, name string, args ...string) (string, error) {
		return nlbctl(append([]string{
			"--remote", n1.Addr.String(), "--cert", filepath.Join(dir, name+".pem"), "--key", filepath.Join(dir, name+".key"),
			"--ca", filepath.Join(dir, "ca.pem"),
		}, args...)...)
	}
	refused := func(dir, name, why string, args ...string) {
		t.Helper()
		if out, err := as(dir, name, args...); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v\n%s\nwant %q", name, err, out, why)
		}
	}

	out, err := as(dir, "alice", "status")
	c.ok(err)
	if !strings.Contains(out, "node2") {
		t.Errorf("status:\n%s", out)
	}
	_, err = as(dir, "alice", "stop", n2.Name) // by way of node1
	c.ok(err)
	c.waitState(n2.Name, "stopped")
	_, err = as(dir, "monitor", "status")
	c.ok(err)
	refused(dir, "monitor", `"monitor" may only look`, "start", n2.Name)
	refused(dir, "mallory", "neither an administrator nor a reader", "status")
	refused(dir, "mallory", "neither an administrator nor a reader", "stop", n1.Name)
	c.ok(os.WriteFile(filepath.Join(foreign, "ca.pem"), read(t, filepath.Join(dir, "ca.pem")), 0o600)) // it trusts the member
	refused(foreign, "alice", "refuses the certificate of --cert", "start", n2.Name)
	if log := n1.Log(1000); !strings.Contains(log, "connection for remote administration refused") || !strings.Contains(log, "change refused") {
		t.Errorf("the log of %s does not tell who was refused:\n%s", n1.Name, log)
	}
	if s := c.stateOf(n2.Name); s != "stopped" {
		t.Errorf("%s is %s: a refused request was obeyed", n2.Name, s)
	}
	_, err = n1.Control().SetState(c.ctx, control.StateRequest{Action: control.Start, All: true})
	c.ok(err)

	out, err = as(dir, "alice", "audit", "-o", "json")
	c.ok(err)
	var got []control.AuditEntry
	c.ok(json.Unmarshal([]byte(out), &got))
	want := []control.AuditEntry{
		{Who: "alice", Role: "admin", Verb: "stop", Targets: []string{n2.Name}, Old: "started", New: "stopped", Result: control.Done},
		{Who: "monitor", Role: "reader", Verb: "start", Targets: []string{n2.Name}, Result: control.Refused},
		{Who: "mallory", Role: "nobody", Verb: "stop", Targets: []string{n1.Name}, Result: control.Refused},
		{Who: "root", Role: "admin", Verb: "start", Targets: []string{"--all"}, Result: control.Done},
	}
	if len(got) != len(want) {
		t.Fatalf("audit:\n%s", out)
	}
	for i, w := range want {
		g := got[i]
		if !strings.HasSuffix(g.Who, w.Who) || g.Role != w.Role || g.Verb != w.Verb || !slices.Equal(g.Targets, w.Targets) ||
			g.Old != w.Old || g.New != w.New || g.Result != w.Result || (g.Result == control.Refused) != (g.Error != "") || g.Time.IsZero() {
			t.Errorf("entry %d: %+v, want %+v", i, g, w)
		}
		from := "10.77."
		if w.Who == "root" {
			from = "unix, pid "
		}
		if !strings.HasPrefix(g.From, from) {
			t.Errorf("entry %d is from %s", i, g.From)
		}
	}
	if m := got[3].Members; len(m) != 2 || m[0].Old != "started" || m[1].Old != "stopped" || m[1].New != "started" {
		t.Errorf("members of the last entry: %+v", m)
	}
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
