package ebpf

import (
	"fmt"
	"net/netip"
	"os"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/opennlb/opennlb/portrules"
	"github.com/opennlb/opennlb/portrules/frames"
)

// sizeBar is how much more the decision may cost with many rules or VIPs than with one:
// nothing, but for what processors' caches and clocks do to two measurements.
const sizeBar = 1.15

// BenchmarkCost prints what the whole decision costs beside a program that only returns XDP_DROP,
// timed in the same run, and the bar: 5 times as much for TCP over IPv4, 7 times for
// IPv6, whatever the number of rules and VIPs. That is for XDP, which drops what another member answers.
func BenchmarkCost(b *testing.B) {
	bare := bareDrop(b)
	enterNamespace(b)
	e := openEngine(b, "auto", options{})
	var table costTable
	for _, family := range []costFamily{
		{"IPv4", netip.AddrPortFrom(frames.Client, frames.ClientPort), frames.VIP4, 5},
		{"IPv6", netip.AddrPortFrom(frames.Client6, frames.ClientPort), frames.VIP6, 7},
	} {
		smallest := time.Duration(0)
		for _, size := range []struct{ rules, vips int }{{1, 1}, {256, 1}, {1, 64}, {256, 64}} {
			serve(b, e, sizedPolicy(family.vip, size.rules, size.vips))
			row := costRow{name: fmt.Sprintf("%s TCP, rules: %d, VIPs: %d", family.name, size.rules, size.vips), bar: family.bar}
			frame := frames.TCPFrame(family.client, netip.AddrPortFrom(family.vip, 80), frames.SYN)
			b.Run("xdp/"+row.name, func(b *testing.B) {
				row.xdp, row.bare = compareCost(b, e.objects.collection.Programs[xdp.name], bare, frame)
			})
			b.Run("tc/"+row.name, func(b *testing.B) {
				row.tc, _ = compareCost(b, e.objects.collection.Programs[tcIn.name], bare, frame)
			})
			if row.xdp == 0 {
				continue // not asked for
			}
			if smallest == 0 {
				smallest = row.xdp
			}
			row.growth = float64(row.xdp) / float64(smallest)
			if row.ratio() > row.bar || row.growth > sizeBar {
				b.Errorf("%s: %.1f times a bare drop, the bar is %.0f; %.2f times the smallest, the bar is %.2f",
					row.name, row.ratio(), row.bar, row.growth, sizeBar)
			}
			table = append(table, row)
		}
	}
	table.print()
}

type costFamily struct {
	name   string
	client netip.AddrPort
	vip    netip.Addr
	bar    float64
}

type costRow struct {
	name          string
	xdp, tc, bare time.Duration // per packet
	bar, growth   float64
}

func (r costRow) ratio() float64 { return float64(r.xdp) / float64(r.bare) }

type costTable []costRow

func (t costTable) print() {
	if len(t) == 0 {
		return
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\ndecision\tXDP ns\tbare drop ns\tratio\tbar\tto the smallest\tbar\ttc ns\t\n")
	for _, r := range t {
		fmt.Fprintf(w, "%s\t%d\t%d\t%.1f\t%.0f\t%.2f\t%.2f\t%d\t\n", r.name, r.xdp, r.bare, r.ratio(), r.bar, r.growth, sizeBar, r.tc)
	}
	fmt.Fprintln(w)
	w.Flush()
}

// sizedPolicy returns a policy of so many rules, each with a table, all of them other members',
// and VIPs, of which vip is the first. One rule is for all VIPs.
func sizedPolicy(vip netip.Addr, rules, vips int) *portrules.Policy {
	p := &portrules.Policy{HashKey: frames.Policy(nil).HashKey, Tables: make([]portrules.Buckets, rules+1), DefaultTable: rules}
	for range vips {
		p.VIPs = append(p.VIPs, vip)
		vip = vip.Next()
	}
	for i := range rules {
		first := uint16(i / vips * 200)
		r := portrules.Rule{Name: fmt.Sprintf("rule-%d", i), ID: uint16(i), Protocol: portrules.Both, First: first, Last: first + 199}
		if rules > 1 {
			r.VIP = p.VIPs[i%vips]
		}
		p.Rules = append(p.Rules, r)
		p.RuleTable = append(p.RuleTable, i)
		p.Tables[i][i] = portrules.Own // tables differ
	}
	return p
}

// TestSizedPolicy: the policies whose cost is measured are such as can be installed.
func TestSizedPolicy(t *testing.T) {
	for _, size := range []struct{ rules, vips int }{{1, 1}, {256, 1}, {1, 64}, {256, 64}} {
		if err := check(sizedPolicy(frames.VIP4, size.rules, size.vips)); err != nil {
			t.Errorf("%d rules, %d VIPs: %v", size.rules, size.vips, err)
		}
	}
}
