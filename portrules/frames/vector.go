package frames

import (
	"net/netip"
	"slices"

	"github.com/opennlb/opennlb/nlbhash"
	"github.com/opennlb/opennlb/portrules"
)

// Vector is one frame, the circumstances in which it arrives, and what must become
// of it, by docs/DECISION.md.
type Vector struct {
	Name   string // unique
	Frame  []byte
	Policy *portrules.Policy

	LeaseOver bool
	Socket    portrules.Flow        // the only connected TCP socket of the member; zero: none
	NAT       portrules.Flow        // the only TCP connection behind NAT; zero: none
	Fragment  portrules.FragmentKey // the only entry of the fragment table; zero: none
	Refused   bool                  // and it says that the first fragment was not accepted
	Fence     uint64
	Heard     portrules.Sequence // the last beacon of member 1; zero: none
	OtherKey  bool               // OtherKey counts, too
	Known     *portrules.Client  // what is remembered of the frame's client; nil: nothing

	Verdict    portrules.Verdict
	Reason     portrules.Reason
	Rule       int  // index into Policy.Rules, or -1
	Records    bool // the frame enters its fragment key in the fragment table as accepted
	Refuses    bool // or as refused
	FenceAfter uint64
	Noted      portrules.Note // of the client
}

// Listener returns what the member knows of beacons before the frame arrives.
func (v Vector) Listener() *portrules.Listener {
	l := &portrules.Listener{Self: Self, Key: BeaconKey, Fence: v.Fence}
	l.Last[1] = v.Heard
	if v.OtherKey {
		l.SetKeys([]nlbhash.Key{BeaconKey, OtherKey})
	}
	return l
}

// Env returns the circumstances as Decide takes them.
func (v Vector) Env(l *portrules.Listener) portrules.Env {
	return portrules.Env{
		LeaseOver:        v.LeaseOver,
		Fence:            l.Fence,
		Beacon:           func(b [portrules.BeaconSize]byte) portrules.Reason { return l.Hear(b, v.Policy.Epoch) },
		HasSocket:        func(f portrules.Flow) bool { return f == v.Socket },
		HasNAT:           func(f portrules.Flow) bool { return f == v.NAT },
		FragmentAccepted: func(k portrules.FragmentKey) bool { return k == v.Fragment && !v.Refused },
		FragmentRefused:  func(k portrules.FragmentKey) bool { return k == v.Fragment && v.Refused },
		Client: func(portrules.ClientKey) (portrules.Client, bool) {
			if v.Known == nil {
				return portrules.Client{}, false
			}
			return *v.Known, true
		},
	}
}

// Vectors returns all vectors; many share a policy.
func Vectors() []Vector {
	all := slices.Concat(beaconVectors(), keyedVectors(), sequenceVectors(), arpVectors(), mappedVectors())
	for _, f := range families() {
		group := slices.Concat(f.neighborVectors(), f.addressVectors(), f.ruleVectors(), f.protocolVectors(), f.tunnelVectors(), f.sctpVectors(), f.errorVectors(),
			f.flagVectors(), f.keyVectors(), f.fragmentVectors(), f.truncatedVectors(),
			f.fenceVectors(), f.clientVectors())
		for _, v := range group {
			v.Name = f.name + " " + v.Name
			all = append(all, v)
		}
	}
	return slices.Concat(all, headerVectors(), extensionVectors())
}

// family holds the fixture addresses of one IP version.
type family struct {
	name            string
	client, vip     netip.Addr
	other, own      netip.Addr // another VIP; the dedicated address
	web, dns, plain netip.AddrPort
	from            netip.AddrPort
}

func families() []family {
	fs := []family{
		{name: "ipv4", client: Client, vip: VIP4, other: VIP4b, own: Own4},
		{name: "ipv6", client: Client6, vip: VIP6, other: VIP6b, own: Own6},
	}
	for i := range fs {
		f := &fs[i]
		f.from = netip.AddrPortFrom(f.client, ClientPort)
		f.web = netip.AddrPortFrom(f.vip, 80)
		f.dns = netip.AddrPortFrom(f.vip, 53)
		f.plain = netip.AddrPortFrom(f.vip, 8080)
	}
	return fs
}

// dnsRule is the rule of port 53, which names one VIP of the family.
func (f family) dnsRule() int {
	if f.vip.Is4() {
		return DNS
	}
	return DNS6
}

// packet returns a frame to the family's VIP, or a fragment of one.
func (f family) packet(protocol uint8, payload []byte) []byte {
	return Frame(f.client, f.vip, protocol, payload)
}

// everything owned, nothing owned.
func mine() *portrules.Policy {
	return Policy(map[int]portrules.Flags{
		DefaultTable: portrules.Own, WebTable: portrules.Own, DNSTable: portrules.Own, SSHTable: portrules.Own,
	})
}

func theirs() *portrules.Policy { return Policy(nil) }

// hears completes a vector with a good beacon.
func (v Vector) hears(fence uint64) Vector {
	v.FenceAfter = fence
	return v.drop(portrules.BeaconHeard, -1)
}

// accept, drop and pass complete a vector.
func (v Vector) accept(reason portrules.Reason, rule int) Vector {
	v.Verdict, v.Reason, v.Rule = portrules.Accept, reason, rule
	return v
}

func (v Vector) drop(reason portrules.Reason, rule int) Vector {
	v.Verdict, v.Reason, v.Rule = portrules.Drop, reason, rule
	return v
}

func (v Vector) pass() Vector {
	v.Verdict, v.Reason, v.Rule = portrules.Pass, portrules.NotVIP, -1
	return v
}
