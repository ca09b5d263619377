package portrules

import "fmt"

var (
	modeNames     = []string{"multiple", "single", "disabled"}
	affinityNames = []string{"none", "single", "network"}
	protocolNames = []string{TCP: "tcp", UDP: "udp", Both: "both", SCTP: "sctp"}
	verdictNames  = []string{"pass", "accept", "drop"}
	reasonNames   = []string{
		NotVIP:         "not-vip",
		New:            "new",
		Owner:          "owner",
		Established:    "established",
		ResidualConn:   "residual",
		DefaultHost:    "default-host",
		FragmentOf:     "fragment-of",
		EarlyFragment:  "early-fragment",
		NeighborReply:  "neighbor-reply",
		LeaseOver:      "lease-over",
		NotOwner:       "not-owner",
		NotDefault:     "not-default",
		RuleDisabled:   "rule-disabled",
		ForeignHeld:    "foreign-held",
		StrayFragment:  "stray-fragment",
		Neighbor:       "neighbor",
		Malformed:      "malformed",
		Fenced:         "fenced",
		BeaconHeard:    "beacon",
		BeaconForged:   "beacon-forged",
		BeaconReplayed: "beacon-replayed",
		Rejected:       "rejected",
	}
)

// String returns the name used in the configuration: multiple, single or disabled.
func (m Mode) String() string { return name("mode", modeNames, uint8(m)) }

// String returns the name used in the configuration: none, single or network.
func (a Affinity) String() string { return name("affinity", affinityNames, uint8(a)) }

// String returns the name used in the configuration: tcp, udp, both or sctp.
func (p Protocol) String() string { return name("protocol", protocolNames, uint8(p)) }

// String returns pass, accept or drop.
func (v Verdict) String() string { return name("verdict", verdictNames, uint8(v)) }

// String returns the name used in counters and by nlbctl, such as "not-owner".
func (r Reason) String() string { return name("reason", reasonNames, uint8(r)) }

// Has reports whether p contains all of q, which is not empty.
func (p Protocol) Has(q Protocol) bool { return q != 0 && p&q == q }

// ParseMode reads a mode by its name.
func ParseMode(s string) (Mode, error) {
	i, err := index("mode", modeNames, s, "multiple, single or disabled")
	return Mode(i), err
}

// ParseAffinity reads an affinity by its name.
func ParseAffinity(s string) (Affinity, error) {
	i, err := index("affinity", affinityNames, s, "none, single or network")
	return Affinity(i), err
}

// ParseProtocol reads a protocol by its name.
func ParseProtocol(s string) (Protocol, error) {
	i, err := index("protocol", protocolNames, s, "tcp, udp, both or sctp")
	return Protocol(i), err
}

// The enums are written by name in YAML and JSON.

// MarshalText implements encoding.TextMarshaler.
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// MarshalText implements encoding.TextMarshaler.
func (a Affinity) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// MarshalText implements encoding.TextMarshaler.
func (p Protocol) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// MarshalText implements encoding.TextMarshaler.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// MarshalText implements encoding.TextMarshaler.
func (r Reason) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *Mode) UnmarshalText(text []byte) (err error) {
	*m, err = ParseMode(string(text))
	return err
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *Affinity) UnmarshalText(text []byte) (err error) {
	*a, err = ParseAffinity(string(text))
	return err
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Protocol) UnmarshalText(text []byte) (err error) {
	*p, err = ParseProtocol(string(text))
	return err
}

func known(names []string, i uint8) bool {
	return int(i) < len(names) && names[i] != ""
}

func name(kind string, names []string, i uint8) string {
	if !known(names, i) {
		return fmt.Sprintf("%s(%d)", kind, i)
	}
	return names[i]
}

func index(kind string, names []string, s, choices string) (int, error) {
	for i, n := range names {
		if n != "" && n == s {
			return i, nil
		}
	}
	return 0, fmt.Errorf("unknown %s %q: write %s", kind, s, choices)
}
