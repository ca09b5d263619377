package portrules_test

import (
	"encoding/binary"
	"math"
	"net/netip"
	"testing"

	"github.com/opennlb/opennlb/nlbhash"
	"github.com/opennlb/opennlb/portrules"
	"github.com/opennlb/opennlb/portrules/frames"
)

const balanceClients = 100_000

// crowd is a set of distinct clients, however regular, of which address and port of the
// first are given.
type crowd struct {
	name     string
	affinity portrules.Affinity
	first    netip.AddrPort
	stride   uint64 // between two addresses
	shift    int    // in units of 1<<shift
	ports    uint64 // clients that share an address, with ports one after the other; 0: one each
}

func crowds() []crowd {
	v4, v6 := netip.MustParseAddrPort("11.0.0.1:40000"), netip.MustParseAddrPort("[2001:db8:7::1]:40000")
	low4, low6 := netip.AddrPortFrom(v4.Addr(), 1024), netip.AddrPortFrom(v6.Addr(), 1024)
	const none, single, network = portrules.AffinityNone, portrules.AffinitySingle, portrules.AffinityNetwork
	return []crowd{
		{"every address", single, v4, 1, 0, 0},
		{"every 2nd", single, v4, 2, 0, 0},
		{"every 256th", single, v4, 256, 0, 0},
		{"every 4096th", single, v4, 4096, 0, 0},
		{"every 32768th", single, v4, 32768, 0, 0},
		{"every 1000th", single, v4, 1000, 0, 0},
		{"a /24 each, affinity network", network, v4, 256, 0, 0},
		{"50,000 ports of an address and of its neighbour", none, low4, 1, 0, 50_000},
		{"one port of each address", none, v4, 256, 0, 0},
		{"IPv6 every address", single, v6, 1, 0, 0},
		{"IPv6 every 256th", single, v6, 256, 0, 0},
		{"IPv6 every 4096th", single, v6, 4096, 0, 0},
		{"IPv6 every 2^32nd", single, v6, 1, 32, 0},
		{"IPv6 a /64 each", single, v6, 1, 64, 0},
		{"IPv6 a /64 each, affinity network", network, v6, 1, 64, 0},
		{"IPv6 50,000 ports of an address and of its neighbour", none, low6, 1, 0, 50_000},
	}
}

// each calls f with the frame of every client. Checksums are not judged, so they are left.
func (c crowd) each(f func(frame []byte)) {
	vip, at, end := frames.VIP4, 14+12, 14+16
	if c.first.Addr().Is6() {
		vip, at, end = frames.VIP6, 14+8, 14+24
	}
	frame := frames.TCPFrame(c.first, netip.AddrPortFrom(vip, 80), frames.SYN)
	word := frame[end-4-c.shift/8 : end-c.shift/8]
	base := binary.BigEndian.Uint32(word)
	port := frame[end+(end-at):] // behind the destination address, as options and extensions there are none
	first := c.first.Port()
	for i := range uint64(balanceClients) {
		n, p := i, uint64(0)
		if c.ports > 0 {
			n, p = i/c.ports, i%c.ports
		}
		binary.BigEndian.PutUint32(word, base+uint32(n*c.stride))
		binary.BigEndian.PutUint16(port, first+uint16(p))
		f(frame)
	}
}

// TestBalance counts the clients that each member accepts: within 3 % of its share of
// the weights with 4 members, 8 % with 32.
//
// A hash is as good as chance and no better. Of n clients, a member with the share p gets
// np on average with the standard deviation sqrt(np(1-p)), which is more than a quarter of
// the bar where p is small: 189 of 100,000 clients vary by 7.3 %. And a share is a whole number of
// buckets, of which there are 4096. So for members with less than a fortieth, the limit is 4 standard
// deviations and one bucket, if that is more than the bar.
func TestBalance(t *testing.T) {
	for _, tt := range []struct {
		name    string
		members int
		weight  func(p int) uint32
		bar     float64
	}{
		{"4 equal", 4, func(int) uint32 { return 50 }, 0.03},
		{"4 unequal", 4, func(p int) uint32 { return []uint32{100, 50, 25, 80}[p-1] }, 0.03},
		{"32 equal", 32, func(int) uint32 { return 50 }, 0.08},
		{"32 unequal", 32, func(p int) uint32 { return []uint32{100, 50, 75, 25}[p%4] }, 0.08},
		{"32 from 1 to 100", 32, func(p int) uint32 { return uint32(1 + (p-1)*99/31) }, 0.08},
	} {
		var targets nlbhash.Targets
		var total float64
		for p := 1; p <= tt.members; p++ {
			targets[p] = tt.weight(p)
			total += float64(targets[p])
		}
		owners := nlbhash.Rebalance(nil, targets)
		for _, c := range crowds() {
			t.Run(tt.name+"/"+c.name, func(t *testing.T) {
				members := membersOf(owners, tt.members, c.affinity)
				var accepted [nlbhash.MaxPriority + 1]int
				c.each(func(frame []byte) {
					accepted[answerer(t, members, owners, frame)]++
				})
				worst, wide := 0.0, 0
				for p := 1; p <= tt.members; p++ {
					share := float64(targets[p]) / total
					want := share * balanceClients
					limit := tt.bar * want
					if chance := 4*math.Sqrt(want*(1-share)) + balanceClients/nlbhash.Buckets; chance > limit && share < 1.0/40 {
						limit, wide = chance, wide+1
					}
					off := math.Abs(float64(accepted[p]) - want)
					worst = max(worst, off/want)
					if off > limit {
						t.Errorf("member %d of weight %d has %d clients, want %.0f within %.0f", p, targets[p], accepted[p], want, limit)
					}
				}
				t.Logf("worst %.1f %%; the limit of %d members is chance", 100*worst, wide)
			})
		}
	}
}

// membersOf returns the policies of members that share one table.
func membersOf(owners *nlbhash.Table, n int, affinity portrules.Affinity) []*portrules.Policy {
	members := make([]*portrules.Policy, n)
	for i := range members {
		p := frames.Policy(nil)
		p.Rules[frames.Web].Affinity = affinity
		for b, owner := range owners {
			if int(owner) == i+1 {
				p.Tables[frames.WebTable][b] = portrules.Own
			}
		}
		members[i] = p
	}
	return members
}

// answerer is the member that accepts a frame. The one beside it must not;
// TestExactlyOneMemberAnswers asks all.
func answerer(t *testing.T, members []*portrules.Policy, owners *nlbhash.Table, frame []byte) int {
	pkt := portrules.Parse(frame)
	d := members[0].Decide(&pkt, portrules.Env{})
	owner := int(owners[d.Bucket])
	if d := members[owner-1].Decide(&pkt, portrules.Env{}); d.Reason != portrules.New {
		t.Fatalf("the owner decides %v", d.Reason)
	}
	if d := members[owner%len(members)].Decide(&pkt, portrules.Env{}); d.Reason != portrules.NotOwner {
		t.Fatalf("the one beside the owner decides %v", d.Reason)
	}
	return owner
}
