package config

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/opennlb/opennlb/portrules"
)

// Validate checks everything that can be checked without looking at the host.
// The error joins a *Problem for each thing that is wrong.
func (c *Config) Validate() error { return collect(c.check) }

// Validate checks the part that is the same on all members, as [Config.Validate] does.
func (c *Cluster) Validate() error { return collect(c.check) }

func (c *Config) check(report report) {
	c.Cluster.check(report)
	c.Member.check(report, &c.Cluster)
	c.Membership.check(report)
	oneOf(report, "dataplane", c.Dataplane, "auto", "xdp", "tc", "afpacket")
	c.Control.check(report)
	c.Control.Remote.check(report, c.Cluster.VIPs)
	c.Notify.check(report)
	absolute(report, "state_dir", c.StateDir, 4096)
}

func (c *Cluster) check(report report) {
	component(report, "cluster.name", c.Name)
	oneOf(report, "cluster.mode", c.Mode, Unicast, Multicast, IGMP)
	oneOf(report, "cluster.partition", c.Partition, "serve", "majority")
	oneOf(report, "cluster.detection", c.Detection, "fast", "normal", "relaxed")
	c.checkVIPs(report)
	c.checkRules(report)
}

func (c *Cluster) checkVIPs(report report) {
	switch {
	case len(c.VIPs) == 0:
		report("cluster.vips", "missing", "list the virtual IP addresses of the cluster, such as [192.0.2.10]")
	case len(c.VIPs) > portrules.MaxVIPs:
		report("cluster.vips", fmt.Sprintf("lists %d addresses", len(c.VIPs)), fmt.Sprintf("list at most %d", portrules.MaxVIPs))
	}
	for i, vip := range c.VIPs {
		path := fmt.Sprintf("cluster.vips[%d]", i)
		if wrong := notHost(vip); wrong != nil {
			report(path, wrong.what, wrong.advice)
		} else if first := slices.Index(c.VIPs, vip); first < i {
			report(path, fmt.Sprintf("%s is already cluster.vips[%d]", vip, first), "list each address once")
		}
	}
}

// notHost complains of an address that no host can have on an Ethernet segment.
func notHost(a netip.Addr) *complaint {
	const advice = "write an address of the segment that no host uses as its own"
	ipv4 := a.As16()
	switch {
	case !a.IsValid():
		return &complaint{"is not an address", advice}
	case a.Is4In6():
		return &complaint{a.String() + " is an IPv4 address in IPv6 form", "write " + a.Unmap().String()}
	case a.Zone() != "":
		return &complaint{a.String() + " has a zone", "write " + a.WithZone("").String()}
	case a.IsUnspecified(), a.Is4() && ipv4[12] == 0:
		return &complaint{a.String() + " means no host in particular", advice}
	case a.IsLoopback():
		return &complaint{a.String() + " is a loopback address", advice}
	case a.IsMulticast():
		return &complaint{a.String() + " is a multicast address", advice}
	case a.Is4() && ipv4[12] >= 240:
		return &complaint{a.String() + " is not a unicast address", advice}
	}
	return nil
}

// checkRules leaves the rules' own consistency to portrules. It sets a refused
// rule aside and asks again, so that every rule gets its say.
func (c *Cluster) checkRules(report report) {
	if len(c.Rules) > portrules.MaxRules {
		report("cluster.rules", fmt.Sprintf("lists %d rules", len(c.Rules)), fmt.Sprintf("list at most %d, joining neighbouring ports into ranges", portrules.MaxRules))
		return
	}
	rules := slices.Clone(c.Rules)
	index := make([]int, len(rules)) // of the remaining rules in c.Rules
	for i := range index {
		index[i] = i
	}
	for {
		var rule *portrules.RuleError
		if !errors.As(portrules.Validate(c.VIPs, rules), &rule) {
			return // VIPs are reported by checkVIPs
		}
		path := fmt.Sprintf("cluster.rules[%d]", index[rule.Index])
		if rule.Field != "" {
			path += "." + rule.Field
		}
		report(path, rule.Msg, "")
		rules = slices.Delete(rules, rule.Index, rule.Index+1)
		index = slices.Delete(index, rule.Index, rule.Index+1)
	}
}

func (m *Member) check(report report, c *Cluster) {
	component(report, "member.name", m.Name)
	priority(report, "member.priority", m.Priority)
	if wrong := notInterface(m.Interface); wrong != nil {
		report("member.interface", wrong.what, wrong.advice)
	}
	if m.Address != (netip.Addr{}) {
		if wrong := notHost(m.Address); wrong != nil {
			report("member.address", wrong.what, "write the address that this host has on "+strconv.Quote(m.Interface))
		} else if slices.Contains(c.VIPs, m.Address) {
			report("member.address", m.Address.String()+" is a virtual IP address of the cluster", "write this host's own address, which no other member has")
		}
	}
	oneOf(report, "member.initial_state", m.InitialState, "started", "stopped", "suspended")
	oneOf(report, "member.source_mac", m.SourceMAC, "auto", "nic", "member")
	for _, name := range slices.Sorted(maps.Keys(m.Rules)) {
		path := "member.rules." + name
		if !slices.ContainsFunc(c.Rules, func(r portrules.Rule) bool { return r.Name == name }) {
			report(path, "not a rule of the cluster", unknownRule(name, c.Rules))
			continue
		}
		if m.Rules[name].Weight > 100 {
			report(path+".weight", "out of range", "write a whole number from 0 to 100")
		}
		if m.Priority != 0 {
			priority(report, path+".priority", m.Rules[name].Priority)
		}
	}
}

func unknownRule(name string, rules []portrules.Rule) string {
	names := make([]string, len(rules))
	for i, r := range rules {
		names[i] = r.Name
	}
	if near := nearest(name, names); near != "" {
		return "write " + near
	}
	return "remove it, or add the rule to cluster.rules"
}

func (m *Membership) check(report report) {
	if m.Port == 0 {
		report("membership.port", "out of range", "write a whole number from 1 to 65535")
	}
	for i, a := range m.Join {
		if wrong := notHost(a); wrong != nil {
			report(fmt.Sprintf("membership.join[%d]", i), wrong.what, "write the dedicated address of another member")
		}
	}
	switch {
	case m.KeyFile == "" && !m.Insecure:
		report("membership.key_file", "missing",
			"make one with `nlbctl keygen --out /etc/nlb/cluster.key`, copy it to all members and name it here (or write insecure: true to let anyone on the segment take part)")
	case m.KeyFile != "" && m.Insecure:
		report("membership.insecure", "contradicts key_file", "remove one of the two")
	case m.KeyFile != "":
		absolute(report, "membership.key_file", m.KeyFile, 4096)
	}
}

func (c *Control) check(report report) {
	absolute(report, "control.socket", c.Socket, 107) // sun_path of unix(7), less the final NUL
	if c.HTTP == "" {
		return
	}
	host, port, err := net.SplitHostPort(c.HTTP)
	n, portErr := strconv.ParseUint(port, 10, 16)
	if err != nil || portErr != nil || n == 0 || strings.ContainsAny(host, " \t/") {
		report("control.http", quote(c.HTTP)+" is not a host and port", `write one such as 127.0.0.1:9920, or "" for none`)
	}
}

// component checks a name that becomes part of a path and of metric labels.
func component(report report, path, name string) {
	const advice = "write 1 to 63 letters, digits, dots, dashes or underscores, beginning with a letter or digit"
	switch {
	case name == "":
		report(path, "missing", advice)
	case len(name) > 63, strings.Trim(name, letters) != "", strings.ContainsAny(name[:1], "._-"):
		report(path, quote(name)+" is not a usable name", advice)
	}
}

const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

func priority(report report, path string, p uint8) {
	switch {
	case p == 0:
		report(path, "missing", "write a number from 1 (highest) to 32 that no other member has")
	case p > 32:
		report(path, "out of range", "write a whole number from 1 to 32")
	}
}

// notInterface complains of what Linux would not take as an interface name.
func notInterface(name string) *complaint {
	switch {
	case name == "":
		return &complaint{"missing", "name the interface on the clients' segment, such as eth0"}
	case len(name) > 15, name == ".", name == "..", strings.ContainsFunc(name, func(r rune) bool {
		return r == '/' || r == ':' || r <= ' ' || r == 0x7f
	}):
		return &complaint{quote(name) + " is not an interface name", "write a name that `ip link` shows"}
	}
	return nil
}

// absolute checks a path; max is its greatest length in bytes.
func absolute(report report, path, file string, max int) {
	switch {
	case !filepath.IsAbs(file):
		report(path, quote(file)+" is not an absolute path", "begin it with /")
	case len(file) > max:
		report(path, fmt.Sprintf("%d bytes are too long", len(file)), fmt.Sprintf("use a path of at most %d bytes", max))
	case strings.ContainsFunc(file, func(r rune) bool { return r < ' ' || r == 0x7f }):
		report(path, quote(file)+" holds control characters", "remove them")
	}
}

// oneOf checks a word.
func oneOf[T ~string](report report, path string, value T, words ...T) {
	if _, wrong := word(words...)(string(value)); wrong != nil {
		report(path, quote(string(value))+" "+wrong.what, wrong.advice)
	}
}
