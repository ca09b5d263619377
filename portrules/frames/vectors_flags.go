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
	const ( // what the member has of the connection
		nothing = iota
		socket
		nat
	)
	accept, drop := portrules.Accept, portrules.Drop
	var all []Vector
	for _, row := range []struct {
		name    string
		flags   portrules.Flags
		tcp     uint8
		has     int
		verdict portrules.Verdict
		reason  portrules.Reason
	}{
		{"own, syn", own, SYN, nothing, accept, portrules.New},
		{"own, syn, socket", own, SYN, socket, accept, portrules.New},
		{"own, syn with ecn bits", own, SYN | 0xc0, nothing, accept, portrules.New},
		{"own, syn and fin", own, SYN | FIN, nothing, accept, portrules.New},
		{"own, syn and ack", own, SYN | ACK, nothing, accept, portrules.Owner},
		{"own, ack", own, ACK, nothing, accept, portrules.Owner},
		{"own, ack, socket", own, ACK, socket, accept, portrules.Owner},
		{"own, ack, nat", own, ACK, nat, accept, portrules.Owner},
		{"own, rst", own, RST, nothing, accept, portrules.Owner},
		{"own, no flags", own, 0, nothing, accept, portrules.Owner},
		{"foreign, syn", foreign, SYN, nothing, accept, portrules.New},
		{"foreign, syn, socket", foreign, SYN, socket, accept, portrules.New},
		{"foreign, syn, nat", foreign, SYN, nat, accept, portrules.New},
		{"foreign, ack", foreign, ACK, nothing, drop, portrules.ForeignHeld},
		{"foreign, ack, socket", foreign, ACK, socket, accept, portrules.Established},
		{"foreign, ack, nat", foreign, ACK, nat, accept, portrules.Established},
		{"foreign, syn and ack", foreign, SYN | ACK, nothing, drop, portrules.ForeignHeld},
		{"foreign, rst", foreign, RST, nothing, drop, portrules.ForeignHeld},
		{"residual, syn", residual, SYN, nothing, drop, portrules.NotOwner},
		{"residual, syn, socket", residual, SYN, socket, drop, portrules.NotOwner},
		{"residual, syn, nat", residual, SYN, nat, drop, portrules.NotOwner},
		{"residual, ack", residual, ACK, nothing, drop, portrules.NotOwner},
		{"residual, ack, socket", residual, ACK, socket, accept, portrules.ResidualConn},
		{"residual, ack, nat", residual, ACK, nat, accept, portrules.ResidualConn},
		{"residual, fin and ack, socket", residual, FIN | ACK, socket, accept, portrules.ResidualConn},
		{"residual, fin and ack, nat", residual, FIN | ACK, nat, accept, portrules.ResidualConn},
		{"residual, syn and ack, socket", residual, SYN | ACK, socket, accept, portrules.ResidualConn},
		{"residual, syn and ack, nat", residual, SYN | ACK, nat, accept, portrules.ResidualConn},
		{"none, syn", 0, SYN, nothing, drop, portrules.NotOwner},
		{"none, ack", 0, ACK, nothing, drop, portrules.NotOwner},
		{"none, ack, socket", 0, ACK, socket, drop, portrules.NotOwner},
		{"none, ack, nat", 0, ACK, nat, drop, portrules.NotOwner},
	} {
		for _, t := range []struct{ table, rule int }{{WebTable, Web}, {DefaultTable, -1}} {
			dst := f.web
			if t.rule < 0 {
				dst = f.plain
			}
			v := Vector{Name: fmt.Sprintf("tcp %s, rule %d", row.name, t.rule), Frame: TCPFrame(f.from, dst, row.tcp),
				Policy:  Policy(map[int]portrules.Flags{t.table: row.flags}),
				Verdict: row.verdict, Reason: row.reason, Rule: t.rule}
			switch flow := (portrules.Flow{Src: f.from, Dst: dst}); row.has {
			case socket:
				v.Socket = flow
			case nat:
				v.NAT = flow
			}
			all = append(all, v)
		}
	}

	elsewhere := Vector{Name: "tcp foreign, ack, socket of another flow", Frame: TCPFrame(f.from, f.web, ACK),
		Policy: Policy(map[int]portrules.Flags{WebTable: foreign}), Socket: portrules.Flow{Src: f.from, Dst: f.plain}}
	all = append(all, elsewhere.drop(portrules.ForeignHeld, Web))
	elsewhere.Name, elsewhere.NAT, elsewhere.Socket = "tcp foreign, ack, nat of another flow", elsewhere.Socket, portrules.Flow{}
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
