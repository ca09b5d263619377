package l2

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/mdlayher/arp"
	"golang.org/x/net/bpf"
)

func TestNeighborFilter(t *testing.T) {
	// The VM of x/net/bpf knows no packet type and VLAN tag; the kernel tests do.
	prog := neighborFilter([]netip.Addr{vip4, vip6})[len(receivedUntagged()):]
	vm, err := bpf.NewVM(prog)
	if err != nil {
		t.Fatal(err)
	}
	ask4, ask6 := askARP(client, clientIP4, vip4), askNDP(client, clientIP6, vip6)
	for _, tt := range []struct {
		name  string
		frame []byte
		take  bool
	}{
		{"ARP request", ask4, true},
		{"ARP reply from a VIP", must(arpFrame(client, other, arp.OperationReply, other, vip4, client, clientIP4)), true},
		{"ARP about others", askARP(client, clientIP4, dedicated), false},
		{"solicitation", ask6, true},
		{"solicitation from a VIP", askNDP(other, vip6, clientIP6), true},
		{"solicitation about others", askNDP(client, clientIP6, netip.MustParseAddr("2001:db8::11")), false},
		{"advertisement", advert(other, vip6, other), true},
		{"echo request", patch(ask6, 54, 128), false},
		{"TCP over IPv6", patch(ask6, 20, 6), false},
		{"IPv4", patch(ask4, 12, 8, 0), false},
		{"cut off", ask6[:70], false},
	} {
		n, err := vm.Run(tt.frame)
		if err != nil || (n > 0) != tt.take {
			t.Errorf("%s: take %d bytes, %v; want take %t", tt.name, n, err, tt.take)
		}
	}
}

func TestNeighborFilterHoldsManyVIPs(t *testing.T) {
	var vips []netip.Addr
	for i := range 256 {
		vips = append(vips, netip.AddrFrom4([4]byte{10, 0, 1, byte(i)}), netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", i+1)))
	}
	raw, err := bpf.Assemble(neighborFilter(vips))
	if err != nil {
		t.Fatal(err)
	}
	if len(raw) > 4096 { // BPF_MAXINSNS
		t.Errorf("the filter takes %d instructions", len(raw))
	}
}
