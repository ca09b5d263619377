package ebpf

import (
	"fmt"
	"net/netip"

	"github.com/opennlb/opennlb/portrules"
	"github.com/opennlb/opennlb/portrules/frames"
)

// manyRules returns a policy as large as they come: 64 VIPs, half of them IPv6,
// 256 rules, a table for each, all of them other members' buckets.
func manyRules() *portrules.Policy {
	p := &portrules.Policy{HashKey: frames.Policy(nil).HashKey}
	v4, v6 := netip.MustParseAddr("192.0.2.100"), netip.MustParseAddr("2001:db8::100")
	for range 32 {
		p.VIPs = append(p.VIPs, v4, v6)
		v4, v6 = v4.Next(), v6.Next()
	}
	p.Tables = make([]portrules.Buckets, 257)
	for i := range 256 {
		r := portrules.Rule{
			Name:     fmt.Sprintf("rule-%d", i),
			ID:       uint16(1023 - i),
			VIP:      p.VIPs[i%64],
			Protocol: portrules.Both,
			First:    uint16(i / 64 * 1000),
			Last:     uint16(i/64*1000 + 500),
			Affinity: portrules.AffinityNone,
		}
		p.Rules = append(p.Rules, r)
		p.RuleTable = append(p.RuleTable, i)
		p.Tables[i][i] = portrules.Own // tables differ
	}
	p.DefaultTable = 256
	return p
}
