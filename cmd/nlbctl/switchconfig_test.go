package main

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/opennlb/opennlb/config"
)

var allModes = []string{string(config.Unicast), string(config.Multicast), string(config.IGMP)}

// TestSwitchConfig: each vendor's text in each mode is as it was when somebody last read
// it, has no gap, and says what to put for what it leaves open.
func TestSwitchConfig(t *testing.T) {
	for _, v := range switchVendors {
		for _, mode := range allModes {
			t.Run(v.name+"/"+mode, func(t *testing.T) {
				o := nlbctl(t, env{}, "switch-config", v.name, "--mode", mode, "--vip", "192.0.2.10,2001:db8::10")
				o.expect(t, done, "in mode "+mode, "")
				golden(t, filepath.Join("switch", v.name+"-"+mode+".txt"), o.stdout)
				checkSwitch(t, v, o.stdout)

				filled := nlbctl(t, env{}, "switch-config", v.name, "--mode", mode, "--vip", "192.0.2.10", "--vlan", "7", "--interface", "p1,p2", "--uplink", "u1").stdout
				if gap := regexp.MustCompile(`<(VLAN|PORT[0-9n]|UPLINK)>`).FindString(filled); gap != "" {
					t.Errorf("%s in spite of the flags", gap)
				}
			})
		}
	}
}

// checkSwitch looks for what must not be in any vendor's text.
func checkSwitch(t *testing.T, v switchVendor, text string) {
	t.Helper()
	if strings.Contains(text, "{{") || strings.Contains(text, "<no value>") || strings.Contains(text, "\n\n") || !strings.HasSuffix(text, "\n") {
		t.Error("a gap, or a part of the template")
	}
	known := regexp.MustCompile(`(?m)^`+v.comment+`   (<[A-Z0-9n-]+>)`).FindAllString(text, -1)
	for _, p := range placeholder.FindAllString(text, -1) {
		p = regexp.MustCompile(`<PORT[0-9]+>`).ReplaceAllString(p, "<PORTn>")
		if !slices.ContainsFunc(known, func(k string) bool { return strings.HasSuffix(k, p) }) {
			t.Errorf("nothing says what to put for %s", p)
		}
	}
	for line := range strings.Lines(text) {
		if width := len(strings.TrimSuffix(line, "\n")); strings.HasPrefix(line, v.comment) && width > 115 {
			t.Errorf("%d columns: %s", width, line)
		}
	}
}

// TestSwitchVendors: every template is offered, every reason given somewhere.
func TestSwitchVendors(t *testing.T) {
	files, err := fs.Glob(switchTemplates, "switch/*.tmpl")
	if err != nil || len(files) != len(switchVendors) {
		t.Fatalf("%d templates for %d vendors: %v", len(files), len(switchVendors), err)
	}
	var all strings.Builder
	for _, file := range files {
		text, err := fs.ReadFile(switchTemplates, file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	for why := range switchReasons {
		if !strings.Contains(all.String(), fmt.Sprintf("{{why %q}}", why)) {
			t.Errorf("no template gives the reason %q", why)
		}
	}
	for _, p := range switchPlaceholders {
		if !strings.Contains(all.String(), p.pattern) && !slices.Contains([]string{"<VLAN>", "<PORTn>", "<UPLINK>"}, p.pattern) {
			t.Errorf("no template has %s", p.pattern)
		}
	}
}

// TestSwitchConfigOfRunningCluster: VIPs and mode are asked, and flags go before them.
func TestSwitchConfigOfRunningCluster(t *testing.T) {
	socket := serve(t, newFake())
	ask := func(args ...string) outcome {
		return nlbctl(t, env{}, append([]string{"--socket", socket, "switch-config"}, args...)...)
	}
	o := ask("cisco-ios")
	for _, want := range []string{"Cluster web in mode unicast", "Cluster MAC 02:bf:c0:00:02:0a, VIPs 192.0.2.10, 2001:db8::10", "<PORT4>"} {
		o.expect(t, done, want, "")
	}
	ask("arista-eos", "--mode", "igmp").expect(t, done, "arp 192.0.2.10 0100.5e7f.020a arpa", "")
	ask("hpe-comware", "--mode", "multicast", "--vip", "192.0.2.99").expect(t, done, "arp static 192.0.2.99 03bf-c000-0263", "")
	ask("linux", "-o", "json").expect(t, done, `"cluster_mac": "02:bf:c0:00:02:0a"`, "")

	nlbctl(t, env{}, "--socket", socket+"x", "switch-config", "linux").expect(t, failed, "", "without nlbd, give --vip and --mode")
	for want, args := range map[string][]string{
		`unknown vendor "cisko": there are cisco-ios, cisco-nxos, `: {"cisko"},
		"VENDOR is missing: there are cisco-ios, ":                  {},
		`unknown mode "any"`:                                        {"linux", "--mode", "any"},
		`"one" is not an address`:                                   {"linux", "--vip", "one"},
	} {
		ask(args...).expect(t, misuse, "", want)
	}
}
