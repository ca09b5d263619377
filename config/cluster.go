package config

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/opennlb/opennlb/portrules"
)

// ParseCluster reads the section cluster of a configuration file; what else is in the
// file is left alone. The error joins a *Problem for everything that is wrong with it.
func ParseCluster(file string, data []byte) (*Cluster, error) {
	doc := &document{file: file}
	root := doc.parse(data)
	if len(doc.problems) > 0 {
		return nil, join(doc.problems)
	}
	root.only("cluster", "member", "membership", "dataplane", "control", "notify", "state_dir")
	if _, ok := root.values["cluster"]; !ok {
		doc.report("cluster", "missing", "write the section cluster:, with name, vips and rules below it")
		return nil, join(doc.problems)
	}
	c := decodeCluster(root.section("cluster"))
	check(doc, c.check)
	if len(doc.problems) > 0 {
		return nil, join(doc.problems)
	}
	return &c, nil
}

// YAML writes the section cluster such that ParseCluster reads the same again. Defaults
// are written out where they matter, so that two configurations compare line by line.
func (c *Cluster) YAML() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("cluster:")
	line("  name: %s", plainText(c.Name))
	line("  mode: %s", c.Mode)
	line("  vips:")
	for _, vip := range c.VIPs {
		line("    - %q", vip)
	}
	line("  partition: %s", c.Partition)
	line("  detection: %s", c.Detection)
	line("  dampening: %t", c.Dampening)
	if len(c.Rules) == 0 {
		line("  rules: []")
		return b.String()
	}
	line("  rules:")
	for i := range c.Rules {
		sign := "-"
		for _, s := range ruleSettings(&c.Rules[i]) {
			line("    %s %s: %s", sign, s.key, s.value)
			sign = " "
		}
	}
	return b.String()
}

// plainText quotes what YAML would take for something other than text.
func plainText(s string) string {
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyz") == "" && !slices.Contains([]string{"true", "false", "null", "yes", "no", "on", "off", "y", "n"}, s) {
		return s
	}
	return strconv.Quote(s)
}

type setting struct{ key, value string }

// ruleSettings are the settings of a rule as they are written, without those that are
// off or follow from others.
func ruleSettings(r *portrules.Rule) []setting {
	list := []setting{
		{"name", plainText(r.Name)}, {"vip", vipWord(r.VIP)}, {"protocol", r.Protocol.String()}, {"ports", portWord(r)}, {"mode", r.Mode.String()},
	}
	add := func(used bool, key, value string) {
		if used {
			list = append(list, setting{key, value})
		}
	}
	add(r.Keep, "preempt", "false")
	add(true, "affinity", r.Affinity.String())
	network := r.Affinity == portrules.AffinityNetwork
	add(network && r.PrefixV4 != 0, "prefix_v4", strconv.Itoa(int(r.PrefixV4)))
	add(network && r.PrefixV6 != 0, "prefix_v6", strconv.Itoa(int(r.PrefixV6)))
	add(r.Timeout != 0, "timeout", r.Timeout.String())
	add(r.Reject, "reject", "true")
	return list
}

func vipWord(vip netip.Addr) string {
	if !vip.IsValid() {
		return "all"
	}
	return strconv.Quote(vip.String())
}

func portWord(r *portrules.Rule) string {
	if r.First == r.Last {
		return strconv.Itoa(int(r.First))
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

// Changes lists in words what is different in next, in the order of the configuration;
// empty: nothing is.
func (c *Cluster) Changes(next *Cluster) []string {
	var list []string
	add := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	for _, s := range []struct{ key, was, is string }{
		{"name", c.Name, next.Name}, {"mode", string(c.Mode), string(next.Mode)}, {"partition", c.Partition, next.Partition},
		{"detection", c.Detection, next.Detection}, {"dampening", strconv.FormatBool(c.Dampening), strconv.FormatBool(next.Dampening)},
	} {
		if s.was != s.is {
			add("%s: %s -> %s", s.key, s.was, s.is)
		}
	}
	for _, vip := range c.VIPs {
		if !slices.Contains(next.VIPs, vip) {
			add("vip %s: removed", vip)
		}
	}
	for _, vip := range next.VIPs {
		if !slices.Contains(c.VIPs, vip) {
			add("vip %s: added", vip)
		}
	}
	if len(list) == 0 && !slices.Equal(c.VIPs, next.VIPs) {
		add("vips: in another order")
	}
	for i := range c.Rules {
		j := slices.IndexFunc(next.Rules, func(r portrules.Rule) bool { return r.Name == c.Rules[i].Name })
		if j < 0 {
			add("rule %s: removed", c.Rules[i].Name)
			continue
		}
		for _, change := range ruleChanges(&c.Rules[i], &next.Rules[j]) {
			add("rule %s: %s", c.Rules[i].Name, change)
		}
	}
	for i := range next.Rules {
		r := &next.Rules[i]
		if !slices.ContainsFunc(c.Rules, func(o portrules.Rule) bool { return o.Name == r.Name }) {
			add("rule %s: added: %s ports %s of vip %s, mode %s, affinity %s", r.Name, r.Protocol, portWord(r), vipWord(r.VIP), r.Mode, r.Affinity)
		}
	}
	return list
}

func ruleChanges(was, is *portrules.Rule) (list []string) {
	before, after := make(map[string]string), make(map[string]string)
	var keys []string
	for _, s := range ruleSettings(was) {
		before[s.key] = s.value
		keys = append(keys, s.key)
	}
	for _, s := range ruleSettings(is) {
		after[s.key] = s.value
		if _, ok := before[s.key]; !ok {
			keys = append(keys, s.key)
		}
	}
	for _, key := range keys {
		if before[key] != after[key] {
			list = append(list, fmt.Sprintf("%s: %s -> %s", key, cmp.Or(before[key], "default"), cmp.Or(after[key], "default")))
		}
	}
	return list
}
