package frames

import (
	"net/netip"

	"github.com/opennlb/opennlb/portrules"
)

const fragmentID = 0xabcd

// fragment returns a frame with a fragment to the family's VIP.
func (f family) fragment(protocol uint8, offset int, more bool, payload []byte) []byte {
	if f.vip.Is4() {
		return Ethernet(portrules.EtherTypeIPv4, IPv4{Src: f.client, Dst: f.vip, Protocol: protocol,
			ID: fragmentID, Offset: offset, More: more, Payload: payload}.Bytes())
	}
	return Ethernet(portrules.EtherTypeIPv6, IPv6{Src: f.client, Dst: f.vip, Protocol: protocol,
		Extensions: []Extension{FragmentHeader(fragmentID, offset, more)}, Payload: payload}.Bytes())
}

// Paragraph 6.
func (f family) fragmentVectors() []Vector {
	const udp, tcp = portrules.ProtoUDP, portrules.ProtoTCP
	key := portrules.FragmentKey{Src: f.client, Dst: f.vip, ID: fragmentID, Protocol: udp}
	first := UDP(f.from, f.dns, make([]byte, 16))
	syn := TCP(f.from, f.web, SYN, nil)
	// The ports of a disabled rule, where a careless engine would look for them.
	rest := UDP(f.from, netip.AddrPortFrom(f.vip, 6000), make([]byte, 16))
	echo := Vector{Name: "first fragment of an echo", Frame: f.fragment(f.echoProtocol(), 0, true, make([]byte, 16)), Policy: mine(), Records: true}

	whole := func(name string, p *portrules.Policy, protocol uint8, payload []byte) Vector {
		return Vector{Name: name, Policy: p, Frame: f.fragment(protocol, 0, true, payload)}
	}
	later := func(name string, protocol uint8, offset int, more bool, known portrules.FragmentKey) Vector {
		return Vector{Name: "later fragment, " + name, Policy: mine(), Frame: f.fragment(protocol, offset, more, rest), Fragment: known}
	}
	records := func(v Vector) Vector { v.Records = true; return v }
	otherID, otherProtocol, otherSource, otherTarget := key, key, key, key
	otherID.ID ^= 0x100
	otherProtocol.Protocol = tcp
	otherSource.Src = f.client.Next()
	otherTarget.Dst = f.other
	refuses := func(v Vector) Vector { v.Refuses = true; return v }
	adorned := later("unknown, with options or extensions", udp, 1480, true, portrules.FragmentKey{})
	adorned.Frame = f.adornedFragment(rest)
	refused := later("of another", udp, 1480, true, key)
	refused.Refused = true
	expired := later("without a lease", udp, 1480, true, key)
	expired.LeaseOver = true
	short := later("of one byte", udp, 1480, false, key)
	short.Frame = f.fragment(udp, 1480, false, []byte{1})
	disowned := later("bucket of another", udp, 1480, false, key)
	disowned.Policy = theirs()
	atomic := Vector{Name: "offset zero and no more is no fragment", Policy: mine(), Frame: f.fragment(udp, 0, false, first)}

	return []Vector{
		records(whole("first fragment of udp", mine(), udp, first)).accept(portrules.Owner, f.dnsRule()),
		records(whole("first fragment of tcp", mine(), tcp, syn)).accept(portrules.New, Web),
		refuses(whole("first fragment, bucket of another", theirs(), udp, first)).drop(portrules.NotOwner, f.dnsRule()),
		refuses(whole("first fragment, disabled", mine(), udp, rest)).drop(portrules.RuleDisabled, Off),
		refuses(whole("first fragment of an echo of another", theirs(), f.echoProtocol(), make([]byte, 16))).drop(portrules.NotDefault, -1),
		adorned.drop(portrules.StrayFragment, -1),
		refused.drop(portrules.StrayFragment, -1),
		whole("first fragment too small for tcp", mine(), tcp, syn[:16]).drop(portrules.Malformed, -1),
		echo.accept(portrules.DefaultHost, -1),
		later("known, more to come", udp, 1480, true, key).accept(portrules.FragmentOf, -1),
		later("known, the last", udp, 2960, false, key).accept(portrules.FragmentOf, -1),
		later("smallest offset", udp, 8, false, key).accept(portrules.FragmentOf, -1),
		later("offset of the top bit", udp, 4096*8, true, key).accept(portrules.FragmentOf, -1),
		later("largest offset", udp, 8191*8, true, key).accept(portrules.FragmentOf, -1),
		short.accept(portrules.FragmentOf, -1),
		disowned.accept(portrules.FragmentOf, -1),
		later("unknown, up to the end", udp, 65504, false, portrules.FragmentKey{}).accept(portrules.EarlyFragment, -1),
		later("unknown", udp, 1480, true, portrules.FragmentKey{}).accept(portrules.EarlyFragment, -1),
		later("other id", udp, 1480, true, otherID).accept(portrules.EarlyFragment, -1),
		later("other protocol", udp, 1480, true, otherProtocol).accept(portrules.EarlyFragment, -1),
		later("other source", udp, 1480, true, otherSource).accept(portrules.EarlyFragment, -1),
		later("other destination", udp, 1480, true, otherTarget).accept(portrules.EarlyFragment, -1),
		later("of tcp", tcp, 1480, true, otherProtocol).accept(portrules.FragmentOf, -1),
		expired.drop(portrules.LeaseOver, -1),
		atomic.accept(portrules.Owner, f.dnsRule()),
	}
}

// adornedFragment is a later fragment on which kernels look at more than the fragment.
func (f family) adornedFragment(payload []byte) []byte {
	if f.vip.Is4() {
		return Ethernet(portrules.EtherTypeIPv4, IPv4{Src: f.client, Dst: f.vip, Protocol: portrules.ProtoUDP,
			ID: fragmentID, Offset: 1480, More: true, Options: make([]byte, 4), Payload: payload}.Bytes())
	}
	return Ethernet(portrules.EtherTypeIPv6, IPv6{Src: f.client, Dst: f.vip, Protocol: portrules.ProtoUDP, Payload: payload,
		Extensions: []Extension{OptionsHeader(HopByHop, 8), FragmentHeader(fragmentID, 1480, true)}}.Bytes())
}

func (f family) echoProtocol() uint8 {
	if f.vip.Is4() {
		return ICMP
	}
	return portrules.ProtoICMPv6
}
