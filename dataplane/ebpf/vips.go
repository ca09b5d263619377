package ebpf

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
)

// vipAddr returns the 16 bytes of an address, IPv4 mapped, as the programs load
// them.
func vipAddr(a netip.Addr) nlbAddr {
	b := a.As16()
	return nlbAddr{
		Hi: binary.NativeEndian.Uint64(b[:8]),
		Lo: binary.NativeEndian.Uint64(b[8:]),
	}
}

// placeVIPs writes the VIPs and a perfect hash of them into the head: it tries
// multipliers until no two VIPs share a slot. With 64 VIPs about one in ten pairs
// of multipliers does it. (Multiply-shift hashing: Dietzfelbinger et al., "A
// reliable randomized algorithm for the closest-pair problem", 1997.)
func placeVIPs(head *nlbHead, vips []netip.Addr) error {
	for i, vip := range vips {
		if !vip.IsValid() || vip.Is4In6() {
			return fmt.Errorf("VIP %v is neither an IPv4 nor an IPv6 address", vip)
		}
		head.Vips[i] = vipAddr(vip)
	}
	const tries = 100_000
	state := uint64(1)
	for range tries {
		head.VipFactor = [2]uint64{splitmix(&state) | 1, splitmix(&state) | 1}
		if fillSlots(head, len(vips)) {
			return nil
		}
	}
	return fmt.Errorf("VIPs %v: no perfect hash in %d tries; is one of them listed twice?", vips, tries)
}

// fillSlots reports whether the factors in head keep the first n VIPs apart.
func fillSlots(head *nlbHead, n int) bool {
	for i := range head.VipSlots {
		head.VipSlots[i] = maxVIPs
	}
	for i, vip := range head.Vips[:n] {
		slot := (vip.Hi*head.VipFactor[0] + vip.Lo*head.VipFactor[1]) >> (64 - bits.Len(vipSlots-1))
		if head.VipSlots[slot] != maxVIPs {
			return false
		}
		head.VipSlots[slot] = uint8(i)
	}
	return true
}

// splitmix is the generator SplitMix64 (Steele, Lea, Flood, 2014).
func splitmix(state *uint64) uint64 {
	*state += 0x9e3779b97f4a7c15
	z := *state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
