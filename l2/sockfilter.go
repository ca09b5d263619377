package l2

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

const snapLen = etherLen + neighMax

// neighborFilter is a socket filter that takes ARP and neighbour discovery about
// one of the addresses as sender or target, so that a busy segment does not wake
// the process. It compares the last four bytes of IPv6 addresses; parseNeighbor
// sees to the rest.
func neighborFilter(addrs []netip.Addr) []bpf.Instruction {
	prog := receivedUntagged()
	prog = append(prog,
		bpf.LoadAbsolute{Off: 12, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_ARP, SkipFalse: 1},
		bpf.Jump{Skip: 0}, // to the ARP part, patched below
	)
	toARP := len(prog) - 1
	prog = append(prog, // IPv6; everything else ends here
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_IPV6, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.LoadAbsolute{Off: etherLen + 6, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protoICMP6, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.LoadAbsolute{Off: etherLen + ipv6Len, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: typeNS, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: typeNA, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
	)
	v4, v6 := words(addrs)
	prog = takeIf(prog, etherLen+ipv6Len+20, v6) // target
	prog = takeIf(prog, etherLen+20, v6)         // IPv6 source
	prog = append(prog, bpf.RetConstant{Val: 0})
	prog[toARP] = bpf.Jump{Skip: uint32(len(prog) - toARP - 1)}
	prog = takeIf(prog, etherLen+24, v4) // target
	prog = takeIf(prog, etherLen+14, v4) // sender
	return append(prog, bpf.RetConstant{Val: 0})
}

// receivedUntagged refuses frames that this host sends, and those of other VLANs:
// the kernel takes the tag out of the frame before the socket sees it.
func receivedUntagged() []bpf.Instruction {
	const vlanID = 0x0fff
	return []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.PACKET_OUTGOING, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.LoadExtension{Num: bpf.ExtVLANTag},
		bpf.JumpIf{Cond: bpf.JumpBitsNotSet, Val: vlanID, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
	}
}

// takeIf takes the frame if the four bytes at offset off are one of values.
func takeIf(prog []bpf.Instruction, off uint32, values []uint32) []bpf.Instruction {
	prog = append(prog, bpf.LoadAbsolute{Off: off, Size: 4})
	for _, v := range values {
		prog = append(prog,
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: v, SkipFalse: 1},
			bpf.RetConstant{Val: snapLen})
	}
	return prog
}

func words(addrs []netip.Addr) (v4, v6 []uint32) {
	for _, a := range addrs {
		b := lastFour(a)
		word := binary.BigEndian.Uint32(b[:])
		if a.Is4() {
			v4 = append(v4, word)
		} else {
			v6 = append(v6, word)
		}
	}
	return v4, v6
}

// listenNeighbors opens a packet socket that receives ARP and neighbour discovery
// about the addresses.
//
// It taps all protocols and filters: a socket for one protocol comes after tc
// ingress, where the data plane keeps these frames from the kernel.
func listenNeighbors(i *Interface, addrs []netip.Addr) (*packet.Conn, error) {
	filter, err := bpf.Assemble(neighborFilter(addrs))
	if err != nil {
		return nil, fmt.Errorf("assembling the socket filter for %d VIPs: %w", len(addrs), err)
	}
	conn, err := packet.Listen(i.netInterface(), packet.Raw, unix.ETH_P_ALL, &packet.Config{Filter: filter})
	if err != nil {
		return nil, fmt.Errorf("opening a packet socket on %s: %w", i.Name, hint(err))
	}
	return conn, nil
}

// send writes an Ethernet frame as it is.
func send(conn *packet.Conn, frame []byte) error {
	_, err := conn.WriteTo(frame, &packet.Addr{HardwareAddr: frame[0:6]})
	return err
}
