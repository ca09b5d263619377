package main

import (
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/portrules"
)

// rate is packets per second at one member, of a rule or of all.
type rate struct {
	fresh    float64 // accepted TCP SYNs: new connections
	accepted float64 // all, those included
	others   float64 // left to the member that answers them
	dropped  float64 // for any other reason
}

func (r *rate) add(o rate) {
	r.fresh += o.fresh
	r.accepted += o.accepted
	r.others += o.others
	r.dropped += o.dropped
}

// rates compares what a member counted at two moments, by rule; "" is what no rule covers.
// Beacons, which members send each other, are left out.
func rates(before, now []control.Counter, elapsed time.Duration) map[string]rate {
	type exit struct{ rule, reason string }
	count := make(map[exit]float64) // several parts of an engine may count one exit
	for _, c := range now {
		count[exit{c.Rule, c.Reason}] += float64(c.Packets)
	}
	for _, c := range before {
		count[exit{c.Rule, c.Reason}] -= float64(c.Packets)
	}
	out := make(map[string]rate)
	if elapsed <= 0 {
		return out
	}
	for e, n := range count {
		n = max(0, n) / elapsed.Seconds() // less than before: nlbd was started anew
		var r rate
		switch reason := reasonOf(e.reason); {
		case reason == portrules.New:
			r.fresh, r.accepted = n, n
		case reason.Verdict() == portrules.Accept:
			r.accepted = n
		case reason == portrules.NotOwner || reason == portrules.NotDefault:
			r.others = n
		case reason == portrules.BeaconHeard || reason == portrules.BeaconReplayed:
		default:
			r.dropped = n
		}
		r.add(out[e.rule])
		out[e.rule] = r
	}
	return out
}

// reasonOf finds a reason by its name; one that is not known counts as a drop.
func reasonOf(name string) portrules.Reason {
	for r := range portrules.NumReasons {
		if r.String() == name {
			return r
		}
	}
	return portrules.NumReasons
}

// rateTable shows the rules with their shares and what the member asked does about each.
func (c *cli) rateTable(w io.Writer, s control.Status, by map[string]rate) {
	rows := [][]cell{header("RULE", "PORTS", "MODE", "NEW/S", "ACCEPTED/S", "OTHERS'/S", "DROPPED/S", "SHARES")}
	row := func(name, ports, mode, shares string, r rate) {
		rows = append(rows, []cell{
			text(name), text(ports), text(mode), perSecond(r.fresh), perSecond(r.accepted), perSecond(r.others), perSecond(r.dropped), text(shares),
		})
	}
	var total rate
	for _, r := range by {
		total.add(r)
	}
	for _, r := range s.Rules {
		row(r.Name, r.Ports, r.Mode.String(), shares(r.Owners), by[r.Name])
	}
	row("no rule", "", "", orNobody(s.DefaultHost), by[""])
	row("all", "", "", "", total)
	for i := range rows[0] { // headings of numbers stand above them
		rows[0][i].right = slices.Contains([]string{"NEW/S", "ACCEPTED/S", "OTHERS'/S", "DROPPED/S"}, rows[0][i].text)
	}
	fmt.Fprintf(w, "Packets per second at %s\n", printable(s.Self))
	columns(w, rows)
}

func perSecond(v float64) cell {
	if v > 0 && v < 10 {
		return number(fmt.Sprintf("%.1f", v))
	}
	return number(fmt.Sprintf("%.0f", v))
}
