package frames

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/opennlb/opennlb/portrules"
)

// Paragraph 7: ICMP errors, from a router on the way to the client.
func (f family) errorVectors() []Vector {
	only := func(table int, flags portrules.Flags) *portrules.Policy {
		return Policy(map[int]portrules.Flags{table: flags})
	}
	mtu := f.mtuError()
	tcp := TCP(f.web, f.from, ACK, []byte("data"))
	about := func(name string, p *portrules.Policy, quoted []byte) Vector {
		return Vector{Name: "error " + name, Policy: p, Frame: ErrorFrame(f.router(), f.vip, mtu, quoted)}
	}
	web := func(name string, flags portrules.Flags) Vector {
		return about(name, only(WebTable, flags), f.sent(portrules.ProtoTCP, tcp))
	}
	has := func(v Vector) Vector { v.Socket = portrules.Flow{Src: f.from, Dst: f.web}; return v }
	nat := func(v Vector) Vector { v.NAT = portrules.Flow{Src: f.from, Dst: f.web}; return v }
	turned := web("about a flow in the other direction", portrules.Residual)
	turned.Socket = portrules.Flow{Src: netip.AddrPortFrom(f.client, 80), Dst: netip.AddrPortFrom(f.vip, ClientPort)}
	expired := web("without a lease", portrules.Own)
	expired.LeaseOver = true

	var all []Vector
	for kind := range uint8(14) { // whoever has the rule's table is not the default host
		if f.vip.Is6() {
			kind = (kind + 123) % 131 // 123 to 130, 0 to 5: echoes too
		}
		v := Vector{Name: fmt.Sprintf("icmp type %d quoting tcp", kind), Policy: only(WebTable, portrules.Own),
			Frame: ErrorFrame(f.router(), f.vip, kind, f.sent(portrules.ProtoTCP, tcp))}
		if slices.Contains(f.errorTypes(), kind) {
			all = append(all, v.accept(portrules.Owner, Web))
		} else {
			all = append(all, v.drop(portrules.NotDefault, -1))
		}
	}
	key := append(f.client.AsSlice(), ClientPort>>8, ClientPort&0xff)
	syn := f.sent(portrules.ProtoTCP, TCP(f.web, f.from, SYN, nil))
	dns := f.dnsRule()
	answer := f.sent(portrules.ProtoUDP, UDP(f.dns, f.from, []byte("answer")))
	off := f.sent(portrules.ProtoUDP, UDP(netip.AddrPortFrom(f.vip, 6000), f.from, nil))
	all = append(all,
		web("own", portrules.Own).accept(portrules.Owner, Web),
		web("foreign", portrules.Own|portrules.Foreign).drop(portrules.ForeignHeld, Web),
		has(web("foreign, socket", portrules.Own|portrules.Foreign)).accept(portrules.Established, Web),
		nat(web("foreign, nat", portrules.Own|portrules.Foreign)).accept(portrules.Established, Web),
		web("residual", portrules.Residual).drop(portrules.NotOwner, Web),
		has(web("residual, socket", portrules.Residual)).accept(portrules.ResidualConn, Web),
		nat(web("residual, nat", portrules.Residual)).accept(portrules.ResidualConn, Web),
		has(web("of another", 0)).drop(portrules.NotOwner, Web),
		turned.drop(portrules.NotOwner, Web),
		expired.drop(portrules.LeaseOver, -1),
		about("about a syn is no new flow", only(WebTable, portrules.Own|portrules.Foreign), syn).drop(portrules.ForeignHeld, Web),
		about("by the client's bucket", OneBucket(WebTable, key), f.sent(portrules.ProtoTCP, tcp)).accept(portrules.Owner, Web),
		about("about udp", only(DNSTable, portrules.Own), answer).accept(portrules.Owner, dns),
		about("about udp, foreign", only(DNSTable, portrules.Own|portrules.Foreign), answer).accept(portrules.Owner, dns),
		about("about udp, residual", only(DNSTable, portrules.Residual), answer).drop(portrules.NotOwner, dns),
		about("about a disabled rule", mine(), off).drop(portrules.RuleDisabled, Off),
		about("about a port without a rule", only(DefaultTable, portrules.Own),
			f.sent(portrules.ProtoTCP, TCP(f.plain, f.from, ACK, nil))).accept(portrules.Owner, -1),
	)
	return slices.Concat(all, f.quoteVectors(), f.familyErrorVectors())
}

// quoteVectors are errors with something else inside than a packet of a flow: default
// host, whoever has the rule's table.
func (f family) quoteVectors() []Vector {
	tcp := TCP(f.web, f.from, ACK, nil)
	whole := f.sent(portrules.ProtoTCP, tcp)
	header := len(whole) - len(tcp)
	var all []Vector
	unknown := func(name string, quoted []byte) {
		frame := ErrorFrame(f.router(), f.vip, f.mtuError(), quoted)
		all = append(all,
			Vector{Name: "error " + name, Policy: Policy(map[int]portrules.Flags{WebTable: portrules.Own}), Frame: frame}.drop(portrules.NotDefault, -1),
			Vector{Name: "error " + name + ", default host", Policy: Policy(map[int]portrules.Flags{DefaultTable: portrules.Own}), Frame: frame}.accept(portrules.DefaultHost, -1))
	}
	for _, n := range []int{0, 1, header - 1, header, header + 7} {
		unknown(fmt.Sprintf("quoting %d bytes", n), whole[:n])
	}
	version := slices.Clone(whole)
	version[0] ^= 0xf0
	stranger := f
	stranger.vip = f.own
	sibling := f
	sibling.vip = f.other
	unknown("quoting a wrong version", version)
	unknown("quoting a packet of the dedicated address", stranger.sent(portrules.ProtoTCP, tcp))
	unknown("quoting a packet of the other vip", sibling.sent(portrules.ProtoTCP, tcp))
	unknown("quoting a packet of the client", frameIP(f.client, f.vip, portrules.ProtoTCP, tcp))
	unknown("quoting an echo", f.sent(f.echoProtocol(), make([]byte, 16)))
	unknown("quoting an error", ErrorFrame(f.vip, f.router(), f.mtuError(), whole)[14:])
	cut := ErrorFrame(f.router(), f.vip, f.mtuError(), whole)
	unknownCut := Vector{Name: "error of 7 bytes", Policy: Policy(map[int]portrules.Flags{WebTable: portrules.Own}),
		Frame: cut[:14+header+7]}
	enough := Vector{Name: "error quoting 8 bytes of tcp", Policy: Policy(map[int]portrules.Flags{WebTable: portrules.Own}),
		Frame: ErrorFrame(f.router(), f.vip, f.mtuError(), whole[:header+8])}
	return append(all, unknownCut.drop(portrules.NotDefault, -1), enough.accept(portrules.Owner, Web))
}

// familyErrorVectors are about options, extension headers and fragments, in and
// around the quote.
func (f family) familyErrorVectors() []Vector {
	own := Policy(map[int]portrules.Flags{WebTable: portrules.Own, DNSTable: portrules.Own})
	tcp, udp := TCP(f.web, f.from, ACK, nil), UDP(f.dns, f.from, make([]byte, 16))
	about := func(name string, quoted []byte) Vector {
		return Vector{Name: "error " + name, Policy: own, Frame: ErrorFrame(f.router(), f.vip, f.mtuError(), quoted)}
	}
	outer := Vector{Name: "error, first fragment", Policy: own, Records: true}
	message := ErrorFrame(f.client, f.vip, f.mtuError(), f.sent(portrules.ProtoTCP, tcp))
	if f.vip.Is4() {
		ip := IPv4{Src: f.vip, Dst: f.client, Protocol: portrules.ProtoUDP, ID: 9, Payload: udp}
		first, later, options, short := ip, ip, ip, ip
		first.More, later.Offset = true, 8
		options.Options = make([]byte, 40)
		header := first.Bytes()
		header[0] = 4<<4 | 4
		long := short.Bytes()
		long[0] = 4<<4 | 15 // beyond the end
		outer.Frame = f.fragment(ICMP, 0, true, message[14+20:])
		return []Vector{
			about("about a first fragment", first.Bytes()).accept(portrules.Owner, DNS),
			about("about a later fragment", later.Bytes()).drop(portrules.NotDefault, -1),
			about("about a packet with options", options.Bytes()).accept(portrules.Owner, DNS),
			about("quoting a short header", header).drop(portrules.NotDefault, -1),
			about("quoting a header that is cut off", long[:28]).drop(portrules.NotDefault, -1),
			outer.accept(portrules.Owner, Web),
		}
	}
	ip := IPv6{Src: f.vip, Dst: f.client, Protocol: portrules.ProtoUDP, Payload: udp}
	with := func(e ...Extension) []byte { ip.Extensions = e; return ip.Bytes() }
	hop, options := OptionsHeader(HopByHop, 8), OptionsHeader(Destination, 1024)
	outer.Frame = f.fragment(portrules.ProtoICMPv6, 0, true, message[14+40:])
	behind := Vector{Name: "error behind extensions", Policy: own, Frame: Ethernet(portrules.EtherTypeIPv6, IPv6{Src: f.router(), Dst: f.vip,
		Protocol: portrules.ProtoICMPv6, Extensions: []Extension{hop, hop}, Payload: message[14+40:]}.Bytes())}
	return []Vector{
		about("about a first fragment", with(FragmentHeader(9, 0, true))).accept(portrules.Owner, DNS6),
		about("about a later fragment", with(FragmentHeader(9, 8, true))).drop(portrules.NotDefault, -1),
		about("about a packet with extensions", with(hop, options, AuthHeader(16))).accept(portrules.Owner, DNS6),
		about("about a packet with an extension that is cut off", with(hop, options)[:40+8+1000]).drop(portrules.NotDefault, -1),
		about("about a packet with seven extensions", with(hop, hop, hop, hop, hop, hop, hop)).drop(portrules.NotDefault, -1),
		behind.accept(portrules.Owner, Web),
		outer.accept(portrules.Owner, Web),
	}
}

// sent returns an IP packet from the VIP to the client.
func (f family) sent(protocol uint8, payload []byte) []byte {
	return frameIP(f.vip, f.client, protocol, payload)
}

func frameIP(src, dst netip.Addr, protocol uint8, payload []byte) []byte {
	return Frame(src, dst, protocol, payload)[14:]
}

// router is where errors come from: not the client.
func (f family) router() netip.Addr { return f.client.Next().Next() }

// mtuError is the type of the error that path-MTU discovery needs.
func (f family) mtuError() uint8 {
	if f.vip.Is4() {
		return 3
	}
	return 2
}

func (f family) errorTypes() []uint8 {
	if f.vip.Is4() {
		return []uint8{3, 11, 12}
	}
	return []uint8{1, 2, 3, 4}
}
