package config

import (
	"os"

	"github.com/opennlb/opennlb/portrules"
)

// decode reads all sections. What is wrong with single values is reported to the
// document; what is missing or inconsistent is left to check.
func decode(root section) *Config {
	root.only("cluster", "member", "membership", "dataplane", "control", "notify", "state_dir")
	c := &Config{
		Cluster:   decodeCluster(root.section("cluster")),
		Dataplane: "auto",
		Control:   Control{Socket: "/run/nlb/nlbd.sock", HTTP: "127.0.0.1:9920"},
		StateDir:  "/var/lib/nlb",
	}
	c.Member = decodeMember(root.section("member"), c.Cluster.Rules)
	c.Membership = decodeMembership(root.section("membership"))
	take(root, "dataplane", &c.Dataplane, word("auto", "xdp", "tc", "afpacket"))
	take(root, "state_dir", &c.StateDir, anyText)

	control := root.section("control")
	control.only("socket", "http", "remote")
	take(control, "socket", &c.Control.Socket, anyText)
	take(control, "http", &c.Control.HTTP, anyText)
	c.Control.Remote = decodeRemote(control.section("remote"))
	c.Notify = decodeNotify(root.section("notify"))
	return c
}

func decodeCluster(s section) Cluster {
	s.only("name", "mode", "vips", "partition", "detection", "dampening", "rules")
	c := Cluster{Mode: Unicast, Partition: "serve", Detection: "normal", Dampening: true}
	take(s, "name", &c.Name, anyText)
	take(s, "mode", &c.Mode, word(Unicast, Multicast, IGMP))
	takeAll(s, "vips", &c.VIPs, address)
	take(s, "partition", &c.Partition, word("serve", "majority"))
	take(s, "detection", &c.Detection, word("fast", "normal", "relaxed"))
	take(s, "dampening", &c.Dampening, boolean)
	for _, rule := range s.sections("rules") {
		r := decodeRule(rule)
		r.ID = uint16(len(c.Rules)) // more than there may be are refused later
		c.Rules = append(c.Rules, r)
	}
	return c
}

func decodeRule(s section) portrules.Rule {
	s.only("name", "vip", "protocol", "ports", "mode", "preempt", "affinity", "prefix_v4", "prefix_v6", "timeout", "reject")
	r := portrules.Rule{
		Protocol: portrules.TCP,
		Mode:     portrules.Multiple,
		Affinity: portrules.AffinitySingle,
	}
	take(s, "name", &r.Name, anyText)
	take(s, "vip", &r.VIP, vipOrAll)
	take(s, "protocol", &r.Protocol, enum(portrules.ParseProtocol, "tcp, udp, both or sctp"))
	if _, ok := s.values["name"]; !ok {
		s.doc.report(s.child("name"), "missing", "write a name of 1 to 32 characters from a-z, 0-9, - and _")
	}
	if _, ok := s.values["ports"]; !ok {
		s.doc.report(s.child("ports"), "missing", "write one port such as 80, or a range such as 80-443")
	}
	var p portRange
	take(s, "ports", &p, ports)
	r.First, r.Last = p.first, p.last
	take(s, "mode", &r.Mode, enum(portrules.ParseMode, "multiple, single or disabled"))
	preempt := true
	take(s, "preempt", &preempt, boolean)
	r.Keep = !preempt
	take(s, "affinity", &r.Affinity, enum(portrules.ParseAffinity, "none, single or network"))
	if r.Affinity == portrules.AffinityNetwork {
		r.PrefixV4, r.PrefixV6 = portrules.DefaultPrefixV4, portrules.DefaultPrefixV6
	}
	take(s, "prefix_v4", &r.PrefixV4, number[uint8](portrules.MinPrefixV4, 32))
	take(s, "prefix_v6", &r.PrefixV6, number[uint8](portrules.MinPrefixV6, 128))
	take(s, "timeout", &r.Timeout, duration)
	take(s, "reject", &r.Reject, boolean)
	return r
}

func decodeMember(s section, rules []portrules.Rule) Member {
	s.only("name", "priority", "interface", "address", "initial_state", "retain_state", "source_mac", "rules")
	m := Member{InitialState: "started", SourceMAC: "auto"}
	if name, err := os.Hostname(); err == nil {
		m.Name = name
	}
	take(s, "name", &m.Name, anyText)
	take(s, "priority", &m.Priority, number[uint8](1, 32))
	take(s, "interface", &m.Interface, anyText)
	take(s, "address", &m.Address, address)
	take(s, "initial_state", &m.InitialState, word("started", "stopped", "suspended"))
	take(s, "retain_state", &m.RetainState, boolean)
	take(s, "source_mac", &m.SourceMAC, word("auto", "nic", "member"))

	m.Rules = make(map[string]MemberRule)
	for _, r := range rules {
		m.Rules[r.Name] = m.Rule(r.Name)
	}
	weights := s.section("rules")
	for _, k := range weights.keys {
		name := k.name
		rule := weights.section(name)
		rule.only("weight", "priority")
		r := m.Rule(name)
		take(rule, "weight", &r.Weight, number[uint8](0, 100))
		take(rule, "priority", &r.Priority, number[uint8](1, 32))
		m.Rules[name] = r
	}
	return m
}

func decodeMembership(s section) Membership {
	s.only("port", "join", "key_file", "insecure")
	m := Membership{Port: 7946}
	take(s, "port", &m.Port, number[uint16](1, 65535))
	takeAll(s, "join", &m.Join, address)
	take(s, "key_file", &m.KeyFile, anyText)
	take(s, "insecure", &m.Insecure, boolean)
	return m
}

// Rule returns this member's share of the named rule, the default if the
// configuration does not mention it.
func (m Member) Rule(name string) MemberRule {
	if r, ok := m.Rules[name]; ok {
		return r
	}
	return MemberRule{Weight: 50, Priority: m.Priority}
}
