package frames

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/opennlb/opennlb/portrules"
)

// Clients that stay (11): rule Kept with 10 minutes, rule Last with those of UDP.
func (f family) clientVectors() []Vector {
	const (
		own      = portrules.Own
		foreign  = portrules.Own | portrules.Foreign
		residual = portrules.Residual

		nothing = portrules.NoteNothing
		mine    = portrules.NoteMine
		other   = portrules.NoteOther

		timeout = 10 * time.Minute
	)
	const ( // the packet
		syn = iota
		ack
		udp
	)
	accept, drop := portrules.Accept, portrules.Drop
	seen := func(mine bool, ago time.Duration) *portrules.Client {
		return &portrules.Client{Mine: mine, Silent: ago}
	}
	kept, late := seen(true, timeout-time.Minute), seen(true, timeout+time.Minute)
	theirs, guarded, gone := seen(false, timeout-time.Minute), seen(false, timeout+portrules.KeepGuard/2), seen(false, timeout+time.Minute)
	var all []Vector
	for _, row := range []struct {
		name    string
		flags   portrules.Flags
		packet  int
		known   *portrules.Client
		socket  bool
		verdict portrules.Verdict
		reason  portrules.Reason
		noted   portrules.Note
	}{
		{"own, syn", own, syn, nil, false, accept, portrules.New, mine},
		{"own, ack", own, ack, nil, false, accept, portrules.Owner, mine},
		{"own, udp", own, udp, nil, false, accept, portrules.Owner, mine},
		{"own, syn, theirs", own, syn, theirs, false, accept, portrules.New, mine},
		{"own, udp, theirs", own, udp, theirs, false, accept, portrules.Owner, mine},
		{"none, syn", 0, syn, nil, false, drop, portrules.NotOwner, other},
		{"none, ack, socket", 0, ack, nil, true, drop, portrules.NotOwner, other},
		{"none, udp", 0, udp, nil, false, drop, portrules.NotOwner, other},
		{"none, syn, mine", 0, syn, kept, false, drop, portrules.NotOwner, other},
		{"none, udp, mine", 0, udp, kept, false, drop, portrules.NotOwner, other},
		{"residual, syn", residual, syn, nil, false, drop, portrules.NotOwner, other},
		{"residual, syn, mine", residual, syn, kept, false, accept, portrules.New, mine},
		{"residual, syn, mine, late", residual, syn, late, false, drop, portrules.NotOwner, other},
		{"residual, syn, theirs", residual, syn, theirs, false, drop, portrules.NotOwner, other},
		{"residual, ack, mine", residual, ack, kept, false, drop, portrules.NotOwner, mine},
		{"residual, ack, mine, socket", residual, ack, kept, true, accept, portrules.ResidualConn, mine},
		{"residual, ack, mine, late, socket", residual, ack, late, true, accept, portrules.ResidualConn, other},
		{"residual, udp", residual, udp, nil, false, drop, portrules.NotOwner, other},
		{"residual, udp, mine", residual, udp, kept, false, accept, portrules.ResidualConn, mine},
		{"residual, udp, mine, late", residual, udp, late, false, drop, portrules.NotOwner, other},
		{"residual, udp, theirs", residual, udp, theirs, false, drop, portrules.NotOwner, other},
		{"foreign, syn", foreign, syn, nil, false, accept, portrules.New, mine},
		{"foreign, syn, theirs", foreign, syn, theirs, false, drop, portrules.ForeignHeld, other},
		{"foreign, syn, theirs, guarded", foreign, syn, guarded, false, drop, portrules.ForeignHeld, other},
		{"foreign, syn, theirs, gone", foreign, syn, gone, false, accept, portrules.New, mine},
		{"foreign, syn, mine", foreign, syn, kept, false, accept, portrules.New, mine},
		{"foreign, syn, mine, late", foreign, syn, late, false, accept, portrules.New, mine},
		{"foreign, ack", foreign, ack, nil, false, drop, portrules.ForeignHeld, nothing},
		{"foreign, ack, theirs", foreign, ack, theirs, false, drop, portrules.ForeignHeld, other},
		{"foreign, ack, theirs, socket", foreign, ack, theirs, true, accept, portrules.Established, other},
		{"foreign, ack, theirs, gone", foreign, ack, gone, false, drop, portrules.ForeignHeld, nothing},
		{"foreign, ack, mine", foreign, ack, kept, false, drop, portrules.ForeignHeld, mine},
		{"foreign, ack, mine, socket", foreign, ack, kept, true, accept, portrules.Established, mine},
		{"foreign, udp", foreign, udp, nil, false, accept, portrules.Owner, mine},
		{"foreign, udp, theirs", foreign, udp, theirs, false, drop, portrules.ForeignHeld, other},
		{"foreign, udp, theirs, guarded", foreign, udp, guarded, false, drop, portrules.ForeignHeld, other},
		{"foreign, udp, theirs, gone", foreign, udp, gone, false, accept, portrules.Owner, mine},
		{"foreign, udp, mine", foreign, udp, kept, false, accept, portrules.Owner, mine},
	} {
		dst := netip.AddrPortFrom(f.vip, 8000)
		v := Vector{Name: "client, " + row.name, Policy: Policy(map[int]portrules.Flags{DNSTable: row.flags}), Known: row.known,
			Verdict: row.verdict, Reason: row.reason, Rule: Kept, Noted: row.noted}
		switch row.packet {
		case syn:
			v.Frame = TCPFrame(f.from, dst, SYN)
		case ack:
			v.Frame = TCPFrame(f.from, dst, ACK)
		case udp:
			v.Frame = UDPFrame(f.from, dst)
		}
		if row.socket {
			v.Socket = portrules.Flow{Src: f.from, Dst: dst}
		}
		all = append(all, v)
	}

	last := func(name string, silent time.Duration) Vector {
		return Vector{Name: "client of UDP, " + name, Policy: Policy(map[int]portrules.Flags{DNSTable: residual}),
			Frame: UDPFrame(f.from, netip.AddrPortFrom(f.vip, 65535)), Known: seen(true, silent), Noted: other}
	}
	silent := last("mine", portrules.KeepUDP/2)
	silent.Noted = mine
	all = append(all, silent.accept(portrules.ResidualConn, Last), last("mine, late", 2*portrules.KeepUDP).drop(portrules.NotOwner, Last))
	return slices.Concat(all, f.clientErrorVectors(), f.clientProtocolVectors())
}

// ICMP errors go where the client is, and are not heard from it.
func (f family) clientErrorVectors() []Vector {
	const own, foreign, residual = portrules.Own, portrules.Own | portrules.Foreign, portrules.Residual
	from := netip.AddrPortFrom(f.vip, 8000)
	udp := f.sent(portrules.ProtoUDP, UDP(from, f.from, []byte("answer")))
	tcp := f.sent(portrules.ProtoTCP, TCP(from, f.from, ACK, []byte("data")))
	about := func(name string, flags portrules.Flags, mine bool, quoted []byte) Vector {
		return Vector{Name: "error about a client, " + name, Policy: Policy(map[int]portrules.Flags{DNSTable: flags}),
			Known: &portrules.Client{Mine: mine, Silent: time.Minute}, Frame: ErrorFrame(f.router(), f.vip, f.mtuError(), quoted)}
	}
	unknown := func(v Vector) Vector { v.Known = nil; v.Name += ", unknown"; return v }
	has := func(v Vector) Vector {
		v.Socket = portrules.Flow{Src: f.from, Dst: from}
		v.Name += ", socket"
		return v
	}
	return []Vector{
		about("udp, own, theirs", own, false, udp).accept(portrules.Owner, Kept),
		about("udp, foreign, theirs", foreign, false, udp).drop(portrules.ForeignHeld, Kept),
		about("udp, foreign, mine", foreign, true, udp).accept(portrules.Owner, Kept),
		about("udp, residual, theirs", residual, false, udp).drop(portrules.NotOwner, Kept),
		about("udp, residual, mine", residual, true, udp).accept(portrules.ResidualConn, Kept),
		about("udp, none, mine", 0, true, udp).drop(portrules.NotOwner, Kept),
		unknown(about("udp, own", own, true, udp)).accept(portrules.Owner, Kept),
		unknown(about("udp, foreign", foreign, true, udp)).accept(portrules.Owner, Kept),
		unknown(about("udp, residual", residual, true, udp)).drop(portrules.NotOwner, Kept),
		about("tcp, residual, mine", residual, true, tcp).drop(portrules.NotOwner, Kept),
		has(about("tcp, residual, theirs", residual, false, tcp)).accept(portrules.ResidualConn, Kept),
		about("tcp, foreign, mine", foreign, true, tcp).drop(portrules.ForeignHeld, Kept),
		has(about("tcp, foreign, theirs", foreign, false, tcp)).accept(portrules.Established, Kept),
	}
}

// Tunnels stay with the clients of the service that sets them up, and that by client, not
// by flow; SCTP where its rule has a timeout.
func (f family) clientProtocolVectors() []Vector {
	var all []Vector
	for _, c := range []struct {
		name     string
		protocol uint8
		rule     int
		table    int
		timeout  time.Duration // of the rule
		keep     time.Duration
	}{
		{"esp, udp", portrules.ProtoESP, IKE, DNSTable, 0, portrules.KeepUDP},
		{"esp, timeout", portrules.ProtoESP, IKE, DNSTable, time.Hour, time.Hour},
		{"gre, affinity none", portrules.ProtoGRE, PPTP, WebTable, time.Hour, time.Hour},
		{"gre, no timeout", portrules.ProtoGRE, PPTP, WebTable, 0, 0},
		{"sctp", portrules.ProtoSCTP, Signal, WebTable, time.Hour, time.Hour},
		{"sctp, no timeout", portrules.ProtoSCTP, Signal, WebTable, 0, 0},
		{"ike", portrules.ProtoUDP, IKE, DNSTable, 0, portrules.KeepUDP},
		{"ike behind nat", portrules.ProtoUDP, IKENAT, SSHTable, 0, portrules.KeepUDP},
	} {
		payload := make([]byte, 16)
		if c.protocol == portrules.ProtoSCTP {
			payload = SCTP(f.from, netip.AddrPortFrom(f.vip, 2905), nil)
		}
		if c.protocol == portrules.ProtoUDP {
			payload = UDP(f.from, netip.AddrPortFrom(f.vip, map[int]uint16{IKE: 500, IKENAT: 4500}[c.rule]), payload)
		}
		at := func(name string, flags portrules.Flags, mine, late bool, noted portrules.Note) Vector {
			p := Policy(map[int]portrules.Flags{c.table: flags})
			p.Rules[c.rule].Timeout = c.timeout
			v := Vector{Name: fmt.Sprintf("client of %s, %s", c.name, name), Policy: p, Frame: f.packet(c.protocol, payload)}
			if c.keep > 0 {
				v.Known, v.Noted = &portrules.Client{Mine: mine, Silent: c.keep / 2}, noted
			}
			if c.keep > 0 && late {
				v.Known.Silent *= 4
			}
			return v
		}
		const foreign, residual = portrules.Own | portrules.Foreign, portrules.Residual
		if c.keep == 0 {
			all = append(all,
				at("foreign", foreign, false, false, 0).accept(portrules.Owner, c.rule),
				at("residual", residual, true, false, 0).drop(portrules.NotOwner, c.rule))
			continue
		}
		all = append(all,
			at("own, theirs", portrules.Own, false, false, portrules.NoteMine).accept(portrules.Owner, c.rule),
			at("foreign, theirs", foreign, false, false, portrules.NoteOther).drop(portrules.ForeignHeld, c.rule),
			at("foreign, theirs, late", foreign, false, true, portrules.NoteMine).accept(portrules.Owner, c.rule),
			at("residual, mine", residual, true, false, portrules.NoteMine).accept(portrules.ResidualConn, c.rule),
			at("residual, mine, late", residual, true, true, portrules.NoteOther).drop(portrules.NotOwner, c.rule),
			at("residual, theirs", residual, false, false, portrules.NoteOther).drop(portrules.NotOwner, c.rule))
	}
	return all
}
