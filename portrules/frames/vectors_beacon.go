package frames

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"

	"github.com/opennlb/opennlb/nlbhash"
	"github.com/opennlb/opennlb/portrules"
)

// heard is what vectors start with: a beacon of member 1.
var heard = portrules.Sequence{Instance: 0x8000_0000_0000_0001, Seq: 1 << 63}

// good returns the next beacon of member 1. It is of the policy's epoch, and its
// view holds members 1 and Self.
func good() Beacon {
	return Beacon{View: 1 | 1<<(Self-1), Epoch: mine().Epoch, Instance: heard.Instance, Seq: heard.Seq + 1, By: 1}
}

// beacon returns a vector with a beacon, changed by edit.
func beacon(name string, edit func(*Beacon)) Vector {
	b := good()
	edit(&b)
	return Vector{Name: "beacon " + name, Policy: mine(), Frame: b.Frame(), Heard: heard}
}

// Which frames are beacons, and which of those are forged.
func beaconVectors() []Vector {
	frame := func(name string, edit func([]byte) []byte) Vector {
		return Vector{Name: "beacon " + name, Policy: mine(), Frame: edit(good().Frame()), Heard: heard}
	}
	field := func(name string, offset int, value ...byte) Vector {
		return frame(name, func(b []byte) []byte { copy(b[offset:], value); return b })
	}
	flipped := func(offset int) Vector {
		return frame(fmt.Sprintf("with byte %d changed", offset), func(b []byte) []byte { b[14+offset] ^= 0x80; return b })
	}
	cut := func(length int) Vector {
		return frame(fmt.Sprintf("cut to %d bytes", length), func(b []byte) []byte { return b[:14+length] })
	}
	by := func(priority uint64) Vector {
		return beacon(fmt.Sprintf("by %#x", priority), func(b *Beacon) { b.By = priority })
	}
	tagged := func(name string, tag func(message []byte) uint64) Vector {
		return frame(name, func(b []byte) []byte {
			binary.LittleEndian.PutUint64(b[14+40:], tag(b[14:14+40]))
			return b
		})
	}
	expired := frame("without a lease", func(b []byte) []byte { return b })
	expired.LeaseOver = true
	forged := portrules.BeaconForged
	return []Vector{
		frame("of this epoch", func(b []byte) []byte { return b }).hears(0),
		expired.hears(0),
		frame("with padding", func(b []byte) []byte { return append(b, 1, 2, 3, 4) }).hears(0),
		field("to this host", 0, 2, 2, 2, 2, 2, 2).hears(0),
		field("to all", 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff).hears(0),
		field("of another protocol", 12, 0x88, 0xb6).pass(),
		frame("in a vlan", func(b []byte) []byte { return append(append(b[:12:12], 0x81, 0, 0, 7), b[12:]...) }).pass(),
		field("of another version", 14+3, 2).pass(),
		field("of another magic", 14, 'M').pass(),
		cut(3).pass(),
		cut(4).drop(forged, -1),
		cut(8).drop(forged, -1),
		cut(47).drop(forged, -1),
		zeroEnded().drop(forged, -1),
		flipped(4).drop(forged, -1),  // view
		flipped(15).drop(forged, -1), // epoch
		flipped(16).drop(forged, -1), // instance
		flipped(31).drop(forged, -1), // seq
		flipped(39).drop(forged, -1), // by
		flipped(40).drop(forged, -1), // tag
		flipped(47).drop(forged, -1),
		tagged("with the hash of another key", func(m []byte) uint64 { return nlbhash.SipHash(2, 4, nlbhash.Key{}, m) }).drop(forged, -1),
		tagged("with the hash of the tables", func(m []byte) uint64 { return nlbhash.Sum(BeaconKey, m) }).drop(forged, -1),
		tagged("without a tag", func([]byte) uint64 { return 0 }).drop(forged, -1),
		by(0).drop(forged, -1),
		by(32).hears(0),
		by(33).drop(forged, -1),
		by(0x101).drop(forged, -1),
		by(1<<32 + 1).hears(0), // in force
		by(2<<32+1).drop(forged, -1),
		by(1<<32).drop(forged, -1),
		by(1<<63+1).drop(forged, -1),
		by(Self).hears(0),
	}
}

// While the key of the cluster is changed, beacons of the old and of the new one count, in
// one sequence.
func keyedVectors() []Vector {
	tagged := func(name string, key nlbhash.Key, seq uint64) Vector {
		b := good()
		b.Seq += seq
		frame := Ethernet(portrules.EtherTypeBeacon, b.Bytes(key))
		return Vector{Name: "beacon " + name, Policy: mine(), Frame: frame, Heard: heard, OtherKey: true}
	}
	alone := tagged("of a key that does not count yet", OtherKey, 0)
	alone.OtherKey = false
	third := OtherKey
	third[15] ^= 1
	return []Vector{
		tagged("of the first of two keys", BeaconKey, 0).hears(0),
		tagged("of the second of two keys", OtherKey, 0).hears(0),
		tagged("of the second of two keys, of the past", OtherKey, ^uint64(0)).drop(portrules.BeaconReplayed, -1),
		tagged("of a third key", third, 0).drop(portrules.BeaconForged, -1),
		tagged("of the key of zeros", nlbhash.Key{}, 0).drop(portrules.BeaconForged, -1),
		alone.drop(portrules.BeaconForged, -1),
	}
}

// zeroEnded is a beacon cut to 47 bytes that would be a good one if the missing
// byte were read as zero.
func zeroEnded() Vector {
	b := good()
	for b.Frame()[14+47] != 0 {
		b.Seq++
	}
	return Vector{Name: "beacon without the zero at its end", Policy: mine(), Frame: b.Frame()[:14+47], Heard: heard}
}

// Which beacons come late, and which raise the fence.
func sequenceVectors() []Vector {
	const epoch = 7 // of the policy
	seq := func(name string, n uint64) Vector { return beacon(name, func(b *Beacon) { b.Seq = n }) }
	without := func(name string, n uint64) Vector { // this member
		return beacon(name, func(b *Beacon) { b.View, b.Epoch = ^uint32(1<<(Self-1)), n })
	}
	with := func(name string, n uint64) Vector {
		return beacon(name, func(b *Beacon) { b.View, b.Epoch = 1<<(Self-1), n })
	}
	fenced := func(v Vector, n uint64) Vector { v.Fence = n; return v }
	replayed := beacon("once more, of a higher epoch without me", func(b *Beacon) { b.View, b.Epoch, b.Seq = 1, epoch+1, heard.Seq })
	forged := without("forged, of a higher epoch without me", epoch+1)
	forged.Frame[14+40] ^= 1
	expired := without("of a higher epoch without me, without a lease", epoch+1)
	expired.LeaseOver = true
	return []Vector{
		seq("once more", heard.Seq).drop(portrules.BeaconReplayed, -1),
		seq("of the past", heard.Seq-1).drop(portrules.BeaconReplayed, -1),
		seq("of the beginning", 0).drop(portrules.BeaconReplayed, -1),
		seq("after a gap", math.MaxUint64).hears(0),
		beacon("of the next instance", func(b *Beacon) { b.Instance, b.Seq = b.Instance+1, 1 }).hears(0),
		beacon("of an instance with the same low half", func(b *Beacon) { b.Instance, b.Seq = 1, 1 }).hears(0),
		beacon("of the same instance at another member", func(b *Beacon) { b.By, b.Seq = 2, 1 }).hears(0),
		with("of a higher epoch", epoch+1).hears(0),
		with("of a lower epoch", epoch-1).hears(0),
		without("of a higher epoch without me", epoch+1).hears(epoch + 1),
		without("of the highest epoch without me", math.MaxUint64).hears(math.MaxUint64),
		without("of a far epoch with a small low half, without me", 1<<32).hears(1 << 32),
		without("of this epoch without me", epoch).hears(epoch),
		without("of a lower epoch without me", epoch-1).hears(0),
		beacon("of a higher epoch without anybody", func(b *Beacon) { b.View, b.Epoch = 0, epoch+1 }).hears(epoch + 1),
		fenced(without("below the fence", epoch+1), epoch+2).hears(epoch + 2),
		fenced(without("above the fence", epoch+3), epoch+2).hears(epoch + 3),
		fenced(with("of a higher epoch lifts no fence", epoch+3), epoch+2).hears(epoch + 2),
		expired.hears(epoch + 1),
		replayed.drop(portrules.BeaconReplayed, -1),
		forged.drop(portrules.BeaconForged, -1),
	}
}

// Paragraph 4: what a member that was left out of a higher epoch does.
func (f family) fenceVectors() []Vector {
	at := func(name string, fence uint64, frame []byte) Vector {
		return Vector{Name: "fence " + name, Policy: mine(), Frame: frame, Fence: fence, FenceAfter: fence}
	}
	const below, at7, above = 6, 7, 8 // the epoch of the policy is 7
	syn, datagram, echo := TCPFrame(f.from, f.web, SYN), UDPFrame(f.from, f.dns), EchoFrame(f.client, f.vip)
	first := f.fragment(portrules.ProtoUDP, 0, true, UDP(f.from, f.dns, make([]byte, 16)))
	later := at("above, later fragment", above, f.fragment(portrules.ProtoUDP, 1480, false, []byte{1}))
	later.Fragment = portrules.FragmentKey{Src: f.client, Dst: f.vip, ID: fragmentID, Protocol: portrules.ProtoUDP}
	held := at("above, connection in a residual bucket", above, TCPFrame(f.from, f.web, ACK))
	held.Policy = Policy(map[int]portrules.Flags{WebTable: portrules.Residual})
	held.Socket = portrules.Flow{Src: f.from, Dst: f.web}
	expired := at("above, without a lease", above, syn)
	expired.LeaseOver = true
	recorded := at("below, first fragment", below, first)
	recorded.Records = true
	fenced := portrules.Fenced
	return []Vector{
		at("above, tcp", above, syn).drop(fenced, -1),
		at("far above, tcp", 1<<32, syn).drop(fenced, -1),
		at("above, udp", above, datagram).drop(fenced, -1),
		at("above, echo", above, echo).drop(fenced, -1),
		at("above, first fragment", above, first).drop(fenced, -1),
		later.drop(fenced, -1),
		held.drop(fenced, -1),
		at("above, malformed", above, syn[:len(syn)-1]).drop(fenced, -1),
		at("above, disabled rule", above, TCPFrame(f.from, netip.AddrPortFrom(f.vip, 6000), SYN)).drop(fenced, -1),
		expired.drop(portrules.LeaseOver, -1),
		at("above, to the dedicated address", above, TCPFrame(f.from, netip.AddrPortFrom(f.own, 80), SYN)).pass(),
		at("equal, tcp", at7, syn).drop(fenced, -1),
		at("equal, udp", at7, datagram).drop(fenced, -1),
		at("equal, echo", at7, echo).drop(fenced, -1),
		recorded.accept(portrules.Owner, f.dnsRule()),
		at("below, tcp", below, syn).accept(portrules.New, Web),
		at("below, udp", below, datagram).accept(portrules.Owner, f.dnsRule()),
		at("below, echo", below, echo).accept(portrules.DefaultHost, -1),
		f.fencedNeighbor().drop(portrules.Neighbor, -1),
	}
}

// fencedNeighbor asks where the VIP is, which the agent answers or not.
func (f family) fencedNeighbor() Vector {
	v := Vector{Name: "fence above, who has the vip", Policy: mine(), Fence: 8, FenceAfter: 8}
	v.Frame = SolicitFrame(f.client, f.vip, f.vip)
	if f.vip.Is4() {
		v.Frame = Ethernet(portrules.EtherTypeARP, ARP(1, f.client, f.vip))
	}
	return v
}
