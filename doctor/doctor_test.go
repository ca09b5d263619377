package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/opennlb/opennlb/config"
	"github.com/opennlb/opennlb/control"
)

const file = `
cluster:
  name: web
  vips: [192.0.2.10, "2001:db8::10"]
  rules:
    - {name: http, ports: 80}
    - {name: dns, vip: 192.0.2.10, protocol: both, ports: 53}
    - {name: many, ports: 8000-8999}
    - {name: off, ports: 23, mode: disabled}
    - {name: signal, protocol: sctp, ports: 2905}
member: {name: node1, priority: 1, interface: eth0, address: 192.0.2.1}
membership: {join: [192.0.2.1, 192.0.2.2], key_file: /etc/nlb/cluster.key}
`

func mac(text string) net.HardwareAddr {
	m, err := net.ParseMAC(text)
	if err != nil {
		panic(err)
	}
	return m
}

// prepared are the facts of a sound host on which nlbd has not been started yet.
func prepared(t *testing.T) *Facts {
	t.Helper()
	cfg, err := config.Parse("nlb.yaml", []byte(file))
	if err != nil {
		t.Fatal(err)
	}
	synced := true
	return &Facts{
		Root: true, ConfigFile: "nlb.yaml", Config: cfg, Version: "1.2.3",
		Kernel: Kernel{Release: "6.12.1", Major: 6, Minor: 12, BTF: true, BPFFS: true},
		Link: &Link{
			Name: "eth0", Kind: "device", Ethernet: true, Up: true, Carrier: true, MTU: 1500, MAC: mac("0a:00:00:00:00:01"),
			Filter: []net.HardwareAddr{mac("33:33:00:00:00:01")}, Others: []string{"eth0", "eth1"},
		},
		Addresses: []Address{
			{Interface: "lo", Prefix: netip.MustParsePrefix("127.0.0.1/8")},
			{Interface: "eth0", Prefix: netip.MustParsePrefix("192.0.2.1/24"), Up: true},
			{Interface: "eth0", Prefix: netip.MustParsePrefix("2001:db8::1/64"), Up: true},
			{Interface: "eth1", Prefix: netip.MustParsePrefix("10.0.0.1/24"), Up: true},
		},
		Routes: []string{"eth0"},
		Sysctl: map[string]string{"ipv6/conf/lo/disable_ipv6": "0", "ipv6/conf/eth0/disable_ipv6": "0", "ipv4/conf/all/rp_filter": "1"},
		Listening: []Socket{
			{"tcp", netip.MustParseAddrPort("[::]:80")},
			{"udp", netip.MustParseAddrPort("192.0.2.10:53")},
		},
		Reach: []Reach{{Addr: netip.MustParseAddr("192.0.2.2"), UDP: true, Echo: true, Large: true}},
		Clock: &synced,
		State: &State{Exists: true, Free: 1 << 30},
		Unit:  Unit{Systemd: true, Present: true, Enabled: true},
	}
}

// running are the facts of a sound member.
func running(t *testing.T) *Facts {
	t.Helper()
	f := prepared(t)
	f.Status = &control.Status{
		Cluster: "web", Mode: "unicast", VIPs: f.Config.Cluster.VIPs, Epoch: 17, Config: 3, Converged: true, Self: "node1", Version: "1.2.3", Lease: true,
		Dataplane: control.Dataplane{Kind: "xdp"},
		Members: []control.Member{
			{Name: "node1", Priority: 1, Address: netip.MustParseAddr("192.0.2.1"), State: "started", Alive: true},
			{Name: "node2", Priority: 2, Address: netip.MustParseAddr("192.0.2.2"), State: "started", Alive: true},
		},
	}
	f.Link.Filter = append(f.Link.Filter, mac("02:bf:c0:00:02:0a"))
	f.Nlbd = &Process{PID: 7}
	for _, vip := range f.VIPs() {
		f.Addresses = append(f.Addresses, Address{Interface: "lo", Prefix: netip.PrefixFrom(vip, vip.BitLen())})
	}
	return f
}

func faults(found []Finding) (list []string) {
	for _, f := range found {
		if f.Result != OK {
			list = append(list, fmt.Sprintf("%s %s: %s", f.Result, f.Check, f.Message))
		}
		if f.Result != OK && f.Advice == "" && f.Check != "key" { // whose error has it
			list = append(list, "no advice: "+f.Message)
		}
	}
	return list
}

func TestSoundHost(t *testing.T) {
	for name, f := range map[string]*Facts{"running": running(t)} {
		if list := faults(Examine(f)); list != nil {
			t.Errorf("%s: %q", name, list)
		}
	}
	f := prepared(t)
	f.StatusErr = errors.New("cannot reach nlbd")
	f.Unit.Enabled = false
	want := []string{"warning systemd: nlbd.service is not enabled: this member stays away after a reboot", "warning nlbd: cannot reach nlbd"}
	if list := faults(Examine(f)); !slices.Equal(list, want) {
		t.Errorf("prepared: %q", list)
	}
}

// TestFaults breaks one thing at a time: just that must be found.
func TestFaults(t *testing.T) {
	at, prefix := netip.MustParseAddr, netip.MustParsePrefix
	off := false
	for _, tt := range []struct {
		want     string // of the only fault
		prepared bool   // before nlbd is started
		fault    func(*Facts)
	}{
		{"problem kernel: Linux 5.10.0 is older", false, func(f *Facts) { f.Kernel = Kernel{Release: "5.10.0", Major: 5, Minor: 10} }},
		{"warning kernel: Linux 5.19.0 is older", false, func(f *Facts) { f.Kernel = Kernel{Release: "5.19.0", Major: 5, Minor: 19} }},
		{"warning dataplane: nlbd decides in user space", false, func(f *Facts) { f.Status.Dataplane.Kind = "afpacket" }},
		{"warning dataplane: the kernel does not describe", true, func(f *Facts) { f.Kernel.BTF = false }},
		{"warning dataplane: /sys/fs/bpf is not", true, func(f *Facts) { f.Kernel.BPFFS = false }},
		{"warning dataplane: the kernel is locked down", true, func(f *Facts) { f.Kernel.Lockdown = "confidentiality" }},
		{"warning nat: this host does NAT", false, func(f *Facts) { f.Kernel.NAT = true }},
		{"problem interface: there is no interface eth0", false, func(f *Facts) { f.Link, f.LinkErr = nil, errors.New("there is no interface eth0") }},
		{"problem interface: eth0 is not Ethernet", false, func(f *Facts) { f.Link.Ethernet = false }},
		{"problem interface: eth0 is a port of br0", false, func(f *Facts) { f.Link.Master = "br0" }},
		{"problem interface: eth0 is down", false, func(f *Facts) { f.Link.Up = false }},
		{"problem interface: eth0 has no carrier", false, func(f *Facts) { f.Link.Carrier = false }},
		{"problem interface: eth0 is a macvlan", false, func(f *Facts) { f.Link.Kind = "macvlan" }},
		{"problem address: 192.0.2.9, the dedicated IP", false, func(f *Facts) { f.Config.Member.Address = at("192.0.2.9") }},
		{"warning address: eth0 has no address of its own in the family of VIP 2001:db8::10", false, func(f *Facts) { f.Addresses = slices.Delete(f.Addresses, 2, 3) }},
		{"problem mtu: MTU of eth0 is 1200", false, func(f *Facts) { f.Link.MTU = 1200 }},
		{"warning mtu: 192.0.2.2 answers a ping, but none of 1500", false, func(f *Facts) { f.Reach[0].Large = false }},
		{"warning lro: eth0 merges", false, func(f *Facts) { f.Link.LRO = true }},
		{"problem cluster MAC: eth0 has the cluster MAC", false, func(f *Facts) { f.Link.MAC = mac("02:bf:c0:00:02:0a") }},
		{"warning cluster MAC: eth0 does not list", false, func(f *Facts) { f.Link.Filter = nil }},
		{"warning cluster MAC: eth0 accepts the cluster MAC 02:bf:c0:00:02:0a, and no nlbd", true, func(f *Facts) { f.Link.Filter = append(f.Link.Filter, mac("02:bf:c0:00:02:0a")) }},
		{"problem VIPs: VIP 192.0.2.10 is an address of eth0, by DHCP", false, func(f *Facts) {
			f.Addresses = append(f.Addresses, Address{Interface: "eth0", Prefix: prefix("192.0.2.10/24"), Dynamic: true})
		}},
		{"problem VIPs: VIP 192.0.2.10 is an address of eth1", false, func(f *Facts) {
			f.Addresses = append(f.Addresses, Address{Interface: "eth1", Prefix: prefix("192.0.2.10/32")})
		}},
		{"problem VIPs: 1 of 2 VIPs are missing on lo", false, func(f *Facts) { f.Addresses = f.Addresses[:len(f.Addresses)-1] }},
		{"warning VIPs: VIPs are on lo, and no nlbd", true, func(f *Facts) {
			f.Addresses = append(f.Addresses, Address{Interface: "lo", Prefix: prefix("192.0.2.10/32")})
		}},
		{"warning network setup: VIP 192.0.2.10 stands in /etc/x", false, func(f *Facts) { f.Mentions = []Mention{{at("192.0.2.10"), "/etc/x"}} }},
		{"problem other interfaces: eth1 is in the network of VIP 192.0.2.10", false, func(f *Facts) { f.Addresses[3].Prefix = prefix("192.0.2.201/24") }},
		{"warning rp_filter: rp_filter of eth0 is strict", false, func(f *Facts) { f.Routes = []string{"eth1"} }},
		{"problem IPv6: IPv6 is disabled on eth0", false, func(f *Facts) { f.Sysctl["ipv6/conf/eth0/disable_ipv6"] = "1" }},
		{"problem IPv6: IPv6 is disabled on lo", false, func(f *Facts) { delete(f.Sysctl, "ipv6/conf/lo/disable_ipv6") }},
		{"warning key: membership is insecure", false, func(f *Facts) { f.Config.Membership.Insecure = true }},
		{"problem key: read the cluster key", false, func(f *Facts) { f.KeyErr = errors.New("read the cluster key: open to others") }},
		{"warning state_dir: /var/lib/nlb: 10 MB free", false, func(f *Facts) { f.State.Free = 10 << 20 }},
		{"problem state_dir: /var/lib/nlb: 1 MB free", false, func(f *Facts) { f.State.Free = 1 << 20 }},
		{"warning clock: the clock is not", false, func(f *Facts) { f.Clock = &off }},
		{"warning other balancers: keepalived runs here", false, func(f *Facts) { f.Balancers = []string{"keepalived"} }},
		{"warning other balancers: IPVS", false, func(f *Facts) { f.IPVS = true }},
		{"warning services: rule http: no service", true, func(f *Facts) { f.Listening[0].Addr = netip.MustParseAddrPort("127.0.0.1:80") }},
		{"warning services: rule http: no service", true, func(f *Facts) { f.Listening[0].Protocol = "udp" }},
		{"warning services: rule dns: no service", true, func(f *Facts) { f.Listening[1].Addr = netip.MustParseAddrPort("[2001:db8::10]:53") }},
		{"warning systemd: there is no nlbd.service", false, func(f *Facts) { f.Unit.Present = false }},
		{"warning systemd: nlbd.service is not enabled", false, func(f *Facts) { f.Unit.Enabled = false }},
		{"problem nlbd: cannot reach nlbd", true, func(f *Facts) { f.StatusErr = errors.New("cannot reach nlbd") }},
		{"problem nlbd: this member answers nothing", false, func(f *Facts) { f.Status.Lease = false }},
		{"warning nlbd: this member is suspended", false, func(f *Facts) { f.Status.Members[0].State = "suspended" }},
		{"warning version: nlbd is 1.2.2, nlbctl 1.2.3", false, func(f *Facts) { f.Status.Version = "1.2.2" }},
		{"warning members: 192.0.2.2: nothing listens", false, func(f *Facts) { f.Reach[0].TCP, f.Reach[0].Refused = errors.New("refused"), true }},
		{"problem members: 192.0.2.2 answers a ping, but not TCP", false, func(f *Facts) { f.Reach[0].TCP = errors.New("timeout") }},
		{"problem members: 192.0.2.2 is alive, but TCP", false, func(f *Facts) { f.Reach[0] = Reach{Addr: f.Reach[0].Addr, TCP: errors.New("timeout")} }},
		{"warning members: 192.0.2.2 is not reached", true, func(f *Facts) { f.Reach[0] = Reach{Addr: f.Reach[0].Addr, TCP: errors.New("timeout")} }},
		{"problem members: 192.0.2.2 refuses UDP", false, func(f *Facts) { f.Reach[0].UDP = false }},
		{"problem members: 192.0.2.3 is reached by TCP, but nlbd", false, func(f *Facts) { f.Reach[0].Addr = at("192.0.2.3") }},
		{"warning cluster: rule http: nobody answers", false, func(f *Facts) { f.Status.Warnings = []string{"rule http: nobody answers: start one"} }},
		{"warning cluster: odd", false, func(f *Facts) { f.Status.Warnings = []string{"odd"} }},
		{"warning cluster: the members have not agreed", false, func(f *Facts) { f.Status.Converged = false }},
		{"warning cluster: this member is alone", false, func(f *Facts) { f.Status.Members[1].Alive, f.Reach = false, nil }},
		{"warning facts: /proc cannot be read", false, func(f *Facts) { f.gap("/proc", errors.New("no")) }},
		{"warning privilege: not run as root", false, func(f *Facts) { f.Root = false }},
	} {
		t.Run(tt.want, func(t *testing.T) {
			f := running(t)
			if tt.prepared {
				f = prepared(t)
			}
			tt.fault(f)
			list := faults(Examine(f))
			if len(list) != 1 || !strings.HasPrefix(list[0], tt.want) {
				t.Errorf("found %q", list)
			}
		})
	}
}

// TestNoFault: what looks like a fault and is none.
func TestNoFault(t *testing.T) {
	for name, change := range map[string]func(*Facts){
		"afpacket is wanted":       func(f *Facts) { f.Config.Dataplane, f.Status.Dataplane.Kind = "afpacket", "afpacket" },
		"NAT with the capability":  func(f *Facts) { f.Kernel.NAT, f.Nlbd.Caps = true, 1<<21 },
		"held by promiscuous mode": func(f *Facts) { f.Link.Filter, f.Link.Promisc = nil, true },
		"arp_ignore": func(f *Facts) {
			f.Addresses[3].Prefix = netip.MustParsePrefix("192.0.2.201/24")
			f.Sysctl["ipv4/conf/eth1/arp_ignore"] = "1"
		},
		"loose rp_filter": func(f *Facts) { f.Routes, f.Sysctl["ipv4/conf/eth0/rp_filter"] = []string{"eth1"}, "2" },
		"macvlan in mode multicast": func(f *Facts) {
			f.Link.Kind, f.Status.Mode, f.Link.Filter = "macvlan", "multicast", []net.HardwareAddr{mac("03:bf:c0:00:02:0a")}
		},
		"a member without pings":     func(f *Facts) { f.Reach[0].Echo, f.Reach[0].Large = false, false },
		"a new host without a state": func(f *Facts) { f.State = &State{} },
	} {
		f := running(t)
		change(f)
		if list := faults(Examine(f)); list != nil {
			t.Errorf("%s: %q", name, list)
		}
	}
}

// TestWithoutRoot: what only root may see is no problem of the host.
func TestWithoutRoot(t *testing.T) {
	f := prepared(t)
	f.Root, f.KeyErr, f.StatusErr = false, fs.ErrPermission, errors.New("permission denied")
	f.Config, f.ConfigErr = nil, fmt.Errorf("read the configuration: %w", fs.ErrPermission)
	for _, found := range Examine(f) {
		if found.Result == Problem {
			t.Errorf("%+v", found)
		}
	}
}

// TestNothingKnown: no check stumbles over a fact that is missing.
func TestNothingKnown(t *testing.T) {
	Examine(&Facts{})
	f := running(t)
	Examine(&Facts{Status: f.Status})
	Examine(&Facts{Config: f.Config})
	Examine(&Facts{Config: f.Config, Status: &control.Status{}})
}

func TestMentions(t *testing.T) {
	vips := []netip.Addr{netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("2001:db8::10")}
	for text, want := range map[string]int{
		"address 192.0.2.10/24\n":                            1,
		"  addresses: [192.0.2.1/24, \"2001:db8:0::10/64\"]": 1,
		"# was 192.0.2.10":                                   0,
		"address 192.0.2.101/24":                             0,
		"IPADDR=192.0.2.10\nIPADDR2=192.0.2.10\n":            1,
	} {
		if got := mentions(vips, "f", text); len(got) != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestSocketAddress(t *testing.T) {
	if !littleEndian {
		t.Skip("the tables are in the host's order")
	}
	for text, want := range map[string]string{
		"0100007F:0016":                         "127.0.0.1:22",
		"00000000000000000000000000000000:0050": "[::]:80",
		"B80D0120000000000000000010000000:01BB": "[2001:db8::10]:443",
		"0000000000000000FFFF00000A0200C0:1F90": "192.0.2.10:8080",
		"":                                      "",
		"zz:1":                                  "",
	} {
		got, ok := socketAddress(text)
		if ok != (want != "") || ok && got.String() != want {
			t.Errorf("%q: %v, %v", text, got, ok)
		}
	}
}
