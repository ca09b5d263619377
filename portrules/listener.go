package portrules

import (
	"encoding/binary"

	"github.com/opennlb/opennlb/nlbhash"
)

// BeaconSize is the length of a beacon behind its Ethernet header, in bytes.
const BeaconSize = 48

const beaconMagic = "NLB\x01"

// MaxBeaconKeys are two: the old and the new one while the key of the cluster is changed.
const MaxBeaconKeys = 2

// Listener is what a member knows of the beacons on its segment, and the reference
// for dataplane/ebpf/bpf/beacon.h. It is not safe for concurrent use.
type Listener struct {
	Self  uint8 // own priority, 1 to 32
	Key   nlbhash.Key
	Other nlbhash.Key // counts as well, if Two
	Two   bool
	Fence uint64                            // highest epoch that is known to leave this member out
	Last  [nlbhash.MaxPriority + 1]Sequence // of each member, by priority
}

// SetKeys replaces the keys of which authentic beacons have one: one or [MaxBeaconKeys].
func (l *Listener) SetKeys(keys []nlbhash.Key) {
	l.Key, l.Two = keys[0], len(keys) == MaxBeaconKeys
	if l.Two {
		l.Other = keys[1]
	}
}

// Keys are those of which authentic beacons have one.
func (l *Listener) Keys() []nlbhash.Key {
	if l.Two {
		return []nlbhash.Key{l.Key, l.Other}
	}
	return []nlbhash.Key{l.Key}
}

// Sequence is the place of a beacon among those of one member.
type Sequence struct {
	Instance, Seq uint64
}

// Hear judges a beacon and takes note of it; active is the epoch of the policy in
// force. For the layout see converge.AppendBeacon.
func (l *Listener) Hear(beacon [BeaconSize]byte, active uint64) Reason {
	le := binary.LittleEndian
	tagged := func(key nlbhash.Key) bool {
		return le.Uint64(beacon[40:]) == nlbhash.SipHash(2, 4, key, beacon[:40])
	}
	if !tagged(l.Key) && (!l.Two || !tagged(l.Other)) {
		return BeaconForged
	}
	view, epoch := le.Uint32(beacon[4:]), le.Uint64(beacon[8:])
	this := Sequence{Instance: le.Uint64(beacon[16:]), Seq: le.Uint64(beacon[24:])}
	by, inForce := le.Uint32(beacon[32:]), le.Uint32(beacon[36:])
	if by < 1 || by > nlbhash.MaxPriority || inForce > 1 {
		return BeaconForged
	}
	last := &l.Last[by]
	if this.Instance == last.Instance && this.Seq <= last.Seq {
		return BeaconReplayed
	}
	*last = this
	if view>>(l.Self-1)&1 == 0 && epoch >= active {
		l.Fence = max(l.Fence, epoch)
	}
	return BeaconHeard
}

// parseBeacon takes any payload that claims to be a beacon.
func parseBeacon(b []byte) Packet {
	if len(b) < len(beaconMagic) || string(b[:len(beaconMagic)]) != beaconMagic {
		return Packet{}
	}
	p := Packet{Kind: Beacon, Malformed: len(b) < BeaconSize}
	copy(p.Beacon[:], b)
	return p
}
