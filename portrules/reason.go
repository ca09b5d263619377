package portrules

// Verdict is what happens to a frame.
type Verdict uint8

const (
	Pass   Verdict = iota // not ours: untouched
	Accept                // this member answers: to the kernel, as if sent to its own MAC
	Drop                  // kept from the kernel
)

// Reason names the exit that a frame took. The numbers are shared with the eBPF
// program (dataplane/ebpf/bpf/reasons.h) and index its counters.
type Reason uint8

const (
	NotVIP         Reason = iota // pass: not addressed to a VIP; never counted
	New                          // accept: TCP SYN in an own bucket
	Owner                        // accept: other traffic in an own bucket
	Established                  // accept: foreign-held bucket, connection found in own socket table
	ResidualConn                 // accept: residual bucket, connection found in own socket table
	DefaultHost                  // accept: ICMP and other protocols, this member is the default host
	FragmentOf                   // accept: later fragment of a datagram accepted here
	EarlyFragment                // accept: later fragment that came before the first one; all members keep it
	NeighborReply                // accept: ARP reply or NDP advertisement to a VIP
	LeaseOver                    // drop: the agent has not renewed the lease
	NotOwner                     // drop: another member answers
	NotDefault                   // drop: ICMP and other protocols, another member is the default host
	RuleDisabled                 // drop: the rule's mode is disabled
	ForeignHeld                  // drop: own bucket, but another member may hold this connection
	StrayFragment                // drop: later fragment, first one came and was not accepted here
	Neighbor                     // drop: ARP or NDP about a VIP; the agent answers
	Malformed                    // drop: truncated or inconsistent header
	Fenced                       // drop: an epoch above that of the policy left this member out
	BeaconHeard                  // drop: a beacon; the engine has taken note of it
	BeaconForged                 // drop: a beacon, but truncated or not from a holder of the key
	BeaconReplayed               // drop: a beacon that was heard before, or a later one of its sequence
	Rejected                     // drop: the rule's mode is disabled, and this member, the default host, says so
	NumReasons
)

// Verdict is what a reason leads to: they are sorted by it.
func (r Reason) Verdict() Verdict {
	switch {
	case r == NotVIP:
		return Pass
	case r < LeaseOver:
		return Accept
	}
	return Drop
}
