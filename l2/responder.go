package l2

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// defendInterval is the least time between two reports, and two defences, of
// one VIP: DEFEND_INTERVAL of RFC 5227, section 1.1.
const defendInterval = 10 * time.Second

// ResponderConfig says what a Responder answers for. Only the VIPs change while
// the Responder is open, by SetVIPs.
type ResponderConfig struct {
	VIPs       []netip.Addr
	ClusterMAC net.HardwareAddr // what answers say
	SourceMAC  net.HardwareAddr // Ethernet source of answers, see the function SourceMAC

	// OnConflict, if set, is told that a host with this MAC claims the VIP, at
	// most once in 10 seconds per VIP. If the MAC is the cluster MAC, some host
	// sends from it, so that switches learn it. It is called from Run and must
	// not block.
	OnConflict func(vip netip.Addr, mac net.HardwareAddr)

	// Now is the clock; nil for time.Now.
	Now func() time.Time
}

// Responder answers ARP requests and neighbour solicitations for the VIPs while
// it is active, and reports other hosts that claim one. While it is open the
// interface is a member of the VIPs' solicited-node multicast groups.
type Responder struct {
	iface    *Interface
	conn     *packet.Conn
	groups   net.PacketConn // holds the solicited-node memberships; nil without IPv6 VIP
	id       atomic.Pointer[identity]
	conflict func(netip.Addr, net.HardwareAddr)
	now      func() time.Time
	reported map[netip.Addr]time.Time // of Run alone

	active     atomic.Bool
	reasons    [NumReasons]atomic.Uint64
	sendErrors atomic.Uint64
}

// OpenResponder opens the sockets of a Responder, which is not active yet.
func OpenResponder(i *Interface, cfg ResponderConfig) (*Responder, error) {
	r := &Responder{
		iface:    i,
		conflict: cfg.OnConflict,
		now:      cfg.Now,
		reported: map[netip.Addr]time.Time{},
	}
	if r.now == nil {
		r.now = time.Now
	}
	r.id.Store(&identity{clusterMAC: cfg.ClusterMAC, sourceMAC: cfg.SourceMAC, nicMAC: i.MAC})
	conn, err := listenNeighbors(i, cfg.VIPs)
	if err != nil {
		return nil, err
	}
	r.conn = conn
	if err := r.SetVIPs(cfg.VIPs); err != nil {
		conn.Close()
		return nil, err
	}
	return r, nil
}

// SetVIPs replaces the VIPs that are answered for. It is not to be called by several
// goroutines at once; on error the Responder answers for those that it had.
func (r *Responder) SetVIPs(vips []netip.Addr) error {
	groups, err := joinSolicitedNodes(r.iface, vips)
	if err != nil {
		return err
	}
	filter, err := bpf.Assemble(neighborFilter(vips))
	if err == nil {
		err = r.conn.SetBPF(filter)
	}
	if err != nil {
		if groups != nil {
			groups.Close()
		}
		return fmt.Errorf("setting the socket filter for %d VIPs: %w", len(vips), err)
	}
	id := *r.id.Load()
	id.list, id.vips = slices.Clone(vips), make(map[netip.Addr]bool)
	for _, vip := range vips {
		id.vips[vip] = true
	}
	r.id.Store(&id)
	if r.groups != nil {
		err = r.groups.Close()
	}
	r.groups = groups
	return err
}

// Close releases the sockets; a Run meanwhile ends.
func (r *Responder) Close() error {
	err := r.conn.Close()
	if r.groups != nil {
		err = errors.Join(err, r.groups.Close())
	}
	return err
}

// SetActive makes this member the one that answers, or stops it at once.
func (r *Responder) SetActive(active bool) { r.active.Store(active) }

// Run answers until ctx ends, then returns nil. It outlasts the interface going
// down; when the interface is removed it hears nothing more (see Watch).
func (r *Responder) Run(ctx context.Context) error {
	wake := context.AfterFunc(ctx, func() { r.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer wake()
	buf := make([]byte, snapLen)
	for {
		n, _, err := r.conn.ReadFrom(buf)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, unix.ENETDOWN) { // reported once; the socket works again when up
			continue
		}
		if err != nil {
			return fmt.Errorf("reading ARP and neighbour discovery: %w", err)
		}
		r.handle(buf[:n])
	}
}

func (r *Responder) handle(frame []byte) {
	a := r.id.Load().answer(frame, r.active.Load())
	r.reasons[a.reason].Add(1)
	switch a.reason {
	case Answered:
		_ = r.send(a.reply) // counted
	case Conflict:
		r.defend(a.vip, slices.Clone(a.mac))
	}
}

// defend reports a conflict and, from the active member, corrects what the claim
// made hosts believe (RFC 5227, section 2.4).
func (r *Responder) defend(vip netip.Addr, mac net.HardwareAddr) {
	now := r.now()
	if last, ok := r.reported[vip]; ok && now.Sub(last) < defendInterval {
		return
	}
	r.reported[vip] = now
	if r.active.Load() {
		_ = r.announce(vip) // counted
	}
	if r.conflict != nil {
		r.conflict(vip, mac)
	}
}

// Announce tells the segment where the VIPs are: gratuitous ARP and unsolicited
// neighbour advertisements, one round. Call it when this member became active;
// an inactive one stays silent. The error joins those of all VIPs.
func (r *Responder) Announce(ctx context.Context) error {
	var errs []error
	for _, vip := range r.id.Load().list {
		if ctx.Err() != nil || !r.active.Load() {
			break
		}
		errs = append(errs, r.announce(vip))
	}
	return errors.Join(errs...)
}

func (r *Responder) announce(vip netip.Addr) error {
	frames, err := r.id.Load().announce(vip)
	if err != nil {
		return err
	}
	for _, frame := range frames {
		if err := r.send(frame); err != nil {
			return fmt.Errorf("announcing %s: %w", vip, err)
		}
	}
	return nil
}

func (r *Responder) send(frame []byte) error {
	err := send(r.conn, frame)
	if err != nil {
		r.sendErrors.Add(1)
	}
	return err
}

// Frames returns how many frames ended for each reason since the Responder was
// opened.
func (r *Responder) Frames() map[Reason]uint64 {
	counts := make(map[Reason]uint64, NumReasons)
	for reason := range NumReasons {
		counts[reason] = r.reasons[reason].Load()
	}
	return counts
}

// SendErrors returns how many answers and announcements could not be sent.
func (r *Responder) SendErrors() uint64 { return r.sendErrors.Load() }

// joinSolicitedNodes makes the kernel join the solicited-node groups of the IPv6
// VIPs on the interface and report them by MLD, for as long as the returned
// socket is open. The VIPs are on the loopback interface, so that the kernel
// would not.
func joinSolicitedNodes(i *Interface, vips []netip.Addr) (net.PacketConn, error) {
	joined := map[netip.Addr]bool{}
	var conn net.PacketConn
	for _, vip := range vips {
		group := solicitedNode(vip)
		if !vip.Is6() || joined[group] {
			continue
		}
		joined[group] = true
		if conn == nil {
			var err error
			if conn, err = net.ListenPacket("udp6", "[::]:0"); err != nil {
				return nil, fmt.Errorf("opening an IPv6 socket for VIP %s: %w (enable IPv6 or remove the VIP)", vip, err)
			}
		}
		err := ipv6.NewPacketConn(conn).JoinGroup(i.netInterface(), &net.UDPAddr{IP: group.AsSlice()})
		if err != nil {
			conn.Close()
			return nil, fmt.Errorf("joining group %s of VIP %s on %s: %w", group, vip, i.Name, err)
		}
	}
	return conn, nil
}
