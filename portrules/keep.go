package portrules

import (
	"net/netip"
	"time"

	"github.com/opennlb/opennlb/nlbhash"
)

const (
	// KeepUDP is how long a flow of UDP that falls silent keeps its member, where
	// the rule has no timeout and its affinity is not none.
	KeepUDP = 30 * time.Second
	// KeepGuard is how much longer than that a new owner leaves a client alone: two
	// members may differ a little about when they heard it last.
	KeepGuard = time.Second
)

// KeepClients is how long a client that falls silent, or a flow of it, see ByFlow, keeps
// its member, whatever happens to its bucket; 0: not at all.
func (r *Rule) KeepClients(protocol Protocol) time.Duration {
	switch {
	case r.Mode == Disabled || !r.Protocol.Has(protocol):
		return 0
	case r.Timeout > 0:
		return r.Timeout
	case protocol == UDP && r.Affinity != AffinityNone:
		return KeepUDP
	}
	return 0
}

// ByFlow reports whether a rule keeps each flow of a client by itself, and not the client:
// without a timeout, so that a client that never falls silent, a resolver, say, takes its
// new flows to the owner of its bucket.
func (r *Rule) ByFlow() bool { return r.Timeout == 0 }

// isFlow reports whether a packet to a port is of one flow among many: with UDP. Tunnels
// have no ports, and IKE goes with the tunnels that it sets up.
func isFlow(protocol uint8, port uint16) bool {
	return protocol == ProtoUDP && port != portIKE && port != portIKENAT
}

// ClientKey is what makes two packets those of one client, or of one flow.
type ClientKey struct {
	Rule   uint16 // ID
	Bucket uint16 // of the client
	Hash   uint64 // of the affinity key or, of a flow, of address and port
}

// ClientKey is what stands for a client of a rule, or for its flow, in the table of clients.
func (p *Policy) ClientKey(rule int, protocol uint8, f Flow) ClientKey {
	hash := p.hash(rule, protocol, f.Src)
	key := ClientKey{p.Rules[rule].ID, uint16(hash % nlbhash.Buckets), hash}
	if p.Rules[rule].ByFlow() && isFlow(protocol, f.Dst.Port()) {
		var buf [18]byte
		key.Hash = nlbhash.Sum(p.HashKey, AppendAffinityKey(buf[:0], AffinityNone, f.Src))
	}
	return key
}

// Client is what a member remembers of a client. Every member hears all clients, and so
// knows of all that another one serves them.
type Client struct {
	Addr   netip.AddrPort // one of those that the key stands for
	Mine   bool           // this member answered it; else another does
	Silent time.Duration  // since its last packet
}

// Note is what becomes of the client's entry in the table of clients.
type Note uint8

const (
	NoteNothing Note = iota
	NoteMine         // seen now, and mine
	NoteOther        // seen now, and not mine
)

// keep is how long a rule keeps a silent client, -1 standing for no rule. A tunnel is of
// the service that sets it up.
func (p *Policy) keep(rule int, protocol uint8) time.Duration {
	if rule < 0 {
		return 0
	}
	return p.Rules[rule].KeepClients(service(protocol))
}

// kept looks at the client of a rule that keeps clients, before the flags of the
// bucket are applied (12). decided says that the client decides, and not the flags.
func (d *Decision) kept(pkt *Packet, keep time.Duration, known func(ClientKey) (Client, bool)) (v Verdict, r Reason, decided bool) {
	if pkt.Quote.Protocol != 0 { // it follows the client, but is not heard from it
		defer func() { d.Note = NoteNothing }()
	}
	c, ok := known(d.Client)
	mine := ok && c.Mine && c.Silent < keep
	other := ok && !c.Mine && c.Silent < keep+KeepGuard
	opens := pkt.SYN || pkt.protocol() != ProtoTCP // later segments of TCP go where their connection is
	switch {
	case d.Flags&Own != 0 && d.Flags&Foreign == 0:
		d.Note = NoteMine
	case d.Flags&Own != 0 && other:
		d.Note = NoteOther
		return Drop, ForeignHeld, opens
	case d.Flags&Own != 0:
		if opens || mine {
			d.Note = NoteMine
		}
	case d.Flags&Residual != 0 && mine:
		d.Note = NoteMine
		if pkt.SYN {
			return Accept, New, true
		}
		return Accept, ResidualConn, opens
	default:
		d.Note = NoteOther
	}
	return 0, 0, false
}
