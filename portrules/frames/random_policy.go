package frames

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/opennlb/opennlb/portrules"
)

// RandomPolicy returns a valid policy with up to 8 VIPs and 12 rules, whose tables
// hold the four combinations of flags that docs/DECISION.md knows.
func RandomPolicy(rng *rand.Rand) *portrules.Policy {
	p := &portrules.Policy{Epoch: rng.Uint64() >> 1, VIPs: []netip.Addr{VIP4, VIP6, VIP4b, VIP6b}}
	copy(p.HashKey[:], randomBytes(rng, len(p.HashKey)))
	for range rng.IntN(5) {
		p.VIPs = append(p.VIPs, p.VIPs[len(p.VIPs)-2].Next().Next())
	}
	rng.Shuffle(len(p.VIPs), func(i, j int) { p.VIPs[i], p.VIPs[j] = p.VIPs[j], p.VIPs[i] })
	p.VIPs = p.VIPs[:1+rng.IntN(len(p.VIPs))]

	p.Tables = make([]portrules.Buckets, 1+rng.IntN(4))
	for i := range p.Tables {
		randomBuckets(rng, &p.Tables[i])
	}
	p.DefaultTable = rng.IntN(len(p.Tables))
	ids := rng.Perm(portrules.NumRuleIDs)
	for i := range rng.IntN(13) {
		rules := append(p.Rules[:len(p.Rules):len(p.Rules)], randomRule(rng, fmt.Sprintf("rule-%d", i), p.VIPs))
		if portrules.Validate(p.VIPs, rules) != nil {
			continue // it overlaps an earlier one
		}
		rules[len(rules)-1].ID = uint16(ids[i])
		p.Rules = rules
		p.RuleTable = append(p.RuleTable, rng.IntN(len(p.Tables)))
	}
	return p
}

func randomRule(rng *rand.Rand, name string, vips []netip.Addr) portrules.Rule {
	r := portrules.Rule{
		Name:     name,
		Protocol: portrules.Protocol(1 + rng.IntN(4)),
		Mode:     portrules.Mode(rng.IntN(3)),
		Affinity: portrules.Affinity(rng.IntN(3)),
		First:    uint16(rng.Uint32()),
	}
	if r.Affinity == portrules.AffinityNetwork && rng.IntN(2) == 0 {
		r.PrefixV4, r.PrefixV6 = uint8(8+rng.IntN(25)), uint8(16+rng.IntN(113))
	}
	r.Reject = r.Mode == portrules.Disabled && rng.IntN(2) == 0
	if rng.IntN(2) == 0 {
		r.VIP = vips[rng.IntN(len(vips))]
	}
	if rng.IntN(3) == 0 {
		r.Timeout = 10 * time.Minute
	}
	r.Last = r.First + uint16(min(rng.IntN(300), 65535-int(r.First)))
	switch rng.IntN(8) {
	case 0:
		r.First = 0
	case 1:
		r.Last = 65535
	case 2, 3:
		r.Last = r.First
	case 4, 5: // what tunnels are found by
		r.First = []uint16{1723, 500, 4500}[rng.IntN(3)]
		r.Last = r.First + uint16(rng.IntN(3)*2000)
	}
	return r
}

// randomBuckets fills a table with flags in a random mixture.
func randomBuckets(rng *rand.Rand, table *portrules.Buckets) {
	known := []portrules.Flags{portrules.Own, portrules.Own | portrules.Foreign, portrules.Residual, 0}
	likely := known[rng.IntN(len(known))]
	for i := range table {
		table[i] = known[rng.IntN(len(known))]
		if rng.IntN(2) == 0 {
			table[i] = likely
		}
	}
}
