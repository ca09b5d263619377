package frames

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/opennlb/opennlb/portrules"
)

// Paragraphs 3 and 4: addressed to a VIP, lease.
func (f family) addressVectors() []Vector {
	p := mine()
	to := func(name string, dst netip.Addr, port uint16) Vector {
		return Vector{Name: name, Policy: p, Frame: TCPFrame(f.from, netip.AddrPortFrom(dst, port), SYN)}
	}
	expired := to("without a lease", f.vip, 80)
	expired.LeaseOver = true
	dedicated := to("to the dedicated address without a lease", f.own, 80)
	dedicated.LeaseOver = true
	cut := to("malformed without a lease", f.vip, 80)
	cut.LeaseOver, cut.Frame = true, cut.Frame[:len(cut.Frame)-1]
	disabled := to("to a disabled rule without a lease", f.vip, 6000)
	disabled.LeaseOver = true
	wrong := to("to a vip with a wrong version", f.vip, 80)
	wrong.Frame[14] ^= 0xf0
	swapped := to("to a vip with the other ethertype", f.vip, 80)
	binary.BigEndian.PutUint16(swapped.Frame[12:], portrules.EtherTypeIPv4^portrules.EtherTypeIPv6^binary.BigEndian.Uint16(swapped.Frame[12:]))
	tagged := to("to a vip in a vlan", f.vip, 80)
	binary.BigEndian.PutUint16(tagged.Frame[12:], 0x8100)
	own := to("to a vip with another destination mac", f.vip, 80)
	copy(own.Frame, []byte{2, 2, 2, 2, 2, 2})
	return []Vector{
		to("to the dedicated address", f.own, 80).pass(),
		to("to a vip", f.vip, 80).accept(portrules.New, Web),
		to("to the second vip", f.other, 80).accept(portrules.New, Web),
		own.accept(portrules.New, Web),
		Vector{Name: "from a vip to another host", Policy: p, Frame: TCPFrame(f.web, f.from, ACK)}.pass(),
		expired.drop(portrules.LeaseOver, -1),
		dedicated.pass(),
		cut.drop(portrules.LeaseOver, -1),
		disabled.drop(portrules.LeaseOver, -1),
		wrong.pass(),
		swapped.pass(),
		tagged.pass(),
	}
}

// Paragraph 9: which rule, and by it which table.
func (f family) ruleVectors() []Vector {
	only := func(table int) *portrules.Policy { return Policy(map[int]portrules.Flags{table: portrules.Own}) }
	tcp := func(table int, dst netip.Addr, port uint16) Vector {
		return Vector{Name: fmt.Sprintf("tcp port %d of %v by table %d", port, dst, table), Policy: only(table),
			Frame: TCPFrame(f.from, netip.AddrPortFrom(dst, port), SYN)}
	}
	udp := func(table int, dst netip.Addr, port uint16) Vector {
		return Vector{Name: fmt.Sprintf("udp port %d of %v by table %d", port, dst, table), Policy: only(table),
			Frame: UDPFrame(f.from, netip.AddrPortFrom(dst, port))}
	}
	first := tcp(WebTable, f.vip, 80)
	first.Name = "tcp to the first rule, disabled"
	first.Policy.Rules[Web].Mode = portrules.Disabled
	return []Vector{
		first.drop(portrules.RuleDisabled, Web),
		tcp(DefaultTable, f.vip, 79).accept(portrules.New, -1),
		tcp(WebTable, f.vip, 79).drop(portrules.NotOwner, -1),
		tcp(WebTable, f.vip, 80).accept(portrules.New, Web),
		tcp(DefaultTable, f.vip, 80).drop(portrules.NotOwner, Web),
		tcp(WebTable, f.other, 443).accept(portrules.New, Web),
		tcp(DefaultTable, f.vip, 444).accept(portrules.New, -1),
		udp(DefaultTable, f.vip, 80).accept(portrules.Owner, -1),
		udp(WebTable, f.vip, 80).drop(portrules.NotOwner, -1),
		udp(DNSTable, f.vip, 53).accept(portrules.Owner, f.dnsRule()),
		tcp(DNSTable, f.vip, 53).accept(portrules.New, f.dnsRule()),
		udp(DefaultTable, f.other, 53).accept(portrules.Owner, -1),
		tcp(DefaultTable, f.other, 53).accept(portrules.New, -1),
		tcp(SSHTable, f.vip, 22).accept(portrules.New, SSH),
		tcp(DNSTable, f.vip, 22).drop(portrules.NotOwner, SSH),
		tcp(DefaultTable, f.vip, 6000).drop(portrules.RuleDisabled, Off),
		udp(DefaultTable, f.vip, 6010).drop(portrules.RuleDisabled, Off),
		tcp(DefaultTable, f.vip, 7000).drop(portrules.Rejected, Closed),
		udp(DefaultTable, f.vip, 7000).drop(portrules.Rejected, Closed),
		tcp(WebTable, f.vip, 7000).drop(portrules.RuleDisabled, Closed),
		udp(DNSTable, f.vip, 7000).drop(portrules.RuleDisabled, Closed),
		tcp(DefaultTable, f.vip, 6011).accept(portrules.New, -1),
		udp(DNSTable, f.vip, 65535).accept(portrules.Owner, Last),
		tcp(DefaultTable, f.vip, 65535).accept(portrules.New, -1),
		udp(DefaultTable, f.vip, 0).accept(portrules.Owner, -1),
	}
}

// Paragraph 7: protocols without ports.
func (f family) protocolVectors() []Vector {
	echo := func(name string, flags portrules.Flags) Vector {
		return Vector{Name: "echo in a bucket " + name, Policy: Policy(map[int]portrules.Flags{DefaultTable: flags}),
			Frame: EchoFrame(f.client, f.vip)}
	}
	p := mine()
	p.Tables[DefaultTable] = portrules.Buckets{}
	return []Vector{
		echo("own", portrules.Own).accept(portrules.DefaultHost, -1),
		echo("own and foreign", portrules.Own|portrules.Foreign).accept(portrules.DefaultHost, -1),
		echo("residual", portrules.Residual).drop(portrules.NotDefault, -1),
		echo("of another", 0).drop(portrules.NotDefault, -1),
		Vector{Name: "echo asks the default table only", Policy: p, Frame: EchoFrame(f.client, f.vip)}.drop(portrules.NotDefault, -1),
		Vector{Name: "without a payload", Policy: mine(), Frame: f.packet(NoNext, nil)}.accept(portrules.DefaultHost, -1),
		Vector{Name: "echo of one client's bucket", Policy: OneBucket(DefaultTable, f.client.AsSlice()),
			Frame: EchoFrame(f.client, f.vip)}.accept(portrules.DefaultHost, -1),
		Vector{Name: "echo of another client's bucket", Policy: OneBucket(DefaultTable, f.client.Next().AsSlice()),
			Frame: EchoFrame(f.client, f.vip)}.drop(portrules.NotDefault, -1),
	}
}

// Paragraph 10: what is hashed.
func (f family) keyVectors() []Vector {
	address := f.client.AsSlice()
	withPort := append(f.client.AsSlice(), ClientPort>>8, ClientPort&0xff)
	prefix := make([]byte, len(address))
	copy(prefix, address[:3])
	if f.client.Is6() {
		copy(prefix, address[:8])
	}
	ssh := netip.AddrPortFrom(f.vip, 22)
	dns := f.dnsRule()
	one := func(name string, table int, key, frame []byte) Vector {
		return Vector{Name: "key of " + name, Policy: OneBucket(table, key), Frame: frame}
	}
	all := f.prefixVectors()
	return append(all,
		one("affinity none", WebTable, withPort, TCPFrame(f.from, f.web, SYN)).accept(portrules.New, Web),
		one("affinity none is not the address", WebTable, address, TCPFrame(f.from, f.web, SYN)).drop(portrules.NotOwner, Web),
		one("affinity none, next port", WebTable, withPort, TCPFrame(netip.AddrPortFrom(f.client, ClientPort+1), f.web, SYN)).drop(portrules.NotOwner, Web),
		one("affinity single", SSHTable, address, TCPFrame(f.from, ssh, SYN)).accept(portrules.New, SSH),
		one("affinity single, next port", SSHTable, address, TCPFrame(netip.AddrPortFrom(f.client, ClientPort+1), ssh, SYN)).accept(portrules.New, SSH),
		one("affinity single is not the prefix", SSHTable, prefix, TCPFrame(f.from, ssh, SYN)).drop(portrules.NotOwner, SSH),
		one("affinity network", DNSTable, prefix, UDPFrame(f.from, f.dns)).accept(portrules.Owner, dns),
		one("affinity network, next client", DNSTable, prefix, UDPFrame(netip.AddrPortFrom(f.client.Next(), 5), f.dns)).accept(portrules.Owner, dns),
		one("affinity network is not the address", DNSTable, address, UDPFrame(f.from, f.dns)).drop(portrules.NotOwner, dns),
		one("no rule", DefaultTable, address, TCPFrame(f.from, f.plain, SYN)).accept(portrules.New, -1),
		one("no rule is not the port", DefaultTable, withPort, TCPFrame(f.from, f.plain, SYN)).drop(portrules.NotOwner, -1),
	)
}

// prefixVectors: of the client all bits are hashed that the prefix length says, and
// no other.
func (f family) prefixVectors() []Vector {
	lengths := []int{8, 9, 23, 25, 31, 32}
	if f.client.Is6() {
		lengths = []int{16, 17, 48, 63, 65, 127, 128}
	}
	dns := f.dnsRule()
	var all []Vector
	for _, n := range lengths {
		prefix, _ := f.client.Prefix(n)
		policy := OneBucket(DNSTable, prefix.Addr().AsSlice())
		for _, rule := range []int{DNS, DNS6} {
			policy.Rules[rule].PrefixV4, policy.Rules[rule].PrefixV6 = uint8(n), 128
			if f.client.Is6() {
				policy.Rules[rule].PrefixV4, policy.Rules[rule].PrefixV6 = 32, uint8(n)
			}
		}
		from := func(name string, client netip.Addr) Vector {
			return Vector{Name: fmt.Sprintf("key of prefix %d, %s", n, name), Policy: policy, Frame: UDPFrame(netip.AddrPortFrom(client, 5), f.dns)}
		}
		all = append(all,
			from("client", f.client).accept(portrules.Owner, dns),
			from("last bit differs", flip(f.client, n-1)).drop(portrules.NotOwner, dns))
		if n < f.client.BitLen() {
			all = append(all, from("next bit differs", flip(f.client, n)).accept(portrules.Owner, dns))
		}
	}
	return all
}

// flip changes one bit, counted from the first.
func flip(a netip.Addr, bit int) netip.Addr {
	b := a.AsSlice()
	b[bit/8] ^= 0x80 >> (bit % 8)
	flipped, _ := netip.AddrFromSlice(b)
	return flipped
}
