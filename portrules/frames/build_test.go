package frames

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/opennlb/opennlb/portrules"
)

// Another implementation of the protocols reads what the builder writes, with the
// lengths and checksums that it would have written itself.
func TestFramesAgainstGopacket(t *testing.T) {
	for _, f := range families() {
		hop, routing := OptionsHeader(HopByHop, 16), OptionsHeader(Routing, 8)
		extended := IPv6{Src: Client6, Dst: VIP6, Protocol: portrules.ProtoTCP, Extensions: []Extension{hop, routing},
			Payload: TCP(netip.AddrPortFrom(Client6, 1), netip.AddrPortFrom(VIP6, 2), SYN, []byte("odd"))}
		options := IPv4{Src: Client, Dst: VIP4, Protocol: portrules.ProtoUDP, Options: []byte{1, 1, 1, 0},
			Payload: UDP(netip.AddrPortFrom(Client, 1), netip.AddrPortFrom(VIP4, 2), []byte("odd"))}
		for name, tt := range map[string]struct {
			frame []byte
			last  gopacket.LayerType
		}{
			"tcp":        {TCPFrame(f.from, f.web, SYN), layers.LayerTypeTCP},
			"udp":        {UDPFrame(f.from, f.plain), layers.LayerTypeUDP},
			"echo 4":     {EchoFrame(Client, VIP4), layers.LayerTypeICMPv4},
			"echo 6":     {EchoFrame(Client6, VIP6), layers.LayerTypeICMPv6Echo},
			"solicit":    {SolicitFrame(Client6, VIP6, VIP6), layers.LayerTypeICMPv6NeighborSolicitation},
			"advert":     {AdvertFrame(Client6, VIP6, VIP6), layers.LayerTypeICMPv6NeighborAdvertisement},
			"arp":        {Ethernet(portrules.EtherTypeARP, ARP(1, Client, VIP4)), layers.LayerTypeARP},
			"extensions": {Ethernet(portrules.EtherTypeIPv6, extended.Bytes()), layers.LayerTypeTCP},
			"options":    {Ethernet(portrules.EtherTypeIPv4, options.Bytes()), layers.LayerTypeUDP},
		} {
			pkt := gopacket.NewPacket(tt.frame, layers.LayerTypeEthernet, gopacket.Default)
			if err := pkt.ErrorLayer(); err != nil {
				t.Errorf("%s %s: %v", f.name, name, err.Error())
			}
			if pkt.Layer(tt.last) == nil {
				t.Errorf("%s %s: no %v in %v", f.name, name, tt.last, pkt)
			}
			for _, layer := range pkt.Layers() {
				if l, ok := layer.(interface {
					SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
				}); ok {
					if err := l.SetNetworkLayerForChecksum(pkt.NetworkLayer()); err != nil {
						t.Errorf("%s %s: %v", f.name, name, err)
					}
				}
			}
			err, wrong := pkt.VerifyChecksums()
			if err != nil || len(wrong) > 0 {
				t.Errorf("%s %s: checksums: %v, %+v", f.name, name, err, wrong)
			}
		}
	}
}

// The parser reads of a built frame what gopacket does.
func TestParseAgainstGopacket(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	p := RandomPolicy(rng)
	compared := 0
	for range 5000 {
		frame := randomFrame(rng, p)
		got := portrules.Parse(frame)
		other := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.NoCopy)
		if got.Malformed || other.ErrorLayer() != nil || other.NetworkLayer() == nil {
			continue // each has its own idea of the limits
		}
		src, dst := other.NetworkLayer().NetworkFlow().Endpoints()
		if string(src.Raw()) != string(got.Src.AsSlice()) || string(dst.Raw()) != string(got.Dst.AsSlice()) {
			t.Fatalf("addresses %v to %v, gopacket says %v to %v", got.Src, got.Dst, src, dst)
		}
		if layer, ok := other.TransportLayer().(*layers.TCP); ok {
			compared++
			if got.SrcPort != uint16(layer.SrcPort) || got.DstPort != uint16(layer.DstPort) || got.SYN != (layer.SYN && !layer.ACK) {
				t.Fatalf("%+v, gopacket says %+v", got, layer)
			}
		}
		if layer, ok := other.TransportLayer().(*layers.UDP); ok {
			compared++
			if got.SrcPort != uint16(layer.SrcPort) || got.DstPort != uint16(layer.DstPort) {
				t.Fatalf("%+v, gopacket says %+v", got, layer)
			}
		}
	}
	if compared < 1000 {
		t.Errorf("only %d transport headers compared", compared)
	}
	t.Logf("%d transport headers compared", compared)
}

func TestRandomIsReproducible(t *testing.T) {
	generate := func() (out []byte) {
		rng := rand.New(rand.NewPCG(7, 8))
		p := RandomPolicy(rng)
		for range 200 {
			out = append(out, Random(rng, p)...)
		}
		return out
	}
	if string(generate()) != string(generate()) {
		t.Error("the same seed gave different frames")
	}
}
