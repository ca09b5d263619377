package l2

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/ipv4"
)

// reportInterval is shorter than any usual lifetime of a switch's entry, 260
// seconds in RFC 3376, so that switches forward to the members even where no
// router sends queries.
const reportInterval = 60 * time.Second

// Reporter makes this member one of an IGMP group, so that switches with IGMP
// snooping forward the cluster MAC of IGMP mode to the members only. The kernel
// holds the membership and answers queries; Run reports unasked besides.
type Reporter struct {
	// Ticks paces the reports; nil for one a minute.
	Ticks <-chan time.Time

	conn       *packet.Conn
	member     net.PacketConn // holds the kernel's membership
	group      netip.Addr
	mac        net.HardwareAddr
	address    netip.Addr
	sendErrors atomic.Uint64
}

// OpenReporter joins the group on the interface. Reports are sent from mac,
// which must not be the cluster MAC.
func OpenReporter(i *Interface, group netip.Addr, mac net.HardwareAddr) (*Reporter, error) {
	if isGroup(mac) {
		return nil, fmt.Errorf("opening the IGMP reporter: source MAC %s is a group address", mac)
	}
	if !group.Is4() || !group.IsMulticast() {
		return nil, fmt.Errorf("opening the IGMP reporter: %s is no IPv4 multicast group", group)
	}
	address, err := i.Address()
	if err != nil { // allowed, see igmpFrames
		address = netip.IPv4Unspecified()
	}
	// Protocol 0: the socket only sends (packet(7)).
	conn, err := packet.Listen(i.netInterface(), packet.Raw, 0, nil)
	if err != nil {
		return nil, fmt.Errorf("opening a packet socket on %s: %w", i.Name, hint(err))
	}
	member, err := joinGroup(i, group)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("joining group %s on %s: %w", group, i.Name, err)
	}
	return &Reporter{conn: conn, member: member, group: group, mac: mac, address: address}, nil
}

// Close ends the kernel's membership and releases the sockets. Let Run end
// before, so that its leave message goes out.
func (r *Reporter) Close() error {
	return errors.Join(r.conn.Close(), r.member.Close())
}

// Run reports the membership now and at every tick until ctx ends, then leaves
// and returns nil. A report that cannot be sent is counted and made up for by the
// next one.
func (r *Reporter) Run(ctx context.Context) error {
	ticks := r.Ticks
	if ticks == nil {
		t := time.NewTicker(reportInterval)
		defer t.Stop()
		ticks = t.C
	}
	_ = r.send(toExclude) // counted, like those below
	for {
		select {
		case <-ctx.Done():
			_ = r.send(toInclude)
			return nil
		case <-ticks:
			_ = r.send(isExclude)
		}
	}
}

// Report sends one report at once, for instance when the link came up.
func (r *Reporter) Report() error { return r.send(isExclude) }

// SendErrors returns how many times reports could not be sent.
func (r *Reporter) SendErrors() uint64 { return r.sendErrors.Load() }

func (r *Reporter) send(record byte) error {
	var errs []error
	for _, frame := range igmpFrames(r.mac, r.address, r.group, record) {
		errs = append(errs, send(r.conn, frame))
	}
	err := errors.Join(errs...)
	if err != nil {
		r.sendErrors.Add(1)
		return fmt.Errorf("reporting membership of %s: %w", r.group, err)
	}
	return nil
}

func joinGroup(i *Interface, group netip.Addr) (net.PacketConn, error) {
	conn, err := net.ListenPacket("udp4", "0.0.0.0:0")
	if err != nil {
		return nil, err
	}
	if err := ipv4.NewPacketConn(conn).JoinGroup(i.netInterface(), &net.UDPAddr{IP: group.AsSlice()}); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}
