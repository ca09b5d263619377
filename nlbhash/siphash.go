package nlbhash

import (
	"encoding/binary"
	"math/bits"
)

// Key is the secret of the hash: without it a client cannot choose an address
// and port that land on a member of its choice.
type Key [16]byte

// Bucket returns the bucket, 0 to Buckets-1, of an affinity key.
func Bucket(key Key, msg []byte) uint16 {
	return uint16(Sum(key, msg) & (Buckets - 1))
}

// Sum is SipHash-1-3, the variant that the data plane uses.
func Sum(key Key, msg []byte) uint64 {
	return SipHash(1, 3, key, msg)
}

// SipHash hashes msg under key with c rounds per 8 bytes of message and d rounds
// at the end. It allocates nothing. Source: Aumasson and Bernstein, "SipHash: a
// fast short-input PRF", 2012; dataplane/ebpf/bpf/siphash.h is the same in C.
func SipHash(c, d int, key Key, msg []byte) uint64 {
	k0 := binary.LittleEndian.Uint64(key[:8])
	k1 := binary.LittleEndian.Uint64(key[8:])
	s := state{
		k0 ^ 0x736f6d6570736575, // "somepseudorandomlygeneratedbytes"
		k1 ^ 0x646f72616e646f6d,
		k0 ^ 0x6c7967656e657261,
		k1 ^ 0x7465646279746573,
	}
	last := uint64(len(msg)) << 56
	for ; len(msg) >= 8; msg = msg[8:] {
		s.absorb(binary.LittleEndian.Uint64(msg), c)
	}
	for i, b := range msg {
		last |= uint64(b) << (8 * i)
	}
	s.absorb(last, c)
	s.v2 ^= 0xff
	s.rounds(d)
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3
}

type state struct{ v0, v1, v2, v3 uint64 }

func (s *state) absorb(word uint64, c int) {
	s.v3 ^= word
	s.rounds(c)
	s.v0 ^= word
}

func (s *state) rounds(n int) {
	v0, v1, v2, v3 := s.v0, s.v1, s.v2, s.v3
	for range n {
		v0 += v1
		v2 += v3
		v1 = bits.RotateLeft64(v1, 13) ^ v0
		v3 = bits.RotateLeft64(v3, 16) ^ v2
		v0 = bits.RotateLeft64(v0, 32)
		v2 += v1
		v0 += v3
		v1 = bits.RotateLeft64(v1, 17) ^ v2
		v3 = bits.RotateLeft64(v3, 21) ^ v0
		v2 = bits.RotateLeft64(v2, 32)
	}
	s.v0, s.v1, s.v2, s.v3 = v0, v1, v2, v3
}
