package frames

import (
	"fmt"

	"github.com/opennlb/opennlb/portrules"
)

// Paragraph 11: the table of flags, for the rule of port 80, for port 8080, which
// no rule covers, and for UDP.
func (f family) flagVectors() []Vector {
	const (
		own      = portrules.Own
		foreign  = portrules.Own | portrules.Foreign
		residual = portrules.Residual
	)
	accept, drop := portrules.Accept, portrules.Drop
	var all []Vector
	for _, row := range []struct {
		name    string
		flags   portrules.Flags
		tcp     uint8
		socket  bool
		verdict portrules.Verdict
		reason  portrules.Reason
	}{
		{"own, syn", own, SYN, false, accept, portrules.New},
		{"own, syn, socket", own, SYN, true, accept, portrules.New},
		{"own, syn with ecn bits", own, SYN | 0xc0, false, accept, portrules.New},
		{"own, syn and fin", own, SYN | FIN, false, accept, portrules.New},
		{"own, syn and ack", own, SYN | ACK, false, accept, portrules.Owner},
		{"own, ack", own, ACK, false, accept, portrules.Owner},
		{"own, ack, socket", own, ACK, true, accept, portrules.Owner},
		{"own, rst", own, RST, false, accept, portrules.Owner},
		{"own, no flags", own, 0, false, accept, portrules.Owner},
		{"foreign, syn", foreign, SYN, false, accept, portrules.New},
		{"foreign, syn, socket", foreign, SYN, true, accept, portrules.New},
		{"foreign, ack", foreign, ACK, false, drop, portrules.ForeignHeld},
		{"foreign, ack, socket", foreign, ACK, true, accept, portrules.Established},
		{"foreign, syn and ack", foreign, SYN | ACK, false, drop, portrules.ForeignHeld},
		{"foreign, rst", foreign, RST, false, drop, portrules.ForeignHeld},
		{"residual, syn", residual, SYN, false, drop, portrules.NotOwner},
		{"residual, syn, socket", residual, SYN, true, drop, portrules.NotOwner},
		{"residual, ack", residual, ACK, false, drop, portrules.NotOwner},
		{"residual, ack, socket", residual, ACK, true, accept, portrules.ResidualConn},
		{"residual, fin and ack, socket", residual, FIN | ACK, true, accept, portrules.ResidualConn},
		{"residual, syn and ack, socket", residual, SYN | ACK, true, accept, portrules.ResidualConn},
		{"none, syn", 0, SYN, false, drop, portrules.NotOwner},
		{"none, ack", 0, ACK, false, drop, portrules.NotOwner},
		{"none, ack, socket", 0, ACK, true, drop, portrules.NotOwner},
	} {
		for _, t := range []struct{ table, rule int }{{WebTable, Web}, {DefaultTable, -1}} {
			dst := f.web
			if t.rule < 0 {
				dst = f.plain
			}
			v := Vector{Name: fmt.Sprintf("tcp %s, rule %d", row.name, t.rule), Frame: TCPFrame(f.from, dst, row.tcp),
				Policy:  Policy(map[int]portrules.Flags{t.table: row.flags}),
				Verdict: row.verdict, Reason: row.reason, Rule: t.rule}
			if row.socket {
				v.Socket = portrules.Flow{Src: f.from, Dst: dst}
			}
			all = append(all, v)
		}
	}

	elsewhere := Vector{Name: "tcp foreign, ack, socket of another flow", Frame: TCPFrame(f.from, f.web, ACK),
		Policy: Policy(map[int]portrules.Flags{WebTable: foreign}), Socket: portrules.Flow{Src: f.from, Dst: f.plain}}
	all = append(all, elsewhere.drop(portrules.ForeignHeld, Web))

	dns := f.dnsRule()
	udp := func(name string, flags portrules.Flags) Vector {
		return Vector{Name: "udp " + name, Frame: UDPFrame(f.from, f.dns), Policy: Policy(map[int]portrules.Flags{DNSTable: flags}),
			Socket: portrules.Flow{Src: f.from, Dst: f.dns}} // a TCP socket, which is not asked
	}
	return append(all,
		udp("own", own).accept(portrules.Owner, dns),
		udp("foreign", foreign).accept(portrules.Owner, dns),
		udp("residual", residual).drop(portrules.NotOwner, dns),
		udp("none", 0).drop(portrules.NotOwner, dns),
	)
}
