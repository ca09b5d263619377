package frames

import (
	"net/netip"
	"time"

	"github.com/opennlb/opennlb/nlbhash"
	"github.com/opennlb/opennlb/portrules"
)

// Addresses of the fixture network (RFC 5737, RFC 3849).
var (
	VIP4   = netip.MustParseAddr("192.0.2.10")
	VIP4b  = netip.MustParseAddr("192.0.2.11")
	VIP6   = netip.MustParseAddr("2001:db8::10")
	VIP6b  = netip.MustParseAddr("2001:db8::11")
	Own4   = netip.MustParseAddr("192.0.2.1") // dedicated, not a VIP
	Own6   = netip.MustParseAddr("2001:db8::1")
	Client = netip.MustParseAddr("198.51.100.7")
	// Client6 differs from its /64 prefix in every later byte.
	Client6 = netip.MustParseAddr("2001:db8:1:2:3:4:5:6")

	ClusterMAC = [6]byte{0x02, 0xbf, 192, 0, 2, 10}
	ClientMAC  = [6]byte{0x02, 0x00, 0x5e, 0x10, 0x00, 0x07}
)

// ClientPort is the source port of the fixture clients.
const ClientPort = 40000

// Indexes into the rules of Policy.
const (
	Web    = iota // tcp 80-443 on all VIPs, multiple, affinity none
	DNS           // tcp and udp 53 on VIP4, multiple, affinity network
	DNS6          // tcp and udp 53 on VIP6, multiple, affinity network
	SSH           // tcp 22 on all VIPs, single, affinity single
	Off           // tcp and udp 6000-6010 on all VIPs, disabled
	PPTP          // tcp 1723 on all VIPs, multiple, affinity none
	IKE           // udp 500 on all VIPs, multiple, affinity network
	IKENAT        // udp 4500 on all VIPs, single, affinity single
	Signal        // sctp 2905 on all VIPs, multiple, affinity none
	Closed        // tcp and udp 7000 on all VIPs, disabled, reject
	Last          // udp 65535 on all VIPs, multiple, affinity single
	Kept          // tcp and udp 8000 on all VIPs, multiple, affinity single, timeout 10 min
)

// Indexes into the tables of Policy. Last and Kept use DNSTable too.
const (
	DefaultTable = iota
	WebTable
	DNSTable
	SSHTable
	numTables
)

// Policy returns a policy with the fixture rules, in which this member's part is
// the same in all buckets of a table; tables that are not given are all zero.
func Policy(flags map[int]portrules.Flags) *portrules.Policy {
	p := &portrules.Policy{
		Epoch:   7,
		HashKey: nlbhash.Key{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
		VIPs:    []netip.Addr{VIP4, VIP4b, VIP6, VIP6b},
		Rules: []portrules.Rule{
			Web:    {Name: "web", ID: 7, Protocol: portrules.TCP, First: 80, Last: 443, Affinity: portrules.AffinityNone},
			DNS:    {Name: "dns", ID: 1023, VIP: VIP4, Protocol: portrules.Both, First: 53, Last: 53, Affinity: portrules.AffinityNetwork},
			DNS6:   {Name: "dns6", ID: 0, VIP: VIP6, Protocol: portrules.Both, First: 53, Last: 53, Affinity: portrules.AffinityNetwork},
			SSH:    {Name: "ssh", ID: 300, Protocol: portrules.TCP, First: 22, Last: 22, Mode: portrules.Single, Affinity: portrules.AffinitySingle},
			Off:    {Name: "off", ID: 12, Protocol: portrules.Both, First: 6000, Last: 6010, Mode: portrules.Disabled},
			PPTP:   {Name: "pptp", ID: 255, Protocol: portrules.TCP, First: 1723, Last: 1723, Affinity: portrules.AffinityNone},
			IKE:    {Name: "ike", ID: 256, Protocol: portrules.UDP, First: 500, Last: 500, Affinity: portrules.AffinityNetwork},
			IKENAT: {Name: "ike-nat", ID: 511, Protocol: portrules.UDP, First: 4500, Last: 4500, Mode: portrules.Single, Affinity: portrules.AffinitySingle},
			Signal: {Name: "signal", ID: 512, Protocol: portrules.SCTP, First: 2905, Last: 2905, Affinity: portrules.AffinityNone},
			Closed: {Name: "closed", ID: 5, Protocol: portrules.Both, First: 7000, Last: 7000, Mode: portrules.Disabled, Reject: true},
			Last:   {Name: "last", ID: 1, Protocol: portrules.UDP, First: 65535, Last: 65535, Affinity: portrules.AffinitySingle},
			Kept:   {Name: "kept", ID: 1000, Protocol: portrules.Both, First: 8000, Last: 8000, Affinity: portrules.AffinitySingle, Timeout: 10 * time.Minute},
		},
		RuleTable:    []int{Web: WebTable, DNS: DNSTable, DNS6: DNSTable, SSH: SSHTable, Off: 0, PPTP: WebTable, IKE: DNSTable, IKENAT: SSHTable, Signal: WebTable, Closed: 0, Last: DNSTable, Kept: DNSTable},
		DefaultTable: DefaultTable,
		Tables:       make([]portrules.Buckets, numTables),
	}
	for table, f := range flags {
		for b := range p.Tables[table] {
			p.Tables[table][b] = f
		}
	}
	return p
}

// OneBucket returns Policy with a single own bucket, in one table: the bucket of
// an affinity key, given byte by byte.
func OneBucket(table int, key []byte) *portrules.Policy {
	p := Policy(nil)
	p.Tables[table][nlbhash.Bucket(p.HashKey, key)] = portrules.Own
	return p
}
