package portrules

import (
	"net/netip"
	"slices"

	"github.com/opennlb/opennlb/nlbhash"
)

// Env is what a decision depends on besides the policy and the packet. A nil
// function stands for one that answers no.
type Env struct {
	LeaseOver        bool                           // the agent has not renewed the lease
	Fence            uint64                         // highest epoch that is known to leave this member out
	HasSocket        func(Flow) bool                // a TCP socket of this member, not a listener, has exactly this flow
	HasNAT           func(Flow) bool                // this member passes this live TCP connection on to another address
	HasCookie        func(Flow) bool                // the segment that is judged has a SYN cookie that a listener of this member gave
	FragmentAccepted func(FragmentKey) bool         // the first fragment of this datagram was accepted here
	FragmentRefused  func(FragmentKey) bool         // it came, and was not accepted here
	Beacon           func([BeaconSize]byte) Reason  // judges a beacon, see Listener; nil: this member hears none
	Client           func(ClientKey) (Client, bool) // what is remembered of a client, see Clients; nil: no rule keeps any
}

// Decision is what becomes of a frame, and why.
type Decision struct {
	Verdict        Verdict
	Reason         Reason
	Rule           int   // index into Policy.Rules, or -1
	Table          int   // index into Policy.Tables, or -1 where no table was asked
	Bucket         int   // the client's bucket in that table, or -1
	Flags          Flags // of that bucket
	RecordFragment bool  // enter Packet.Fragment.Key in the fragment table as accepted
	RecordRefusal  bool  // enter it as refused

	Client ClientKey // where the rule keeps clients
	Note   Note      // what becomes of it in the table of clients
}

// Decide says what this member does with a frame, as docs/DECISION.md puts it;
// numbers in the comments are its paragraphs. It is the whole decision as tc makes
// it; XDP leaves accepts and neighbor drops to tc. A beacon may raise the fence: it
// holds from the next frame on.
func (p *Policy) Decide(pkt *Packet, env Env) Decision {
	d := Decision{Rule: -1, Table: -1, Bucket: -1}
	d.Verdict, d.Reason = p.decide(&d, pkt, env)
	d.RecordFragment = d.Verdict == Accept && pkt.Fragment.First
	d.RecordRefusal = d.Verdict == Drop && pkt.Fragment.First && (d.Rule >= 0 || d.Table >= 0)
	return d
}

func (p *Policy) decide(d *Decision, pkt *Packet, env Env) (Verdict, Reason) {
	if pkt.Kind == Beacon {
		return decideBeacon(pkt, env)
	}
	// 1, 2: neighbors, whatever the lease: the kernel must never answer for a VIP.
	switch {
	case pkt.Kind == ARP:
		return p.decideARP(pkt)
	case pkt.Target.IsValid() && p.isVIP(pkt.Target):
		return Drop, Neighbor
	case pkt.Advert && p.isVIP(pkt.Dst):
		return Accept, NeighborReply
	}
	if pkt.Kind != IP || !p.isVIP(pkt.Dst) { // 3
		return Pass, NotVIP
	}
	if env.LeaseOver { // 4
		return Drop, LeaseOver
	}
	if env.Fence != 0 && env.Fence >= p.Epoch {
		return Drop, Fenced
	}
	if pkt.Malformed { // 5, 8
		return Drop, Malformed
	}
	if pkt.Fragment.Later { // 6
		if env.FragmentAccepted != nil && env.FragmentAccepted(pkt.Fragment.Key) {
			return Accept, FragmentOf
		}
		if !pkt.Fragment.Plain || env.FragmentRefused != nil && env.FragmentRefused(pkt.Fragment.Key) {
			return Drop, StrayFragment
		}
		return Accept, EarlyFragment
	}

	protocol, flow := pkt.protocol(), pkt.Flow()
	d.Rule = p.find(pkt.Dst, protocol, flow.Dst.Port()) // 7, 9
	switch {
	case d.Rule >= 0 && p.Rules[d.Rule].Mode == Disabled:
		return Drop, p.refuse(d, flow.Src)
	case d.Rule < 0 && transport(protocol) == 0:
		p.ask(d, protocol, flow.Src)
		if d.Flags&Own == 0 {
			return Drop, NotDefault
		}
		return Accept, DefaultHost
	}
	p.ask(d, protocol, flow.Src)
	if keep := p.keep(d.Rule, protocol); keep > 0 && env.Client != nil {
		d.Client = p.ClientKey(d.Rule, protocol, flow)
		if verdict, reason, decided := d.kept(pkt, keep, env.Client); decided {
			return verdict, reason
		}
	}
	return judge(d.Flags, pkt, env)
}

// refuse is for rules whose mode is disabled (9).
func (p *Policy) refuse(d *Decision, client netip.AddrPort) Reason {
	if !p.Rules[d.Rule].Reject {
		return RuleDisabled
	}
	d.Table, d.Bucket = p.DefaultTable, p.BucketOf(-1, client)
	d.Flags = p.Tables[d.Table][d.Bucket]
	if d.Flags&Own == 0 {
		return RuleDisabled
	}
	return Rejected
}

// ask fills in the part of the decision that a table gives (9, 10).
func (p *Policy) ask(d *Decision, protocol uint8, client netip.AddrPort) {
	d.Table, d.Bucket = p.TableOf(d.Rule), int(p.hash(d.Rule, protocol, client)%nlbhash.Buckets)
	d.Flags = p.Tables[d.Table][d.Bucket]
}

func (p *Policy) decideARP(pkt *Packet) (Verdict, Reason) {
	switch sender, target := p.isVIP(pkt.Src), p.isVIP(pkt.Dst); {
	case !sender && !target:
		return Pass, NotVIP
	case !sender && pkt.ARPReply:
		return Accept, NeighborReply
	}
	return Drop, Neighbor
}

func decideBeacon(pkt *Packet, env Env) (Verdict, Reason) {
	switch {
	case env.Beacon == nil:
		return Pass, NotVIP
	case pkt.Malformed:
		return Drop, BeaconForged
	}
	return Drop, env.Beacon(pkt.Beacon)
}

// judge applies the flags of a bucket to a packet that a rule covers, or that has ports (11).
func judge(flags Flags, pkt *Packet, env Env) (Verdict, Reason) {
	tcp := pkt.protocol() == ProtoTCP
	switch {
	case flags&Own != 0 && pkt.SYN:
		return Accept, New
	case flags&Own != 0 && flags&Foreign == 0:
		return Accept, Owner
	case flags&Own != 0 && !tcp:
		return Accept, Owner
	case flags&Own != 0 && pkt.isServed(env):
		return Accept, Established
	case flags&Own != 0:
		return Drop, ForeignHeld
	case flags&Residual != 0 && tcp && !pkt.SYN && pkt.isServed(env):
		return Accept, ResidualConn
	}
	return Drop, NotOwner
}

// isServed reports whether the packet belongs to a TCP connection of this member.
func (p *Packet) isServed(env Env) bool {
	return env.HasSocket != nil && env.HasSocket(p.Flow()) || env.HasNAT != nil && env.HasNAT(p.Flow()) ||
		env.HasCookie != nil && p.Quote.Protocol == 0 && env.HasCookie(p.Flow())
}

// protocol is the IP protocol of the packet, or of the one that it tells of, if it is an
// ICMP error.
func (p *Packet) protocol() uint8 {
	if p.Quote.Protocol != 0 {
		return p.Quote.Protocol
	}
	return p.Protocol
}

func (p *Policy) isVIP(addr netip.Addr) bool {
	return slices.Contains(p.VIPs, addr)
}
