package afpacket

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/opennlb/opennlb/portrules"
)

// Where fields are in an Ethernet frame.
const (
	etherLength = 14
	ipv4Target  = etherLength + 16
	ipv6Next    = etherLength + 6
	ipv6Target  = etherLength + 24
	icmpv6Type  = etherLength + 40
)

// takeAll is the verdict of a socket filter that takes the whole frame.
const takeAll = 1 << 18

// frameFilter is a socket filter that takes what the judge may have to do with:
// ARP, neighbour discovery, beacons, and packets to a VIP. It compares the last four
// bytes of addresses. Other traffic, be it ever so much, is not copied to the ring.
func frameFilter(mark uint32, vips []netip.Addr) ([]bpf.RawInstruction, error) {
	program := received(mark)
	program = append(program, bpf.LoadAbsolute{Off: 12, Size: 2})
	var v4, v6 []netip.Addr
	for _, vip := range vips {
		if vip.Is4() {
			v4 = append(v4, vip)
		} else {
			v6 = append(v6, vip)
		}
	}
	take := bpf.RetConstant{Val: takeAll}
	for _, part := range []struct {
		etherType uint16
		program   []bpf.Instruction
	}{
		{portrules.EtherTypeBeacon, []bpf.Instruction{take}},
		{portrules.EtherTypeARP, []bpf.Instruction{take}},
		{portrules.EtherTypeIPv4, takeTo(ipv4Target, v4)},
		{portrules.EtherTypeIPv6, append(takeTo(ipv6Target+12, v6), takeNeighbors()...)},
	} {
		if part.etherType == portrules.EtherTypeIPv4 || part.etherType == portrules.EtherTypeIPv6 {
			part.program = append(part.program, bpf.RetConstant{Val: 0})
		}
		program = append(program, bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(part.etherType), SkipFalse: uint8(len(part.program))})
		program = append(program, part.program...)
	}
	raw, err := bpf.Assemble(append(program, bpf.RetConstant{Val: 0}))
	if err != nil {
		return nil, fmt.Errorf("assemble socket filter for %d VIPs: %w", len(vips), err)
	}
	return raw, nil
}

// received refuses what this host sends, what the engine itself hands on, and frames
// of other VLANs, whose tag the kernel has taken out.
func received(mark uint32) []bpf.Instruction {
	const vlanID = 0x0fff
	return []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.PACKET_OUTGOING, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.LoadExtension{Num: bpf.ExtMark},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: mark, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.LoadExtension{Num: bpf.ExtVLANTag},
		bpf.JumpIf{Cond: bpf.JumpBitsNotSet, Val: vlanID, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
	}
}

// takeTo takes a frame whose four bytes at an offset are the last ones of a VIP.
func takeTo(offset uint32, vips []netip.Addr) []bpf.Instruction {
	program := []bpf.Instruction{bpf.LoadAbsolute{Off: offset, Size: 4}}
	for _, vip := range vips {
		b := vip.As16()
		program = append(program,
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: binary.BigEndian.Uint32(b[12:]), SkipFalse: 1},
			bpf.RetConstant{Val: takeAll})
	}
	return program
}

// takeNeighbors takes neighbour solicitations and advertisements, whatever they ask.
func takeNeighbors() []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: ipv6Next, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: portrules.ProtoICMPv6, SkipFalse: 4},
		bpf.LoadAbsolute{Off: icmpv6Type, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 135, SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 136, SkipFalse: 1},
		bpf.RetConstant{Val: takeAll},
	}
}
