package portrules

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Limits of a cluster's configuration.
const (
	MaxRules   = 256
	MaxVIPs    = 64
	MaxName    = 32
	MaxTimeout = 24 * time.Hour

	MinPrefixV4 = 8 // shorter ones would leave few clients to tell apart
	MinPrefixV6 = 16
)

// RuleError says what is wrong with one rule, and what to write instead.
type RuleError struct {
	Index int    // the offending rule
	Other int    // the rule that it conflicts with, or -1
	Field string // name, vip, protocol, ports, mode, preempt, affinity, prefix_v4, prefix_v6, timeout, reject; "" for the rule as a whole
	Msg   string
}

func (e *RuleError) Error() string { return e.Msg }

// VIPError says what is wrong with one VIP, and what to write instead.
type VIPError struct {
	Index int // the offending VIP; 0 where there is none at all
	Msg   string
}

func (e *VIPError) Error() string { return e.Msg }

// Validate checks the VIPs and the port rules of a cluster and returns the first
// problem, a *VIPError or a *RuleError.
func Validate(vips []netip.Addr, rules []Rule) error {
	if err := validateVIPs(vips); err != nil {
		return err
	}
	if len(rules) > MaxRules {
		return &RuleError{Index: MaxRules, Other: -1,
			Msg: fmt.Sprintf("%d rules are too many: write at most %d, joining neighbouring ports into ranges", len(rules), MaxRules)}
	}
	for i := range rules {
		if err := validateRule(i, rules, vips); err != nil {
			return err
		}
	}
	return nil
}

func validateVIPs(vips []netip.Addr) error {
	if len(vips) == 0 {
		return &VIPError{Msg: "no virtual IP: write at least one address under vips"}
	}
	if len(vips) > MaxVIPs {
		return &VIPError{Index: MaxVIPs, Msg: fmt.Sprintf("%d virtual IPs are too many: write at most %d", len(vips), MaxVIPs)}
	}
	seen := make(map[netip.Addr]bool)
	for i, vip := range vips {
		problem := ""
		switch {
		case !vip.IsValid():
			problem = "is no IP address: write one such as 192.0.2.10 or 2001:db8::10"
		case vip.Zone() != "":
			problem = fmt.Sprintf("has a zone: write %v", vip.WithZone(""))
		case vip.Is4In6():
			problem = fmt.Sprintf("is an IPv4-mapped IPv6 address: write %v", vip.Unmap())
		case vip.IsUnspecified(), vip.IsLoopback(), vip.IsMulticast(), vip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
			problem = "cannot be shared: write a unicast address of the segment's network"
		case seen[vip]:
			problem = "is listed twice: write it once"
		}
		if problem != "" {
			return &VIPError{Index: i, Msg: fmt.Sprintf("virtual IP %v %s", vip, problem)}
		}
		seen[vip] = true
	}
	return nil
}

// validateRule checks rule i by itself and against the rules before it.
func validateRule(i int, rules []Rule, vips []netip.Addr) error {
	r := &rules[i]
	refuse := func(field, format string, args ...any) error {
		return &RuleError{Index: i, Other: -1, Field: field, Msg: fmt.Sprintf("rule %q: ", r.Name) + fmt.Sprintf(format, args...)}
	}
	switch {
	case !validName(r.Name):
		return refuse("name", "write a name of 1 to %d characters from a-z, 0-9, - and _", MaxName)
	case r.VIP.IsValid() && !slices.Contains(vips, r.VIP):
		return refuse("vip", "%v is not among the cluster's vips: write all or one of %v", r.VIP, vips)
	case r.Protocol == 0 || !known(protocolNames, uint8(r.Protocol)):
		return refuse("protocol", "unknown %v: write tcp, udp, both or sctp", r.Protocol)
	case r.First > r.Last:
		return refuse("ports", "range %d-%d runs backwards: write %d-%d", r.First, r.Last, r.Last, r.First)
	case !known(modeNames, uint8(r.Mode)):
		return refuse("mode", "unknown %v: write multiple, single or disabled", r.Mode)
	case r.Keep && r.Mode == Multiple:
		return refuse("preempt", "means nothing in mode multiple: write mode: single, or remove preempt")
	case !known(affinityNames, uint8(r.Affinity)):
		return refuse("affinity", "unknown %v: write none, single or network", r.Affinity)
	case r.PrefixV4 != 0 && r.Affinity != AffinityNetwork:
		return refuse("prefix_v4", "only affinity network hashes a prefix: write affinity: network, or remove prefix_v4")
	case r.PrefixV6 != 0 && r.Affinity != AffinityNetwork:
		return refuse("prefix_v6", "only affinity network hashes a prefix: write affinity: network, or remove prefix_v6")
	case r.PrefixV4 != 0 && (r.PrefixV4 < MinPrefixV4 || r.PrefixV4 > 32):
		return refuse("prefix_v4", "%d bits are out of range: write %d to 32", r.PrefixV4, MinPrefixV4)
	case r.PrefixV6 != 0 && (r.PrefixV6 < MinPrefixV6 || r.PrefixV6 > 128):
		return refuse("prefix_v6", "%d bits are out of range: write %d to 128", r.PrefixV6, MinPrefixV6)
	case r.Timeout < 0 || r.Timeout > MaxTimeout:
		return refuse("timeout", "%v is out of range: write 0s (off) to 24h", r.Timeout)
	case r.Timeout%time.Millisecond != 0: // as the programs count
		return refuse("timeout", "%v is too fine: write whole milliseconds", r.Timeout)
	case r.Reject && r.Mode != Disabled:
		return refuse("reject", "only traffic of a disabled rule is rejected: write mode: disabled, or remove reject")
	}
	return validateAgainst(i, rules)
}

// validateAgainst checks rule i against the rules before it.
func validateAgainst(i int, rules []Rule) error {
	r := &rules[i]
	for j := range rules[:i] {
		o := &rules[j]
		if o.Name == r.Name {
			return &RuleError{Index: i, Other: j, Field: "name",
				Msg: fmt.Sprintf("rule %q: the name is taken: write another one, each rule needs its own", r.Name)}
		}
		if r.overlaps(o) {
			return &RuleError{Index: i, Other: j, Field: "ports",
				Msg: fmt.Sprintf("rules %q and %q both cover %s port %s: write ranges that do not meet, or different VIPs",
					o.Name, r.Name, common(r.Protocol&o.Protocol), ports(max(r.First, o.First), min(r.Last, o.Last)))}
		}
	}
	return nil
}

func (r *Rule) overlaps(o *Rule) bool {
	sameVIP := !r.VIP.IsValid() || !o.VIP.IsValid() || r.VIP == o.VIP
	return sameVIP && r.Protocol&o.Protocol != 0 && r.First <= o.Last && o.First <= r.Last
}

func validName(s string) bool {
	if s == "" || len(s) > MaxName {
		return false
	}
	for _, c := range s {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789-_", c) {
			return false
		}
	}
	return true
}

func common(p Protocol) string {
	if p == Both {
		return "tcp and udp"
	}
	return p.String()
}

func ports(first, last uint16) string {
	if first == last {
		return fmt.Sprint(first)
	}
	return fmt.Sprintf("%d-%d", first, last)
}
