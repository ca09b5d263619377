package afpacket

import (
	"encoding/binary"
	"net"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/opennlb/opennlb/portrules"
)

// rule is a rule of nftables: steps that must all match, the last is what happens.
type rule []step

// step is one part of a rule, as the kernel's virtual machine takes it. All use the
// same register, one after the other.
type step []expr.Any

func (r rule) expressions() []expr.Any {
	var all []expr.Any
	for _, s := range r {
		all = append(all, s...)
	}
	return all
}

const register = 1

var (
	drop   = step{&expr.Verdict{Kind: expr.VerdictDrop}}
	accept = step{&expr.Verdict{Kind: expr.VerdictAccept}}
)

// ingress does in the kernel what needs no decision (docs/DECISION.md, 1 and 2),
// lets in what the injector sends, and drops everything else for a VIP.
func (g *guard) ingress(own net.HardwareAddr) []rule {
	arp, ip4, ip6 := arpOfIPv4(), ipVersion(portrules.EtherTypeIPv4, 4), ipVersion(portrules.EtherTypeIPv6, 6)
	arpReply, arpSender, arpTarget := equal(network, 6, 0, 2), uint32(14), uint32(24)
	solicit, advert := equal(network, 40, 135), join(equal(network, 40, 136), loadable(network, 40, 24))
	icmp6, target, toVIP6 := equal(network, 6, portrules.ProtoICMPv6), uint32(48), in(g.v6, 24)
	broadcast := isPacket(unix.PACKET_BROADCAST)
	toOwn := join(setField(link, 0, own), setPacket(unix.PACKET_HOST))
	return []rule{
		{isMark(g.way.mark), setMark(0), setPacket(unix.PACKET_HOST), accept},
		{equal(link, 12, 0x81, 0x00), otherVLAN(), accept},
		{equal(link, 12, 0x88, 0xa8), otherVLAN(), accept},
		{secondTag(etherTypeVLAN), noVLAN(), drop},
		{secondTag(etherTypeQinQ), noVLAN(), drop},
		{arp, in(g.v4, arpSender), drop},
		{arp, in(g.v4, arpTarget), arpReply, broadcast, accept},
		{arp, in(g.v4, arpTarget), arpReply, toOwn, accept},
		{arp, in(g.v4, arpTarget), drop},
		{ip4, in(g.v4, 16), drop},
		{ip6, icmp6, solicit, in(g.v6, target), drop},
		{ip6, icmp6, advert, in(g.v6, target), drop},
		{ip6, icmp6, advert, toVIP6, broadcast, accept},
		{ip6, icmp6, advert, toVIP6, toOwn, accept},
		{ip6, toVIP6, drop},
	}
}

// egress keeps the cluster MAC from the switches' tables: no frame has it as its
// source, and whoever speaks for a VIP in ARP names it.
func (g *guard) egress(source, cluster net.HardwareAddr) []rule {
	arp, ip4, ip6 := arpOfIPv4(), ipVersion(portrules.EtherTypeIPv4, 4), ipVersion(portrules.EtherTypeIPv6, 6)
	fromSource := setField(link, 6, source)
	return []rule{
		{arp, in(g.v4, 14), setField(network, 8, cluster), fromSource},
		{ip4, in(g.v4, 12), fromSource},
		{ip6, in(g.v6, 8), fromSource},
		{equal(link, 6, cluster...), fromSource},
	}
}

const (
	link    = expr.PayloadBaseLLHeader
	network = expr.PayloadBaseNetworkHeader
)

// equal compares bytes of the packet; what is too short matches not.
func equal(base expr.PayloadBase, offset uint32, want ...byte) step {
	return step{load(base, offset, len(want)), compare(want)}
}

// loadable matches packets that have so many bytes at an offset.
func loadable(base expr.PayloadBase, offset uint32, length int) step {
	return step{load(base, offset+uint32(length)-1, 1)}
}

func load(base expr.PayloadBase, offset uint32, length int) expr.Any {
	return &expr.Payload{DestRegister: register, Base: base, Offset: offset, Len: uint32(length)}
}

// mask keeps some bits of what was loaded.
func mask(bits ...byte) expr.Any {
	return &expr.Bitwise{
		SourceRegister: register, DestRegister: register, Len: uint32(len(bits)), Mask: bits, Xor: make([]byte, len(bits)),
	}
}

func compare(want []byte) expr.Any {
	return &expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: want}
}

// in looks an address of the packet up in a set.
func in(set *nftables.Set, offset uint32) step {
	return step{
		load(network, offset, int(set.KeyType.Bytes)),
		&expr.Lookup{SourceRegister: register, SetName: set.Name, SetID: set.ID},
	}
}

func protocol(etherType uint16) step {
	return step{
		&expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: register},
		compare(binary.BigEndian.AppendUint16(nil, etherType)),
	}
}

// arpOfIPv4 matches complete ARP for IPv4 over Ethernet: protocol type, sizes of both
// addresses.
func arpOfIPv4() step {
	return join(protocol(portrules.EtherTypeARP), loadable(network, 0, 28), equal(network, 2, 8, 0, 6, 4))
}

// ipVersion matches IP packets whose own version is that of their EtherType.
func ipVersion(etherType uint16, version byte) step {
	return join(protocol(etherType), step{load(network, 0, 1), mask(0xf0), compare([]byte{version << 4})})
}

func isMark(m uint32) step {
	return step{&expr.Meta{Key: expr.MetaKeyMARK, Register: register}, compare(binary.NativeEndian.AppendUint32(nil, m))}
}

func setMark(m uint32) step {
	return step{
		&expr.Immediate{Register: register, Data: binary.NativeEndian.AppendUint32(nil, m)},
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: register},
	}
}

func isPacket(kind byte) step {
	return step{&expr.Meta{Key: expr.MetaKeyPKTTYPE, Register: register}, compare([]byte{kind})}
}

func setPacket(kind byte) step {
	return step{
		&expr.Immediate{Register: register, Data: []byte{kind}},
		&expr.Meta{Key: expr.MetaKeyPKTTYPE, SourceRegister: true, Register: register},
	}
}

func setField(base expr.PayloadBase, offset uint32, value []byte) step {
	return step{
		&expr.Immediate{Register: register, Data: value},
		&expr.Payload{OperationType: expr.PayloadWrite, SourceRegister: register, Base: base, Offset: offset, Len: uint32(len(value))},
	}
}

// otherVLAN matches a tag with a number; 0 only gives the frame a priority.
func otherVLAN() step {
	return step{
		load(link, 14, 2),
		mask(0x0f, 0xff),
		&expr.Cmp{Op: expr.CmpOpNeq, Register: register, Data: []byte{0, 0}},
	}
}

// EtherTypes of tags (IEEE 802.1Q).
const (
	etherTypeVLAN = 0x8100
	etherTypeQinQ = 0x88a8
)

// secondTag matches frames with a tag behind the one that the kernel has taken off: it calls
// that tag the protocol of the frame. It is compared as a range, because nft 1.0.6 aborts
// when it lists a rule in which an equal protocol of a tag is followed by bytes of the packet.
func secondTag(etherType uint16) step {
	b := binary.BigEndian.AppendUint16(nil, etherType)
	return step{
		&expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: register},
		&expr.Range{Op: expr.CmpOpEq, Register: register, FromData: b, ToData: b},
	}
}

// noVLAN matches a second tag that only gives the frame a priority. The kernel takes that
// off as well, but later, and would find a packet that nobody has judged.
func noVLAN() step {
	return step{load(network, 0, 2), mask(0x0f, 0xff), compare([]byte{0, 0})}
}

func join(steps ...step) step {
	var all step
	for _, s := range steps {
		all = append(all, s...)
	}
	return all
}
