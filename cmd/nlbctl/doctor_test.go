package main

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opennlb/opennlb/doctor"
)

// TestDoctorCommand: the exit status follows the problems, and the socket is that of the
// configuration unless one is given.
func TestDoctorCommand(t *testing.T) {
	fake := newFake()
	for i := range fake.status.Members {
		fake.status.Members[i].Address = netip.MustParseAddr("127.0.0.1") // which refuses at once
	}
	socket := serve(t, fake)
	dir := t.TempDir()
	file := filepath.Join(dir, "nlb.yaml")
	text := `
cluster: {name: web, vips: [192.0.2.10]}
member: {name: node1, priority: 1, interface: nosuch0, address: 192.0.2.1}
membership: {insecure: true}
control: {socket: ` + socket + `}
state_dir: ` + dir + "\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	o := nlbctl(t, env{}, "doctor", "--config", file)
	for _, want := range []string{"ok       configuration", "problem  interface", "there is no interface nosuch0", "clock ?[2Jskew", "xdp is in use", " problem"} {
		o.expect(t, failed, want, "")
	}

	o = nlbctl(t, env{}, "doctor", "-o", "json", "--config", file)
	var d diagnosis
	if err := json.Unmarshal([]byte(o.stdout), &d); err != nil || d.Problems == 0 || d.Warnings == 0 {
		t.Errorf("%v in %s", err, o.stdout)
	}
	n := 0
	for _, f := range d.Checks {
		if f.Result == doctor.Problem {
			n++
		}
	}
	if n != d.Problems {
		t.Errorf("%d problems, told to be %d", n, d.Problems)
	}

	nlbctl(t, env{}, "doctor", "--config", file, "--socket", socket+"x").expect(t, failed, "cannot reach nlbd", "")
	nlbctl(t, env{}, "doctor", "--config", file+"x").expect(t, failed, "no such file", "")
	nlbctl(t, env{}, "doctor", "--remote", "node2").expect(t, misuse, "", "run it there")
	if o := nlbctl(t, env{terminal: true}, "doctor", "--config", file); !strings.Contains(o.stdout, red+"problem"+reset) || strings.Contains(o.stdout, "\x1b[2J") {
		t.Errorf("colours: %q", o.stdout)
	}
}
