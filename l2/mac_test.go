package l2

import (
	"net"
	"net/netip"
	"testing"

	"github.com/opennlb/opennlb/config"
)

func TestDerivedAddresses(t *testing.T) {
	v4, v6 := netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("2001:db8::c633:6401")
	for _, tt := range []struct{ name, got, want string }{
		{"unicast", ClusterMAC(config.Unicast, v4).String(), "02:bf:c0:00:02:0a"},
		{"multicast", ClusterMAC(config.Multicast, v4).String(), "03:bf:c0:00:02:0a"},
		{"igmp", ClusterMAC(config.IGMP, v4).String(), "01:00:5e:7f:02:0a"},
		{"unicast from IPv6", ClusterMAC(config.Unicast, v6).String(), "02:bf:c6:33:64:01"},
		{"multicast from IPv6", ClusterMAC(config.Multicast, v6).String(), "03:bf:c6:33:64:01"},
		{"igmp from IPv6", ClusterMAC(config.IGMP, v6).String(), "01:00:5e:7f:64:01"},
		{"member 1", MemberMAC(1, v4).String(), "02:01:c0:00:02:0a"},
		{"member 32", MemberMAC(32, v4).String(), "02:20:c0:00:02:0a"},
		{"group", IGMPGroup(v4).String(), "239.255.2.10"},
		{"group from IPv6", IGMPGroup(v6).String(), "239.255.100.1"},
		{"MAC of the group", groupMAC(IGMPGroup(v4)).String(), ClusterMAC(config.IGMP, v4).String()},
		{"MAC of all nodes", groupMAC(allNodes()).String(), "33:33:00:00:00:01"},
		{"solicited node", solicitedNode(netip.MustParseAddr("2001:db8::12:3456")).String(), "ff02::1:ff12:3456"},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, tt.got, tt.want)
		}
	}
}

func TestClusterAddrPrefersIPv4(t *testing.T) {
	addrs := func(ss ...string) (out []netip.Addr) {
		for _, s := range ss {
			out = append(out, netip.MustParseAddr(s))
		}
		return out
	}
	for _, tt := range []struct {
		vips []netip.Addr
		want string
	}{
		{addrs("192.0.2.10", "192.0.2.11"), "192.0.2.10"},
		{addrs("2001:db8::10", "192.0.2.11", "192.0.2.12"), "192.0.2.11"},
		{addrs("2001:db8::10", "2001:db8::11"), "2001:db8::10"},
		{nil, "invalid IP"},
	} {
		if got := ClusterAddr(tt.vips).String(); got != tt.want {
			t.Errorf("ClusterAddr(%v) = %s, want %s", tt.vips, got, tt.want)
		}
	}
}

func TestSourceMAC(t *testing.T) {
	vip, nic := netip.MustParseAddr("192.0.2.10"), net.HardwareAddr{2, 0, 0, 0, 0, 7}
	const member = "02:05:c0:00:02:0a"
	for _, tt := range []struct {
		mode    config.Mode
		setting string
		want    string
	}{
		{config.Unicast, "auto", member},
		{config.Unicast, "", member},
		{config.Unicast, "nic", nic.String()},
		{config.Multicast, "auto", nic.String()},
		{config.Multicast, "member", member},
		{config.IGMP, "auto", nic.String()},
	} {
		got, err := SourceMAC(tt.mode, tt.setting, 5, vip, nic)
		if err != nil || got.String() != tt.want {
			t.Errorf("SourceMAC(%s, %q) = %s, %v, want %s", tt.mode, tt.setting, got, err, tt.want)
		}
	}
	if _, err := SourceMAC(config.Unicast, "cluster", 5, vip, nic); err == nil {
		t.Error("an unknown setting is accepted")
	}
}

// No member ever sends from a cluster MAC, whatever the settings.
func TestSourceIsNeverTheClusterMAC(t *testing.T) {
	vip := netip.MustParseAddr("192.0.2.10")
	for priority := uint8(1); priority <= 32; priority++ {
		for _, mode := range []config.Mode{config.Unicast, config.Multicast, config.IGMP} {
			if got := MemberMAC(priority, vip); got.String() == ClusterMAC(mode, vip).String() || isGroup(got) {
				t.Errorf("priority %d, mode %s: source %s", priority, mode, got)
			}
		}
	}
}

func TestIsClusterMAC(t *testing.T) {
	vip := netip.MustParseAddr("192.0.2.10")
	for _, mode := range []config.Mode{config.Unicast, config.Multicast, config.IGMP} {
		if mac := ClusterMAC(mode, vip); !IsClusterMAC(mac) {
			t.Errorf("%s mode: %s is none", mode, mac)
		}
	}
	for _, mac := range []net.HardwareAddr{MemberMAC(1, vip), {0x0a, 0xbf, 1, 2, 3, 4}, {0x01, 0x00, 0x5e, 0x01, 2, 3}, {0x02, 0xbf}, nil} {
		if IsClusterMAC(mac) {
			t.Errorf("%s is one", mac)
		}
	}
}
