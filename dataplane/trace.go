package dataplane

import (
	"context"
	"errors"
	"net/netip"

	"github.com/opennlb/opennlb/portrules"
)

// ErrTracing says that a trace is running already.
var ErrTracing = errors.New("another trace is running: end that one first")

// Tracer is an engine that can show live decisions.
type Tracer interface {
	// Trace samples the IP packets that the engine counts until ctx ends; the channel
	// is closed then. A busy engine tells of some packets only, and counts the others;
	// a reader who is late misses samples too. One trace runs at a time: else ErrTracing.
	Trace(ctx context.Context, filter TraceFilter) (<-chan Sample, error)
}

// TraceFilter says which packets are of interest. The zero value takes all.
type TraceFilter struct {
	Client netip.Prefix // of the source; zero: any
	Port   uint16       // the destination port; 0: any, and packets without ports
}

// Sample is one packet and what became of it.
type Sample struct {
	At       Instant          // to a kernel tick
	Client   netip.AddrPort   // port 0 where there is none
	VIP      netip.AddrPort   //
	Protocol uint8            // of the IP header; for IPv6 of the fixed one
	Rule     uint16           // its ID; portrules.NumRuleIDs: no rule covers it
	Reason   portrules.Reason // which also says the verdict
	Missed   uint64           // packets that matched and were not told, since the trace began
}
