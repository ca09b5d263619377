package config

import (
	"errors"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/opennlb/opennlb/portrules"
)

const minimal = `cluster:
  name: web
  vips: [192.0.2.10]
member:
  name: a
  priority: 1
  interface: eth0
membership:
  insecure: true
`

func TestMinimal(t *testing.T) {
	got, err := Parse("nlb.yaml", []byte(minimal))
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		Cluster: Cluster{
			Name:      "web",
			Mode:      Unicast,
			VIPs:      []netip.Addr{netip.MustParseAddr("192.0.2.10")},
			Partition: "serve",
			Detection: "normal",
			Dampening: true,
		},
		Member: Member{
			Name: "a", Priority: 1, Interface: "eth0",
			InitialState: "started", SourceMAC: "auto", Rules: map[string]MemberRule{},
		},
		Membership: Membership{Port: 7946, Insecure: true},
		Dataplane:  "auto",
		Control:    Control{Socket: "/run/nlb/nlbd.sock", HTTP: "127.0.0.1:9920"},
		StateDir:   "/var/lib/nlb",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// Editors on Windows begin a file with a byte order mark, and end lines with CR LF.
func TestWindowsText(t *testing.T) {
	want, err := Parse("nlb.yaml", []byte(minimal))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{byteOrderMark + minimal, strings.ReplaceAll(minimal, "\n", "\r\n"), byteOrderMark + strings.ReplaceAll(minimal, "\n", "\r\n")} {
		if got, err := Parse("nlb.yaml", []byte(text)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%.20q: %v, %+v", text, err, got)
		}
	}
}

func TestReference(t *testing.T) {
	got, err := Load("../deploy/nlb.yaml")
	if err != nil {
		t.Fatal(err)
	}
	vip := netip.MustParseAddr("192.0.2.10")
	want := &Config{
		Cluster: Cluster{
			Name:      "web",
			Mode:      Unicast,
			VIPs:      []netip.Addr{vip, netip.MustParseAddr("2001:db8::10")},
			Partition: "serve",
			Detection: "normal",
			Dampening: true,
			Rules: []portrules.Rule{
				{Name: "http", Protocol: portrules.TCP, First: 80, Last: 443, Mode: portrules.Multiple, Affinity: portrules.AffinitySingle},
				{Name: "dns", ID: 1, VIP: vip, Protocol: portrules.Both, First: 53, Last: 53, Mode: portrules.Multiple, Affinity: portrules.AffinityNone},
				{Name: "admin", ID: 2, Protocol: portrules.TCP, First: 8443, Last: 8443, Mode: portrules.Single, Affinity: portrules.AffinitySingle},
				{Name: "shop", ID: 3, Protocol: portrules.TCP, First: 8080, Last: 8080, Mode: portrules.Multiple, Affinity: portrules.AffinityNetwork, PrefixV4: 20, PrefixV6: 48},
				{Name: "telnet", ID: 4, Protocol: portrules.TCP, First: 23, Last: 23, Mode: portrules.Disabled, Affinity: portrules.AffinitySingle, Reject: true},
			},
		},
		Member: Member{
			Name: "node1", Priority: 1, Interface: "eth0", Address: netip.MustParseAddr("192.0.2.1"),
			InitialState: "started", SourceMAC: "auto",
			Rules: map[string]MemberRule{"http": {100, 1}, "dns": {50, 1}, "admin": {50, 1}, "shop": {50, 1}, "telnet": {50, 1}},
		},
		Membership: Membership{
			Port:    7946,
			Join:    []netip.Addr{netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3")},
			KeyFile: "/etc/nlb/cluster.key",
		},
		Dataplane: "auto",
		Control:   Control{Socket: "/run/nlb/nlbd.sock", HTTP: "127.0.0.1:9920"},
		StateDir:  "/var/lib/nlb",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// Every setting that the reader knows is in the reference file, if only as a comment.
func TestReferenceIsComplete(t *testing.T) {
	data, err := os.ReadFile("../deploy/nlb.yaml")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("decode.go")
	if err != nil {
		t.Fatal(err)
	}
	remote, err := os.ReadFile("remote.go")
	if err != nil {
		t.Fatal(err)
	}
	source = append(source, remote...)
	n := 0
	for line := range strings.Lines(string(source)) {
		_, keys, ok := strings.Cut(line, ".only(")
		if !ok {
			continue
		}
		for _, key := range strings.Split(strings.Trim(strings.TrimSpace(keys), ")"), ", ") {
			n++
			if key = strings.Trim(key, `"`); !strings.Contains(string(data), key+":") {
				t.Errorf("deploy/nlb.yaml does not show %s", key)
			}
		}
	}
	if n != 48 {
		t.Errorf("found %d keys in decode.go and remote.go, want 48: adapt this test", n)
	}
}

func TestEveryValue(t *testing.T) {
	got, err := Parse("nlb.yaml", []byte(`
dataplane: afpacket
state_dir: /s
control:
  socket: /c
  http: ""
  remote: {listen: "[2001:db8::1]:7", cert: /e, key: /f, client_ca: /g, admins: [alice, "*"], readers: [bob]}
membership: {port: 1, join: ["2001:db8::2"], key_file: /k}
member:
  name: "7"
  priority: 32
  interface: bond0.12
  address: "2001:db8::1"
  initial_state: suspended
  retain_state: true
  source_mac: nic
  rules:
    r: {weight: 0, priority: 2}
cluster:
  name: 7
  mode: igmp
  vips: ["2001:db8::10"]
  partition: majority
  detection: relaxed
  dampening: false
  rules:
  - {name: r, vip: "2001:db8::10", protocol: udp, ports: 0-65535, mode: disabled, preempt: false, affinity: network, prefix_v4: 8, prefix_v6: 128, reject: true, timeout: 1h30m}
`))
	if err != nil {
		t.Fatal(err)
	}
	vip := netip.MustParseAddr("2001:db8::10")
	want := &Config{
		Cluster: Cluster{
			Name: "7", Mode: IGMP, VIPs: []netip.Addr{vip}, Partition: "majority", Detection: "relaxed",
			Rules: []portrules.Rule{{
				Name: "r", VIP: vip, Protocol: portrules.UDP, First: 0, Last: 65535,
				Mode: portrules.Disabled, Keep: true, Affinity: portrules.AffinityNetwork, PrefixV4: 8, PrefixV6: 128, Reject: true, Timeout: 90 * time.Minute,
			}},
		},
		Member: Member{
			Name: "7", Priority: 32, Interface: "bond0.12", Address: netip.MustParseAddr("2001:db8::1"),
			InitialState: "suspended", RetainState: true, SourceMAC: "nic", Rules: map[string]MemberRule{"r": {0, 2}},
		},
		Membership: Membership{Port: 1, Join: []netip.Addr{netip.MustParseAddr("2001:db8::2")}, KeyFile: "/k"},
		Dataplane:  "afpacket",
		Control: Control{Socket: "/c", Remote: Remote{
			Listen: netip.MustParseAddrPort("[2001:db8::1]:7"), Cert: "/e", Key: "/f", ClientCA: "/g", Admins: []string{"alice", "*"}, Readers: []string{"bob"},
		}},
		StateDir: "/s",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestMemberNameDefaultsToHostName(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Skip(err)
	}
	c, err := Parse("nlb.yaml", []byte(strings.Replace(minimal, "  name: a\n", "", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if c.Member.Name != host {
		t.Errorf("got %q, want %q", c.Member.Name, host)
	}
}

func TestDefaultRule(t *testing.T) {
	m := Member{Priority: 7, Rules: map[string]MemberRule{"http": {Weight: 3, Priority: 4}}}
	if got, want := m.Rule("http"), (MemberRule{3, 4}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if got, want := m.Rule("new"), (MemberRule{50, 7}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestLoadMissing(t *testing.T) {
	if _, err := Load(t.TempDir() + "/nlb.yaml"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestLoadTooLarge(t *testing.T) {
	path := t.TempDir() + "/nlb.yaml"
	if err := os.WriteFile(path, []byte(minimal+strings.Repeat("# filler\n", MaxSize/9+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Load(path)
	if err == nil || !strings.Contains(err.Error(), "larger than 1 MiB") {
		t.Errorf("got %v", err)
	}
}
