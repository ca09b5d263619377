package frames

import (
	"fmt"
	"net/netip"

	"github.com/opennlb/opennlb/portrules"
)

// Paragraph 7: protocols without ports that belong to a service.
func (f family) tunnelVectors() []Vector {
	const own, foreign, residual = portrules.Own, portrules.Own | portrules.Foreign, portrules.Residual
	only := func(table int, flags portrules.Flags) *portrules.Policy {
		return Policy(map[int]portrules.Flags{table: flags})
	}
	// without takes a rule's ports away from where a tunnel looks for them.
	without := func(p *portrules.Policy, rules ...int) *portrules.Policy {
		for _, r := range rules {
			p.Rules[r].First, p.Rules[r].Last = p.Rules[r].First+1, p.Rules[r].Last+1
		}
		return p
	}
	closed := func(rule int, reject bool) *portrules.Policy {
		p := mine()
		p.Rules[rule].Mode, p.Rules[rule].Reject = portrules.Disabled, reject
		return p
	}
	of := func(name string, protocol uint8, p *portrules.Policy) Vector {
		return Vector{Name: fmt.Sprintf("protocol %d %s", protocol, name), Policy: p, Frame: f.packet(protocol, make([]byte, 16))}
	}
	about := func(name string, protocol uint8, p *portrules.Policy) Vector {
		return Vector{Name: fmt.Sprintf("error about protocol %d %s", protocol, name), Policy: p,
			Frame: ErrorFrame(f.router(), f.vip, f.mtuError(), f.sent(protocol, make([]byte, 16)))}
	}
	const gre, esp, ah = portrules.ProtoGRE, portrules.ProtoESP, portrules.ProtoAH
	address := f.client.AsSlice()
	network, _ := f.client.Prefix(24)
	if f.client.Is6() {
		network, _ = f.client.Prefix(64)
	}
	empty := of("without a payload", gre, only(WebTable, own))
	empty.Frame = f.packet(gre, nil)
	all := []Vector{
		of("by the rule of pptp", gre, only(WebTable, own)).accept(portrules.Owner, PPTP),
		of("is not the default host's", gre, only(DefaultTable, own)).drop(portrules.NotOwner, PPTP),
		of("foreign", gre, only(WebTable, foreign)).accept(portrules.Owner, PPTP),
		of("residual", gre, only(WebTable, residual)).drop(portrules.NotOwner, PPTP),
		of("by the address in spite of affinity none", gre, OneBucket(WebTable, address)).accept(portrules.Owner, PPTP),
		of("disabled", gre, closed(PPTP, false)).drop(portrules.RuleDisabled, PPTP),
		of("rejected", gre, closed(PPTP, true)).drop(portrules.Rejected, PPTP),
		of("without a rule", gre, without(only(DefaultTable, own), PPTP)).accept(portrules.DefaultHost, -1),
		of("without a rule, of another", gre, without(only(WebTable, own), PPTP)).drop(portrules.NotDefault, -1),
		empty.accept(portrules.Owner, PPTP),
		of("by the rule of ike", esp, only(DNSTable, own)).accept(portrules.Owner, IKE),
		of("by the network", esp, OneBucket(DNSTable, network.Addr().AsSlice())).accept(portrules.Owner, IKE),
		of("by the rule of ike, of another", esp, only(SSHTable, own)).drop(portrules.NotOwner, IKE),
		of("by the rule of ike behind nat", esp, without(only(SSHTable, own), IKE)).accept(portrules.Owner, IKENAT),
		of("without a rule", esp, without(only(DefaultTable, own), IKE, IKENAT)).accept(portrules.DefaultHost, -1),
		about("by the rule of pptp", gre, only(WebTable, own)).accept(portrules.Owner, PPTP),
		about("by the client's address", gre, OneBucket(WebTable, address)).accept(portrules.Owner, PPTP),
		about("by the rule of ike", esp, only(DNSTable, own)).accept(portrules.Owner, IKE),
		about("without a rule", esp, without(only(DefaultTable, own), IKE, IKENAT)).accept(portrules.DefaultHost, -1),
	}
	if f.vip.Is4() { // with IPv6 it is an extension header
		all = append(all,
			of("by the rule of ike", ah, only(DNSTable, own)).accept(portrules.Owner, IKE),
			of("by the rule of ike behind nat", ah, without(only(SSHTable, own), IKE)).accept(portrules.Owner, IKENAT))
	}
	return all
}

// Paragraphs 8 and 9: SCTP has ports, and rules of its own.
func (f family) sctpVectors() []Vector {
	to := func(name string, port uint16, table int, flags portrules.Flags) Vector {
		return Vector{Name: "sctp " + name, Policy: Policy(map[int]portrules.Flags{table: flags}),
			Frame: f.packet(portrules.ProtoSCTP, SCTP(f.from, netip.AddrPortFrom(f.vip, port), nil))}
	}
	cut := to("of 11 bytes", 2905, WebTable, portrules.Own)
	cut.Frame = cut.Frame[:len(cut.Frame)-1]
	withPort := append(f.client.AsSlice(), ClientPort>>8, ClientPort&0xff)
	hashed := to("by address and port", 2905, WebTable, portrules.Own)
	hashed.Policy = OneBucket(WebTable, withPort)
	quoted := f.sent(portrules.ProtoSCTP, SCTP(netip.AddrPortFrom(f.vip, 2905), f.from, nil))
	mtu := Vector{Name: "error about sctp", Policy: OneBucket(WebTable, withPort), Frame: ErrorFrame(f.router(), f.vip, f.mtuError(), quoted)}
	return []Vector{
		to("by its rule", 2905, WebTable, portrules.Own).accept(portrules.Owner, Signal),
		to("foreign", 2905, WebTable, portrules.Own|portrules.Foreign).accept(portrules.Owner, Signal),
		to("residual", 2905, WebTable, portrules.Residual).drop(portrules.NotOwner, Signal),
		to("beside its rule", 2904, DefaultTable, portrules.Own).accept(portrules.Owner, -1),
		to("beside its rule, of another", 2906, WebTable, portrules.Own).drop(portrules.NotOwner, -1),
		to("is not both", 53, DefaultTable, portrules.Own).accept(portrules.Owner, -1),
		to("is not both, of another", 53, DNSTable, portrules.Own).drop(portrules.NotOwner, -1),
		hashed.accept(portrules.Owner, Signal),
		mtu.accept(portrules.Owner, Signal),
		cut.drop(portrules.Malformed, -1),
	}
}
