package doctor

import (
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/opennlb/opennlb/config"
	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/l2"
)

// Facts is a snapshot of a host and of what its nlbd says. A nil pointer or an error
// means that the fact is not known.
type Facts struct {
	Root bool

	ConfigFile string
	Config     *config.Config
	ConfigErr  error

	Socket    string
	Status    *control.Status // nil: nlbd does not answer
	StatusErr error
	Version   string // of nlbctl; "": not known

	Kernel    Kernel
	Link      *Link
	LinkErr   error
	Addresses []Address
	Routes    []string          // interfaces of default routes for IPv4
	Sysctl    map[string]string // below /proc/sys/net, as far as checks want them
	Mentions  []Mention
	Listening []Socket
	Reach     []Reach
	Balancers []string // other programs that move addresses about
	IPVS      bool     // has services
	Clock     *bool    // synchronized
	State     *State
	KeyErr    error
	Nlbd      *Process
	Unit      Unit

	Gaps []string // what could not be read, in words
}

// Kernel is what the running kernel can do.
type Kernel struct {
	Release      string // 6.1.0-18-amd64
	Major, Minor int
	BTF          bool // describes its types, which eBPF programs are adapted by
	BPFFS        bool // mounted at /sys/fs/bpf
	Lockdown     string
	NAT          bool // nf_nat is loaded, as a module
}

// Link is the interface of the configuration.
type Link struct {
	Name, Kind string
	Ethernet   bool
	Up         bool
	Carrier    bool
	Promisc    bool
	Master     string // of the bridge or bond that it is a port of
	Passthru   bool   // of a macvlan
	MTU        int    // bytes
	MAC        net.HardwareAddr
	Filter     []net.HardwareAddr // further addresses that it accepts
	LRO        bool
	Others     []string // names of all interfaces but lo
}

// Address is an IP address of an interface.
type Address struct {
	Interface string
	Prefix    netip.Prefix
	Dynamic   bool // by DHCP or router advertisement
	Up        bool // its interface, and Ethernet
}

// Mention is a VIP in a file of the host's network configuration.
type Mention struct {
	VIP  netip.Addr
	File string
}

// Socket is a TCP or UDP port that something listens on.
type Socket struct {
	Protocol string // tcp or udp
	Addr     netip.AddrPort
}

// Reach is an attempt to reach another member's membership port.
type Reach struct {
	Name    string // "" where only the address is known
	Addr    netip.Addr
	TCP     error
	Refused bool // by TCP: the host is there, and nothing listens
	UDP     bool // false: refused
	Echo    bool // answered a ping
	Large   bool // answered one of the size of the MTU; meaningless without Echo
}

// State is the directory that nlbd keeps its state in.
type State struct {
	Exists bool
	Free   uint64 // bytes
}

// Process is the nlbd of this network namespace.
type Process struct {
	PID  int
	Caps uint64 // effective
}

// Unit is the systemd unit.
type Unit struct{ Systemd, Present, Enabled bool }

// synced is how far a clock may be off to count as synchronized, by the kernel's bound.
const synced = 16 * time.Second

// VIPs are those in force, or those of the file.
func (f *Facts) VIPs() []netip.Addr {
	switch {
	case f.Status != nil && len(f.Status.VIPs) > 0:
		return f.Status.VIPs
	case f.Config != nil:
		return f.Config.Cluster.VIPs
	}
	return nil
}

// Mode is the one in force, or that of the file.
func (f *Facts) Mode() config.Mode {
	if f.Status != nil && f.Status.Mode != "" {
		return config.Mode(f.Status.Mode)
	}
	if f.Config != nil {
		return f.Config.Cluster.Mode
	}
	return config.Unicast
}

// ClusterMAC is the address that follows from mode and VIPs; nil without VIPs.
func (f *Facts) ClusterMAC() net.HardwareAddr {
	if len(f.VIPs()) == 0 {
		return nil
	}
	return l2.ClusterMAC(f.Mode(), l2.ClusterAddr(f.VIPs()))
}

// self is this member as its nlbd sees it.
func (f *Facts) self() *control.Member {
	if f.Status == nil {
		return nil
	}
	i := slices.IndexFunc(f.Status.Members, func(m control.Member) bool { return m.Name == f.Status.Self })
	if i < 0 {
		return nil
	}
	return &f.Status.Members[i]
}
