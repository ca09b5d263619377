package frames

import (
	"encoding/binary"
	"math/rand/v2"

	"github.com/opennlb/opennlb/nlbhash"
	"github.com/opennlb/opennlb/portrules"
)

// Self is the priority of the fixture member.
const Self = 3

// BeaconKey is the key of the fixture cluster's beacons.
var BeaconKey = nlbhash.Key{'b', 'e', 'a', 'c', 'o', 'n', 's', ' ', 0xff, 0xfe, 0, 1, 2, 3, 4, 5}

// OtherKey is the one that counts beside BeaconKey in vectors that say so.
var OtherKey = nlbhash.Key{'t', 'h', 'e', ' ', 'o', 't', 'h', 'e', 'r', ' ', 0xff, 0, 1, 2, 3, 4}

// Beacon is a beacon of the layout that converge.AppendBeacon gives it, with any
// values. By has 1<<32 added where the epoch is in force.
type Beacon struct {
	View                     uint32
	Epoch, Instance, Seq, By uint64
}

// Bytes encodes the beacon with the tag of a key.
func (b Beacon) Bytes(key nlbhash.Key) []byte {
	le := binary.LittleEndian
	out := le.AppendUint32([]byte("NLB\x01"), b.View)
	for _, word := range []uint64{b.Epoch, b.Instance, b.Seq, b.By} {
		out = le.AppendUint64(out, word)
	}
	return le.AppendUint64(out, nlbhash.SipHash(2, 4, key, out))
}

// Frame returns an Ethernet frame with the beacon.
func (b Beacon) Frame() []byte {
	return Ethernet(portrules.EtherTypeBeacon, b.Bytes(BeaconKey))
}

// randomBeacon returns one of a few sequences, whose numbers repeat. Now and then
// its epoch is above that of the policy, so that it can raise the fence.
func randomBeacon(rng *rand.Rand, p *portrules.Policy) []byte {
	b := Beacon{
		View:     rng.Uint32(),
		Epoch:    p.Epoch - uint64(rng.IntN(3)),
		Instance: uint64(1 + rng.IntN(2)),
		Seq:      uint64(rng.IntN(8)),
		By:       uint64(1+rng.IntN(4)) | uint64(rng.IntN(2))<<32,
	}
	key := BeaconKey
	switch rng.IntN(64) {
	case 0, 1:
		b.Epoch = p.Epoch + uint64(1+rng.IntN(2))
	case 2, 3:
		b.By = uint64(rng.IntN(36))
	case 4:
		b.By |= 1 << rng.IntN(64)
	case 5:
		b.Instance, b.Seq = uint64(rng.IntN(3)), rng.Uint64()
	case 6:
		key[rng.IntN(len(key))] ^= 1 << rng.IntN(8)
	}
	return Ethernet(portrules.EtherTypeBeacon, b.Bytes(key))
}
