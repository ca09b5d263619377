package config

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite testdata/errors")

// base is what the rows of TestErrors change.
const base = `cluster:
  name: web
  mode: unicast
  vips: [192.0.2.10, "2001:db8::10"]
  rules:
    - name: http
      ports: 80-443
    - name: dns
      protocol: both
      ports: 53
member:
  name: a
  priority: 1
  interface: eth0
  rules:
    http: {weight: 100}
membership:
  key_file: /etc/nlb/cluster.key
`

// TestErrors compares the whole message for each mistake with a file under
// testdata/errors; go test -run TestErrors -update rewrites them.
func TestErrors(t *testing.T) {
	for _, tt := range []struct{ name, old, new string }{
		{"empty", base, ""},
		{"comment-only", base, "# nothing\n"},
		{"list", base, "- a\n- b\n"},
		{"text", base, "hello\n"},
		{"not-utf8", "web", "w\xffb"},
		{"tab", "  name: web", "\tname: web"},
		{"unclosed", `"2001:db8::10"]`, `"2001:db8::10"`},
		{"bad-escape", `"2001:db8::10"`, `"\q"`},
		{"second-document", "member:\n", "---\nmember:\n"},
		{"duplicate-key", "  mode: unicast\n", "  mode: unicast\n  mode: igmp\n"},
		{"anchor", "name: web", "name: &n web"},
		{"alias", "name: web", "name: *n"},
		{"merge", "    http: {weight: 100}", "    <<: {weight: 100}"},
		{"tag", "priority: 1", "priority: !!int 1"},
		{"long-line", "name: web", "name: " + strings.Repeat("w", maxLine)},
		{"deep", "[192.0.2.10,", strings.Repeat("[", maxDepth+1)},

		{"unknown-section", "membership:", "memberships:"},
		{"unknown-key-near", "  vips:", "  vip:"},
		{"unknown-key-far", "  mode: unicast", "  colour: blue"},
		{"unknown-rule-key", "      protocol: both", "      protocoll: both"},
		{"unknown-weight-key", "{weight: 100}", "{wait: 100}"},
		{"unknown-member-key", "  priority: 1", "  priority: 1\n  gateway: 192.0.2.254"},
		{"unknown-membership-key", "membership:", "membership:\n  seeds: [192.0.2.2]"},
		{"unknown-control-key", "membership:", "control: {sockets: /run/nlb.sock}\nmembership:"},
		{"section-is-text", "    http: {weight: 100}", "    http: 100"},
		{"section-is-list", "member:\n  name: a", "member:\n- name: a"},
		{"list-is-text", `[192.0.2.10, "2001:db8::10"]`, "192.0.2.10"},
		{"text-is-list", "name: web", "name: [web]"},
		{"no-value", "name: web", "name:"},
		{"nothing", base, "cluster:\nmember:\nmembership:\n"},
		{"many", "unicast\n", "broadcast\n  partition: split\n"},

		{"cluster-name-slash", "name: web", "name: ../web"},
		{"cluster-name-dot", "name: web", "name: .web"},
		{"cluster-name-long", "name: web", "name: " + strings.Repeat("w", 64)},
		{"cluster-name-missing", "  name: web\n", ""},
		{"member-name", "name: a", "name: a b"},
		{"member-name-empty", "name: a", `name: ""`},
		{"mode", "unicast", "broadcast"},
		{"partition", "unicast", "unicast\n  partition: split"},
		{"retain-state", "name: a", "name: a\n  retain_state: yes"},
		{"detection", "unicast", "unicast\n  detection: 100ms"},
		{"vips-missing", `  vips: [192.0.2.10, "2001:db8::10"]` + "\n", ""},
		{"vips-many", "192.0.2.10,", manyVIPs()},
		{"vip-text", "192.0.2.10", "www.example.com"},
		{"vip-port", "192.0.2.10", "192.0.2.10:80"},
		{"vip-prefix", "192.0.2.10", "192.0.2.10/24"},
		{"vip-twice", "192.0.2.10,", "192.0.2.10, 192.0.2.10,"},
		{"vip-loopback", "192.0.2.10", "127.0.0.2"},
		{"vip-unspecified", "192.0.2.10", "0.0.0.0"},
		{"vip-this-network", "192.0.2.10", "0.1.2.3"},
		{"vip-multicast", "192.0.2.10", "224.0.0.1"},
		{"vip-broadcast", "192.0.2.10", "255.255.255.255"},
		{"vip-mapped", "192.0.2.10", `"::ffff:192.0.2.10"`},
		{"vip-zone", "2001:db8::10", "fe80::1%eth0"},

		{"rule-name-missing", "- name: http\n      ports", "- ports"},
		{"rule-name", "name: dns", "name: D.N.S"},
		{"rule-name-twice", "name: dns", "name: http"},
		{"rule-vip", "name: dns", "name: dns\n      vip: 192.0.2.11"},
		{"rule-vip-text", "name: dns", "name: dns\n      vip: both"},
		{"rule-protocol", "both", "icmp"},
		{"rule-mode", "name: dns", "name: dns\n      mode: many"},
		{"rule-preempt", "name: dns", "name: dns\n      preempt: no"},
		{"rule-preempt-multiple", "name: dns", "name: dns\n      preempt: false"},
		{"rule-affinity", "name: dns", "name: dns\n      affinity: class-c"},
		{"rule-timeout-unit", "name: dns", "name: dns\n      timeout: 30"},
		{"rule-timeout-text", "name: dns", "name: dns\n      timeout: long"},
		{"rule-timeout-negative", "name: dns", "name: dns\n      timeout: -1s"},
		{"rule-timeout-long", "name: dns", "name: dns\n      timeout: 1000h"},
		{"rule-prefix", "name: dns", "name: dns\n      affinity: network\n      prefix_v4: 7"},
		{"rule-prefix-v6", "name: dns", "name: dns\n      affinity: network\n      prefix_v6: 2001:db8::/48"},
		{"rule-prefix-alone", "name: dns", "name: dns\n      prefix_v4: 26"},
		{"rule-reject", "name: dns", "name: dns\n      reject: true"},
		{"rule-reject-text", "name: dns", "name: dns\n      mode: disabled\n      reject: rst"},
		{"ports-missing", "      ports: 80-443\n", ""},
		{"ports-text", "ports: 53", "ports: domain"},
		{"ports-range", "ports: 53", "ports: 53-70000"},
		{"ports-open", "ports: 53", "ports: 53-"},
		{"ports-backwards", "80-443", "443-80"},
		{"ports-overlap", "ports: 53", "ports: 443"},
		{"rules-two-wrong", "both\n      ports: 53", "both\n      ports: 443\n    - {name: x, ports: 80}"},
		{"rules-many", "    - name: dns", manyRules()},

		{"priority-missing", "  priority: 1\n", ""},
		{"priority-zero", "priority: 1", "priority: 0"},
		{"priority-high", "priority: 1", "priority: 33"},
		{"priority-huge", "priority: 1", "priority: 99999999999999999999"},
		{"priority-float", "priority: 1", "priority: 1.5"},
		{"interface-missing", "  interface: eth0\n", ""},
		{"interface-long", "eth0", "averyverylonginterface"},
		{"interface-slash", "eth0", "../eth0"},
		{"address-is-vip", "interface: eth0", "interface: eth0\n  address: 192.0.2.10"},
		{"address-loopback", "interface: eth0", "interface: eth0\n  address: 127.0.0.1"},
		{"initial-state", "interface: eth0", "interface: eth0\n  initial_state: draining"},
		{"source-mac", "interface: eth0", "interface: eth0\n  source_mac: 02:00:00:00:00:01"},
		{"weight-high", "weight: 100", "weight: 101"},
		{"weight-negative", "weight: 100", "weight: -1"},
		{"handling-priority", "weight: 100", "priority: 40"},
		{"member-rule-near", "    http:", "    htp:"},
		{"member-rule-far", "    http:", "    smtp:"},

		{"port-zero", "membership:", "membership:\n  port: 0"},
		{"join-name", "membership:", "membership:\n  join: [node2]"},
		{"join-port", "membership:", "membership:\n  join: [192.0.2.2:7946]"},
		{"join-multicast", "membership:", "membership:\n  join: [239.0.0.1]"},
		{"key-missing", "  key_file: /etc/nlb/cluster.key\n", ""},
		{"key-relative", "/etc/nlb/cluster.key", "cluster.key"},
		{"key-and-insecure", "  key_file", "  insecure: true\n  key_file"},
		{"insecure-yes", "  key_file", "  insecure: yes\n  key_file"},
		{"dataplane", "membership:", "dataplane: dpdk\nmembership:"},
		{"socket-relative", "membership:", "control: {socket: nlbd.sock}\nmembership:"},
		{"socket-long", "membership:", "control: {socket: /" + strings.Repeat("s", 107) + "}\nmembership:"},
		{"http-no-port", "membership:", "control: {http: 127.0.0.1}\nmembership:"},
		{"http-port", "membership:", "control: {http: 127.0.0.1:99999}\nmembership:"},
		{"remote-no-listen", "membership:", "control: {remote: {admins: [a]}}\nmembership:"},
		{"remote-host-name", "membership:", "control: {remote: {listen: \"node1:9921\"}}\nmembership:"},
		{"remote-bare", "membership:", "control: {remote: {listen: 192.0.2.1}}\nmembership:"},
		{"remote-vip", "membership:", "control: {remote: {listen: 192.0.2.10, cert: /c, key: /k, client_ca: /a, admins: [a]}}\nmembership:"},
		{"remote-relative", "membership:", "control: {remote: {listen: \"192.0.2.1:1\", cert: c, key: /k, client_ca: /a, readers: [a, a, \"\"]}}\nmembership:"},
		{"remote-port", "membership:", "control: {remote: {listen: \"192.0.2.1:0\", cert: /c, key: /k, client_ca: /a, admins: [a]}}\nmembership:"},
		{"remote-multicast", "membership:", "control: {remote: {listen: 239.0.0.1, cert: /c, key: /k, client_ca: /a, admins: [a]}}\nmembership:"},
		{"remote-unknown", "membership:", "control: {remote: {listen: 192.0.2.1, admin: [a]}}\nmembership:"},
		{"state-dir-relative", "membership:", "state_dir: lib\nmembership:"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if !strings.Contains(base, tt.old) {
				t.Fatalf("%q is not in the base document", tt.old)
			}
			_, err := Parse("nlb.yaml", []byte(strings.Replace(base, tt.old, tt.new, 1)))
			if err == nil {
				t.Fatal("accepted")
			}
			for line := range strings.Lines(err.Error()) {
				if !strings.HasPrefix(line, "nlb.yaml:") || strings.Count(line, ": ") < 2 {
					t.Errorf("not of the form file:line: what: advice: %s", line)
				}
			}
			golden(t, filepath.Join("testdata/errors", tt.name), err.Error()+"\n")
		})
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
}

func manyVIPs() string {
	var b strings.Builder
	for i := range 64 {
		b.WriteString("198.51.100." + string(rune('1'+i/9)) + string(rune('1'+i%9)) + ", ")
	}
	return b.String()
}

func manyRules() string {
	return strings.Repeat("    - {name: r, ports: 1}\n", 256) + "    - name: dns"
}

func TestBaseIsValid(t *testing.T) {
	if _, err := Parse("nlb.yaml", []byte(base)); err != nil {
		t.Error(err)
	}
}

// The YAML parser takes minutes for files of 1 MiB such as these; they must not
// reach it.
func TestHostileFileIsRefusedEarly(t *testing.T) {
	for unit, want := range map[string]string{
		"[\n":         "nested more than 16 deep",
		"a: {\n":      "nested more than 16 deep",
		"a: 1\n---\n": "second document",
		"- ":          "longer than 4096 bytes",
		"&a ":         "longer than 4096 bytes",
		"-\n":         "more than 32768 words and signs",
	} {
		_, err := Parse("nlb.yaml", []byte(strings.Repeat(unit, 1<<17/len(unit))))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %.200v, want %q", unit, err, want)
		}
	}
}
