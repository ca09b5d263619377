package config

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

const clusterYAML = `# only this section counts
cluster:
  name: web
  mode: igmp
  vips: [192.0.2.10, "2001:db8::10"]
  partition: majority
  detection: relaxed
  dampening: false
  rules:
    - {name: http, ports: 80-443}
    - {name: dns, vip: 192.0.2.10, protocol: both, ports: 53, affinity: none}
    - {name: on, protocol: tcp, ports: 5432, mode: single, preempt: false, vip: "2001:db8::10"}
    - {name: net, protocol: udp, ports: 0, affinity: network, prefix_v4: 20, prefix_v6: 56, timeout: 90s}
    - {name: off, protocol: sctp, ports: 1-65535, mode: disabled, reject: true}
`

func parseCluster(t *testing.T, text string) *Cluster {
	t.Helper()
	c, err := ParseCluster("c.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestClusterYAML: what is written is read again as it was.
func TestClusterYAML(t *testing.T) {
	sample, err := os.ReadFile("../deploy/nlb.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{clusterYAML, string(sample), "cluster: {name: '1', vips: [192.0.2.10]}"} {
		c := parseCluster(t, text)
		again := parseCluster(t, c.YAML())
		if !reflect.DeepEqual(c, again) {
			t.Errorf("written:\n%s\nread:\n%+v\nwas:\n%+v", c.YAML(), again, c)
		}
		if again.YAML() != c.YAML() {
			t.Errorf("written another time:\n%s\nfirst:\n%s", again.YAML(), c.YAML())
		}
		if changes := c.Changes(again); len(changes) != 0 {
			t.Errorf("changes: %q", changes)
		}
	}
}

func TestParseClusterRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"member: {name: a}": "c.yaml:1:1: cluster: missing",
		"cluster: {name: web, vips: [192.0.2.10], rules: [{name: a, ports: 1-9}, {name: b, ports: 9}]}": "both cover",
		"clutser: {name: web}":             "write cluster",
		"cluster: {name: web, colour: x}":  "unknown key",
		"cluster: {name: web, vips: [999]": "c.yaml:1:",
	} {
		if _, err := ParseCluster("c.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", text, err, want)
		}
	}
}

func TestChanges(t *testing.T) {
	was := parseCluster(t, clusterYAML)
	edit := strings.NewReplacer("mode: igmp", "mode: unicast", `, "2001:db8::10"]`, ", 192.0.2.11]", `vip: "2001:db8::10"`, "affinity: none",
		"timeout: 90s", "timeout: 2m", "    - {name: http, ports: 80-443}\n", "    - {name: imap, ports: 143}\n")
	got := was.Changes(parseCluster(t, edit.Replace(clusterYAML)))
	want := []string{
		"mode: igmp -> unicast", "vip 2001:db8::10: removed", "vip 192.0.2.11: added", "rule http: removed",
		`rule on: vip: "2001:db8::10" -> all`, "rule on: affinity: single -> none", "rule net: timeout: 1m30s -> 2m0s",
		"rule imap: added: tcp ports 143 of vip all, mode multiple, affinity single",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
