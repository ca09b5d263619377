package converge

import (
	"encoding/binary"
	"errors"

	"github.com/opennlb/opennlb/nlbhash"
)

// BeaconEtherType marks a beacon on the segment: IEEE 802 local experimental 1.
const BeaconEtherType = 0x88b5

// BeaconSize is the length of a beacon behind its Ethernet header, in bytes.
const BeaconSize = 48

// beaconMagic opens a beacon: "NLB" and the version of the layout.
const beaconMagic = 'N' | 'L'<<8 | 'B'<<16 | 1<<24

// Beacon is what a view says on the segment that carries the clients' frames:
// whoever hears those hears which epoch is in force.
type Beacon struct {
	Epoch   Epoch  // By and Instance are of the sender, as a rule who made the epoch
	View    uint32 // priority p is bit p-1
	Seq     uint64 // rises with every beacon of one instance
	InForce bool   // the sender has committed the epoch; else all promised it, and this fences who is left out
}

// AppendBeacon appends the wire form to b, all words little-endian:
//
//	0  magic    4 bytes
//	4  view     4 bytes
//	8  epoch    8 bytes
//	16 instance 8 bytes
//	24 seq      8 bytes
//	32 by       4 bytes
//	36 in force 4 bytes, 0 or 1
//	40 tag      8 bytes, SipHash-2-4 of the 40 bytes before
func AppendBeacon(b []byte, key nlbhash.Key, c Beacon) []byte {
	le := binary.LittleEndian
	start := len(b)
	b = le.AppendUint32(b, beaconMagic)
	b = le.AppendUint32(b, c.View)
	b = le.AppendUint64(b, c.Epoch.N)
	b = le.AppendUint64(b, c.Epoch.Instance)
	b = le.AppendUint64(b, c.Seq)
	b = le.AppendUint32(b, uint32(c.Epoch.By))
	inForce := uint32(0)
	if c.InForce {
		inForce = 1
	}
	b = le.AppendUint32(b, inForce)
	return le.AppendUint64(b, nlbhash.SipHash(2, 4, key, b[start:]))
}

// ParseBeacon reads the wire form; what follows it, such as padding, is ignored.
// The error says whether it is not a beacon or not from a holder of the key.
func ParseBeacon(b []byte, key nlbhash.Key) (Beacon, error) {
	le := binary.LittleEndian
	if len(b) < BeaconSize || le.Uint32(b) != beaconMagic {
		return Beacon{}, errors.New("not a beacon")
	}
	if le.Uint64(b[40:]) != nlbhash.SipHash(2, 4, key, b[:40]) {
		return Beacon{}, errors.New("beacon is not from a holder of the cluster key")
	}
	by, inForce := le.Uint32(b[32:]), le.Uint32(b[36:])
	if by < 1 || by > nlbhash.MaxPriority || inForce > 1 {
		return Beacon{}, errors.New("beacon of an impossible member, or neither in force nor to be")
	}
	return Beacon{
		Epoch:   Epoch{N: le.Uint64(b[8:]), By: uint8(by), Instance: le.Uint64(b[16:])},
		View:    le.Uint32(b[4:]),
		Seq:     le.Uint64(b[24:]),
		InForce: inForce == 1,
	}, nil
}
