package frames

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/opennlb/opennlb/portrules"
)

// Paragraphs 3, 5 and 8: every way to cut a frame short.
func (f family) truncatedVectors() []Vector {
	p := mine()
	syn, datagram, echo := TCPFrame(f.from, f.web, SYN), UDPFrame(f.from, f.dns), EchoFrame(f.client, f.vip)
	fixed := 14 + 20
	if f.vip.Is6() {
		fixed = 14 + 40
	}
	cut := func(name string, frame []byte, length int) Vector {
		return Vector{Name: fmt.Sprintf("%s cut to %d bytes", name, length), Policy: p, Frame: slices.Clone(frame[:length])}
	}
	data := Frame(f.client, f.vip, portrules.ProtoTCP, TCP(f.from, f.web, ACK, []byte("data")))
	padded := Vector{Name: "tcp with padding", Policy: p, Frame: append(slices.Clone(syn), make([]byte, 6)...)}
	return []Vector{
		cut("tcp", syn, 14).pass(),
		cut("tcp", syn, fixed-1).pass(),
		cut("tcp", syn, fixed).drop(portrules.Malformed, -1),
		cut("tcp", syn, fixed+19).drop(portrules.Malformed, -1),
		cut("tcp", syn, fixed+20).accept(portrules.New, Web),
		cut("tcp with data", data, fixed+22).accept(portrules.Owner, Web),
		padded.accept(portrules.New, Web),
		cut("udp", datagram, fixed+7).drop(portrules.Malformed, -1),
		cut("udp", datagram, fixed+8).accept(portrules.Owner, f.dnsRule()),
		cut("echo", echo, fixed).accept(portrules.DefaultHost, -1),
	}
}

// Paragraph 5, IPv4: the header length.
func headerVectors() []Vector {
	p := mine()
	from, web := netip.AddrPortFrom(Client, ClientPort), netip.AddrPortFrom(VIP4, 80)
	syn := TCP(from, web, SYN, nil)
	options := func(n int) Vector {
		return Vector{Name: fmt.Sprintf("ipv4 with %d bytes of options", n), Policy: p, Frame: Ethernet(portrules.EtherTypeIPv4,
			IPv4{Src: Client, Dst: VIP4, Protocol: portrules.ProtoTCP, Options: make([]byte, n), Payload: syn}.Bytes())}
	}
	words := func(n uint8) Vector {
		v := Vector{Name: fmt.Sprintf("ipv4 claiming a header of %d words", n), Policy: p, Frame: TCPFrame(from, web, SYN)}
		v.Frame[14] = 4<<4 | n
		return v
	}
	cut := func(v Vector, length int) Vector {
		v.Name = fmt.Sprintf("%s, cut to %d bytes", v.Name, length)
		v.Frame = v.Frame[:length]
		return v
	}
	dedicated := words(4)
	dedicated.Name += ", to the dedicated address"
	copy(dedicated.Frame[30:], Own4.AsSlice())
	return []Vector{
		options(4).accept(portrules.New, Web),
		options(40).accept(portrules.New, Web),
		cut(options(40), 14+60+20).accept(portrules.New, Web),
		cut(options(40), 14+60+19).drop(portrules.Malformed, -1),
		cut(options(40), 14+60).drop(portrules.Malformed, -1),
		cut(options(40), 14+59).drop(portrules.Malformed, -1),
		cut(options(4), 14+20).drop(portrules.Malformed, -1),
		words(0).drop(portrules.Malformed, -1),
		words(4).drop(portrules.Malformed, -1),
		words(11).drop(portrules.Malformed, -1), // beyond the frame
		words(10).drop(portrules.Malformed, -1), // at its end: nothing left for TCP
		dedicated.pass(),
	}
}

// Paragraph 5, IPv6: extension headers.
func extensionVectors() []Vector {
	p := mine()
	from, web := netip.AddrPortFrom(Client6, ClientPort), netip.AddrPortFrom(VIP6, 80)
	syn := TCP(from, web, SYN, nil)
	packet := func(name string, extensions ...Extension) Vector {
		return Vector{Name: "ipv6 " + name, Policy: p, Frame: Ethernet(portrules.EtherTypeIPv6,
			IPv6{Src: Client6, Dst: VIP6, Protocol: portrules.ProtoTCP, Extensions: extensions, Payload: syn}.Bytes())}
	}
	cut := func(v Vector, length int) Vector {
		v.Name = fmt.Sprintf("%s, cut to %d bytes", v.Name, length)
		v.Frame = v.Frame[:length]
		return v
	}
	hop, routing, options := OptionsHeader(HopByHop, 8), OptionsHeader(Routing, 24), OptionsHeader(Destination, 16)
	six := []Extension{hop, options, routing, AuthHeader(24), options, hop}
	none := Vector{Name: "ipv6 extension and no next header", Policy: p, Frame: Ethernet(portrules.EtherTypeIPv6,
		IPv6{Src: Client6, Dst: VIP6, Protocol: NoNext, Extensions: []Extension{hop}}.Bytes())}
	esp := Vector{Name: "ipv6 extension and esp", Policy: p, Frame: Ethernet(portrules.EtherTypeIPv6,
		IPv6{Src: Client6, Dst: VIP6, Protocol: 50, Extensions: []Extension{hop}, Payload: syn}.Bytes())}
	key := portrules.FragmentKey{Src: Client6, Dst: VIP6, ID: 0x12345678, Protocol: portrules.ProtoTCP}
	behind := func(v Vector, k portrules.FragmentKey) Vector { v.Fragment = k; return v }
	wide := key
	wide.ID &= 0xffff
	optionsKey := key
	optionsKey.Protocol = Destination
	records := func(v Vector) Vector { v.Records = true; return v }
	plain := Vector{Name: "ipv6 later fragment keeps 32 bits of its id", Policy: p, Fragment: wide, Frame: Ethernet(portrules.EtherTypeIPv6,
		IPv6{Src: Client6, Dst: VIP6, Protocol: portrules.ProtoTCP, Extensions: []Extension{FragmentHeader(0x12345678, 8, true)}, Payload: make([]byte, 16)}.Bytes())}
	return []Vector{
		plain.accept(portrules.EarlyFragment, -1),
		packet("hop-by-hop", hop).accept(portrules.New, Web),
		packet("routing", routing).accept(portrules.New, Web),
		packet("destination options", options).accept(portrules.New, Web),
		packet("authentication", AuthHeader(12)).accept(portrules.New, Web),
		packet("authentication, odd words", AuthHeader(20)).accept(portrules.New, Web),
		packet("long options", OptionsHeader(Destination, 1400)).accept(portrules.New, Web),
		cut(packet("longest claim of options", OptionsHeader(Destination, 2048)), 1514).drop(portrules.Malformed, -1),
		packet("six extensions", six...).accept(portrules.New, Web),
		packet("seven extensions", append(slices.Clone(six), options)...).drop(portrules.Malformed, -1),
		packet("seven extensions, the last a later fragment", append(slices.Clone(six), FragmentHeader(0x12345678, 8, true))...).drop(portrules.Malformed, -1),
		cut(packet("hop-by-hop", hop), 14+40).drop(portrules.Malformed, -1),
		cut(packet("hop-by-hop", hop), 14+40+7).drop(portrules.Malformed, -1),
		cut(packet("hop-by-hop", hop), 14+40+8).drop(portrules.Malformed, -1), // nothing left for TCP
		cut(packet("routing", routing), 14+40+23).drop(portrules.Malformed, -1),
		cut(packet("authentication", AuthHeader(12)), 14+40+11).drop(portrules.Malformed, -1),
		cut(packet("fragment header", FragmentHeader(1, 8, true)), 14+40+7).drop(portrules.Malformed, -1),
		none.accept(portrules.DefaultHost, -1),
		esp.accept(portrules.Owner, IKE),
		records(packet("first fragment behind options", hop, FragmentHeader(0x12345678, 0, true))).accept(portrules.New, Web),
		records(packet("first fragment before options", FragmentHeader(0x12345678, 0, true), options)).accept(portrules.New, Web),
		records(packet("two first fragments", FragmentHeader(1, 0, true), FragmentHeader(0x12345678, 0, true))).accept(portrules.New, Web),
		behind(packet("later fragment behind options", hop, FragmentHeader(0x12345678, 8, true)), key).accept(portrules.FragmentOf, -1),
		behind(packet("later fragment before options", FragmentHeader(0x12345678, 8, true), options), optionsKey).accept(portrules.FragmentOf, -1),
		behind(packet("later fragment of odd length before options, keyed by what follows them", FragmentHeader(0x12345678, 8, true), options), key).drop(portrules.StrayFragment, -1),
		behind(cut(packet("later fragment of what looks like options", FragmentHeader(0x12345678, 8, true), options), 14+40+8+4), optionsKey).accept(portrules.FragmentOf, -1),
		behind(packet("first fragment of a later fragment", FragmentHeader(1, 0, true), FragmentHeader(0x12345678, 8, true)), key).accept(portrules.FragmentOf, -1),
		behind(packet("later fragment of odd length keeps 32 bits of its id", FragmentHeader(0x12345678, 8, true)), wide).drop(portrules.StrayFragment, -1),
	}
}
