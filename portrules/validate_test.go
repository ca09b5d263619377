package portrules_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/opennlb/opennlb/portrules"
	"pgregory.net/rapid"
)

var vips = []netip.Addr{netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("2001:db8::10")}

// rule returns a valid rule, changed by edit.
func rule(name string, edit func(*portrules.Rule)) portrules.Rule {
	r := portrules.Rule{Name: name, Protocol: portrules.TCP, First: 80, Last: 443}
	if edit != nil {
		edit(&r)
	}
	return r
}

func TestValidateAccepts(t *testing.T) {
	for name, rules := range map[string][]portrules.Rule{
		"none":           nil,
		"one":            {rule("http", nil)},
		"limits":         {rule("a-z_09", func(r *portrules.Rule) { r.First, r.Last, r.Timeout = 0, 65535, 24*time.Hour })},
		"long name":      {rule(strings.Repeat("a", 32), nil)},
		"short prefixes": {rule("net", func(r *portrules.Rule) { r.Affinity, r.PrefixV4, r.PrefixV6 = portrules.AffinityNetwork, 8, 16 })},
		"long prefixes":  {rule("net", func(r *portrules.Rule) { r.Affinity, r.PrefixV4, r.PrefixV6 = portrules.AffinityNetwork, 32, 128 })},
		"touches":        {rule("a", nil), rule("b", func(r *portrules.Rule) { r.First, r.Last = 444, 444 }), rule("c", func(r *portrules.Rule) { r.First, r.Last = 79, 79 })},
		"other protocol": {rule("a", nil), rule("b", func(r *portrules.Rule) { r.Protocol = portrules.UDP })},
		"other vip":      {rule("a", func(r *portrules.Rule) { r.VIP = vips[0] }), rule("b", func(r *portrules.Rule) { r.VIP = vips[1] })},
	} {
		if err := portrules.Validate(vips, rules); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestValidateRefuses(t *testing.T) {
	edit := func(f func(*portrules.Rule)) []portrules.Rule {
		return []portrules.Rule{rule("first", func(r *portrules.Rule) { r.First, r.Last = 1, 1 }), rule("http", f)}
	}
	for _, tt := range []struct {
		name  string
		rules []portrules.Rule
		other int
		field string
		msg   string // a part of it
	}{
		{"no name", edit(func(r *portrules.Rule) { r.Name = "" }), -1, "name", "1 to 32 characters"},
		{"long name", edit(func(r *portrules.Rule) { r.Name = strings.Repeat("a", 33) }), -1, "name", "1 to 32 characters"},
		{"bad name", edit(func(r *portrules.Rule) { r.Name = "Web" }), -1, "name", "a-z, 0-9, - and _"},
		{"name within", edit(func(r *portrules.Rule) { r.Name = "we b" }), -1, "name", "a-z, 0-9, - and _"},
		{"same name", edit(func(r *portrules.Rule) { r.Name = "first" }), 0, "name", "taken"},
		{"foreign vip", edit(func(r *portrules.Rule) { r.VIP = netip.MustParseAddr("192.0.2.99") }), -1, "vip", "write all or one of [192.0.2.10 2001:db8::10]"},
		{"no protocol", edit(func(r *portrules.Rule) { r.Protocol = 0 }), -1, "protocol", "write tcp, udp, both or sctp"},
		{"unknown protocol", edit(func(r *portrules.Rule) { r.Protocol = 5 }), -1, "protocol", "write tcp, udp, both or sctp"},
		{"backwards", edit(func(r *portrules.Rule) { r.First, r.Last = 443, 80 }), -1, "ports", "write 80-443"},
		{"unknown mode", edit(func(r *portrules.Rule) { r.Mode = 3 }), -1, "mode", "write multiple, single or disabled"},
		{"unknown affinity", edit(func(r *portrules.Rule) { r.Affinity = 3 }), -1, "affinity", "write none, single or network"},
		{"keep without an owner", edit(func(r *portrules.Rule) { r.Keep = true }), -1, "preempt", "write mode: single"},
		{"reject what is served", edit(func(r *portrules.Rule) { r.Reject = true }), -1, "reject", "write mode: disabled"},
		{"prefix without network", edit(func(r *portrules.Rule) { r.PrefixV4 = 24 }), -1, "prefix_v4", "write affinity: network"},
		{"ipv6 prefix without network", edit(func(r *portrules.Rule) { r.PrefixV6 = 64 }), -1, "prefix_v6", "write affinity: network"},
		{"short prefix", edit(func(r *portrules.Rule) { r.Affinity, r.PrefixV4 = portrules.AffinityNetwork, 7 }), -1, "prefix_v4", "write 8 to 32"},
		{"long prefix", edit(func(r *portrules.Rule) { r.Affinity, r.PrefixV4 = portrules.AffinityNetwork, 33 }), -1, "prefix_v4", "write 8 to 32"},
		{"short ipv6 prefix", edit(func(r *portrules.Rule) { r.Affinity, r.PrefixV6 = portrules.AffinityNetwork, 15 }), -1, "prefix_v6", "write 16 to 128"},
		{"long ipv6 prefix", edit(func(r *portrules.Rule) { r.Affinity, r.PrefixV6 = portrules.AffinityNetwork, 129 }), -1, "prefix_v6", "write 16 to 128"},
		{"negative timeout", edit(func(r *portrules.Rule) { r.Timeout = -1 }), -1, "timeout", "0s (off) to 24h"},
		{"fine timeout", edit(func(r *portrules.Rule) { r.Timeout = 500 * time.Microsecond }), -1, "timeout", "whole milliseconds"},
		{"long timeout", edit(func(r *portrules.Rule) { r.Timeout = 24*time.Hour + 1 }), -1, "timeout", "0s (off) to 24h"},
		{"overlap", edit(func(r *portrules.Rule) { r.First = 0 }), 0, "ports", `rules "first" and "http" both cover tcp port 1:`},
		{"overlap of all and one vip", edit(func(r *portrules.Rule) { r.First, r.VIP = 1, vips[1] }), 0, "ports", "both cover tcp port 1:"},
	} {
		var err *portrules.RuleError
		if !errors.As(portrules.Validate(vips, tt.rules), &err) {
			t.Errorf("%s: no *RuleError", tt.name)
			continue
		}
		if err.Index != 1 || err.Other != tt.other || err.Field != tt.field || !strings.Contains(err.Msg, tt.msg) {
			t.Errorf("%s: got rule %d, other %d, field %s: %v", tt.name, err.Index, err.Other, err.Field, err)
		}
	}
}

func TestValidateOverlapMessage(t *testing.T) {
	err := portrules.Validate(vips, []portrules.Rule{
		rule("a", func(r *portrules.Rule) { r.Protocol = portrules.Both }),
		rule("b", func(r *portrules.Rule) { r.Protocol, r.First, r.Last = portrules.Both, 400, 500 }),
	})
	want := `rules "a" and "b" both cover tcp and udp port 400-443: write ranges that do not meet, or different VIPs`
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %v", err, want)
	}
}

func TestValidateTooManyRules(t *testing.T) {
	var rules []portrules.Rule
	for i := range portrules.MaxRules + 1 {
		if err := portrules.Validate(vips, rules); err != nil {
			t.Fatalf("%d rules: %v", len(rules), err)
		}
		rules = append(rules, rule(fmt.Sprintf("rule-%d", i), func(r *portrules.Rule) { r.First, r.Last = uint16(i), uint16(i) }))
	}
	var err *portrules.RuleError
	if !errors.As(portrules.Validate(vips, rules), &err) || err.Index != portrules.MaxRules {
		t.Errorf("%d rules: got %v", len(rules), err)
	}
}

func TestValidateVIPs(t *testing.T) {
	many := make([]netip.Addr, portrules.MaxVIPs+1)
	for i := range many {
		many[i] = netip.AddrFrom4([4]byte{192, 0, 2, uint8(i + 1)})
	}
	if err := portrules.Validate(many[:portrules.MaxVIPs], nil); err != nil {
		t.Errorf("%d VIPs: %v", portrules.MaxVIPs, err)
	}
	addrs := func(s ...string) (out []netip.Addr) {
		for _, a := range s {
			out = append(out, netip.MustParseAddr(a))
		}
		return out
	}
	for _, tt := range []struct {
		name  string
		vips  []netip.Addr
		index int
		msg   string
	}{
		{"none", nil, 0, "at least one address"},
		{"too many", many, portrules.MaxVIPs, "at most 64"},
		{"zero", []netip.Addr{vips[0], {}}, 1, "is no IP address"},
		{"zone", addrs("fe80::1%eth0"), 0, "write fe80::1"},
		{"mapped", addrs("::ffff:192.0.2.10"), 0, "write 192.0.2.10"},
		{"twice", addrs("192.0.2.10", "2001:db8::10", "192.0.2.10"), 2, "listed twice"},
		{"loopback", addrs("127.0.0.1"), 0, "unicast address"},
		{"multicast", addrs("ff02::1"), 0, "unicast address"},
		{"unspecified", addrs("::"), 0, "unicast address"},
		{"broadcast", addrs("255.255.255.255"), 0, "unicast address"},
	} {
		var err *portrules.VIPError
		if !errors.As(portrules.Validate(tt.vips, nil), &err) || err.Index != tt.index || !strings.Contains(err.Msg, tt.msg) {
			t.Errorf("%s: got %v", tt.name, err)
		}
	}
}

// Two rules are refused exactly where some packet would be covered by both.
func TestValidateOverlapIsCoverage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) portrules.Rule {
			return rule(name, func(r *portrules.Rule) {
				r.Protocol = portrules.Protocol(rapid.IntRange(1, 3).Draw(t, "protocol"))
				r.VIP = rapid.SampledFrom([]netip.Addr{{}, vips[0], vips[1]}).Draw(t, "vip")
				r.First = rapid.Uint16Range(0, 10).Draw(t, "first")
				r.Last = r.First + rapid.Uint16Range(0, 5).Draw(t, "more")
			})
		}
		a, b := draw("a"), draw("b")
		onlyA, onlyB := portrules.Policy{Rules: []portrules.Rule{a}}, portrules.Policy{Rules: []portrules.Rule{b}}
		both := false
		for _, vip := range vips {
			for _, protocol := range []portrules.Protocol{portrules.TCP, portrules.UDP} {
				for port := range uint16(20) {
					both = both || onlyA.Lookup(vip, protocol, port) == 0 && onlyB.Lookup(vip, protocol, port) == 0
				}
			}
		}
		if err := portrules.Validate(vips, []portrules.Rule{a, b}); (err != nil) != both {
			t.Fatalf("covered twice: %v, refused: %v", both, err)
		}
	})
}
