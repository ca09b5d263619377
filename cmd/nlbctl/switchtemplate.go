package main

import (
	"embed"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"github.com/opennlb/opennlb/config"
	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/l2"
)

// switchTemplates has one file for each vendor.
//
//go:embed switch/*.tmpl
var switchTemplates embed.FS

type switchVendor struct {
	name    string
	comment string // begins a line that the device ignores
	what    string
}

var switchVendors = []switchVendor{
	{"cisco-ios", "!", "Cisco Catalyst, IOS and IOS XE"},
	{"cisco-nxos", "!", "Cisco Nexus, NX-OS"},
	{"arista-eos", "!", "Arista EOS"},
	{"juniper-junos", "#", "Juniper EX and QFX, Junos with ELS"},
	{"aruba", "!", "HPE Aruba AOS-CX"},
	{"hpe-comware", "#", "HPE FlexFabric and H3C, Comware"},
	{"dell-os10", "!", "Dell OS10, and OS9"},
	{"mikrotik", "#", "MikroTik RouterOS"},
	{"extreme", "#", "Extreme EXOS (Switch Engine)"},
	{"linux", "#", "Linux as bridge or router"},
	{"vmware", "#", "VMware vSphere standard and distributed switches"},
	{"hyper-v", "#", "Microsoft Hyper-V"},
	{"kvm-libvirt", "#", "KVM with libvirt"},
}

// switchReasons say why a part is there, and what happens without it.
var switchReasons = map[string]string{
	"vlan": "Keep the VLAN small: the members and the router, nobody else. The switch sends whatever it floods to every port of the VLAN.",
	"arp": "On whatever routes into the VLAN: few routers take a multicast MAC address from an ARP reply for a unicast address (RFC 1812, 3.3.2). " +
		"Without these entries nobody beyond the router reaches the VIPs.",
	"mac": "The cluster MAC goes to the members' ports only. Without this the switch floods it: that works, and burdens all other ports. " +
		"A member whose port is missing here hears no client.",
	"querier": "Snooping sends the cluster MAC where the members' IGMP reports come from. It needs a querier in the VLAN: without one the switch " +
		"forgets the members after some minutes, and the VIPs may fall silent.",
	"flood": "The switch never learns the cluster MAC, and so floods it. Members' ports must get frames to unknown addresses; without this they hear no client.",
	"storm": "Ports at which clients' frames come in: what goes to the cluster MAC must not count as a storm, or it is dropped just when there is much of it.",
	"security": "A member sends with two addresses: that of its interface, and 02:PP:... from the VIPs, PP being its priority. Port security must allow " +
		"both; otherwise the port shuts at the first answer. (Or set member.source_mac: nic; then there is one.)",
	"inspection": "ARP inspection must trust the members' ports: the default host's ARP replies name the cluster MAC, which is not their Ethernet source. " +
		"Without this they are dropped, and the VIPs cannot be resolved.",
}

// switchPlaceholders say what to put in place of what the flags left open.
var switchPlaceholders = []struct{ pattern, meaning string }{
	{"<VLAN>", "the cluster's VLAN (--vlan)"},
	{"<PORTn>", "the switch's ports of the members (--interface, one for each)"},
	{"<UPLINK>", "the ports at which clients' frames come in (--uplink)"},
	{"<ROUTER-IP>", "the router's IPv4 address in the VLAN, with prefix length where it is an interface's"},
	{"<ROUTER-IP6>", "the router's IPv6 address in the VLAN, with prefix length"},
	{"<QUERIER-IP>", "a free address of the VLAN for IGMP queries, or that of the router"},
	{"<BRIDGE>", "the bridge"},
	{"<ROUTER-PORT>", "the router's interface in the VLAN"},
	{"<PORTGROUP>", "the port group of the members' virtual machines"},
	{"<VM>", "the virtual machine of a member; once for each"},
}

var placeholder = regexp.MustCompile(`<[A-Z][A-Z0-9-]*>`)

// switchData is what a template sees.
type switchData struct {
	Mode   config.Mode
	VIPs   []netip.Addr
	V4, V6 []netip.Addr
	VLAN   string
	Ports  []string
	Uplink []string
	Group  netip.Addr // of IGMP mode
	mac    string
}

func (d switchData) Unicast() bool { return d.Mode == config.Unicast }
func (d switchData) IGMP() bool    { return d.Mode == config.IGMP }

// MAC is 03:bf:c0:00:02:0a, Dots 03bf.c000.020a, Dashes 03bf-c000-020a.
func (d switchData) MAC() string    { return d.mac }
func (d switchData) Dots() string   { return d.groups(".") }
func (d switchData) Dashes() string { return d.groups("-") }

func (d switchData) groups(sign string) string {
	digits := strings.ReplaceAll(d.mac, ":", "")
	return digits[:4] + sign + digits[4:8] + sign + digits[8:]
}

// renderSwitch writes the configuration of a vendor's device.
func renderSwitch(v switchVendor, s control.Status, r *switchRequest) (switchConfig, error) {
	d := switchData{Mode: config.Mode(s.Mode), VIPs: s.VIPs, VLAN: r.vlan, Ports: r.ports, Uplink: r.uplink, mac: s.ClusterMAC, Group: l2.IGMPGroup(l2.ClusterAddr(s.VIPs))}
	for _, vip := range s.VIPs {
		if vip.Is4() {
			d.V4 = append(d.V4, vip)
		} else {
			d.V6 = append(d.V6, vip)
		}
	}
	if d.VLAN == "" {
		d.VLAN = "<VLAN>"
	}
	if len(d.Uplink) == 0 {
		d.Uplink = []string{"<UPLINK>"}
	}
	for i := 0; len(r.ports) == 0 && i < max(2, len(s.Members)); i++ {
		d.Ports = append(d.Ports, fmt.Sprintf("<PORT%d>", i+1))
	}
	body, err := v.execute(d)
	if err != nil {
		return switchConfig{}, err
	}
	return switchConfig{v.name, d.Mode, d.mac, s.VIPs, v.head(s, body) + body}, nil
}

func (v switchVendor) execute(d switchData) (string, error) {
	t, err := template.New(v.name+".tmpl").Option("missingkey=error").Funcs(template.FuncMap{
		"why": func(key string) (string, error) {
			text, ok := switchReasons[key]
			if !ok {
				return "", fmt.Errorf("there is no reason %q", key)
			}
			return v.comment + "\n" + v.lines(text), nil
		},
		"join": strings.Join,
	}).ParseFS(switchTemplates, "switch/"+v.name+".tmpl")
	if err != nil {
		return "", err
	}
	var b strings.Builder
	if err := t.Execute(&b, d); err != nil {
		return "", err
	}
	return strings.TrimLeft(b.String(), "\n"), nil
}

// head says what the text is for, and what is still to be filled in.
func (v switchVendor) head(s control.Status, body string) string {
	var b strings.Builder
	line := func(format string, args ...any) { b.WriteString(v.lines(fmt.Sprintf(format, args...)) + "\n") }
	of := "A cluster"
	if s.Cluster != "" {
		of = "Cluster " + s.Cluster
	}
	vips := make([]string, len(s.VIPs))
	for i, vip := range s.VIPs {
		vips[i] = vip.String()
	}
	line("%s in mode %s: what it needs of %s.", of, s.Mode, v.what)
	line("Cluster MAC %s, VIPs %s.", s.ClusterMAC, strings.Join(vips, ", "))
	line("Every member's port must get every frame to the cluster MAC, also those of EtherType 0x88b5, by which the members fence each other. " +
		"Made from a template: compare it with the manual of your model, and take the parts that it needs.")
	open := placeholder.FindAllString(body, -1)
	first := true
	for _, p := range switchPlaceholders {
		if !slices.ContainsFunc(open, func(o string) bool {
			return o == p.pattern || p.pattern == "<PORTn>" && strings.HasPrefix(o, "<PORT") && o[5] >= '0' && o[5] <= '9'
		}) {
			continue
		}
		if first {
			line("Replace:")
			first = false
		}
		line("  %-13s %s", p.pattern, p.meaning)
	}
	return b.String()
}

// lines writes a text as comments of at most about 90 columns.
func (v switchVendor) lines(text string) string {
	if strings.HasPrefix(text, " ") {
		return v.comment + " " + text
	}
	var out []string
	line := v.comment
	for _, word := range strings.Fields(text) {
		if len(line)+1+len(word) > 90 {
			out = append(out, line)
			line = v.comment
		}
		line += " " + word
	}
	return strings.Join(append(out, line), "\n")
}
