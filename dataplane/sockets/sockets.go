package sockets

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Conn is a TCP connection of this host, as its socket names the ends, or as the
// client does if it is behind NAT. IPv4 addresses are IPv4 even where the socket is
// an IPv6 one.
type Conn struct {
	Local, Remote netip.AddrPort
	State         uint8 // TCP_ESTABLISHED is 1, the others follow (linux/tcp_states.h); of one behind NAT see linux/netfilter/nf_conntrack_tcp.h
	NAT           bool  // an entry of the connection table: see Forwarded

	Interface uint32 // index of the one that the socket is bound to; 0: none
	Cookie    uint64 // the kernel's name for this very socket or entry
}

// States that inet_diag knows, as bits by number.
const (
	tcpTimeWait = 6
	tcpClose    = 7
	tcpListen   = 10
	tcpStates   = 0xfff &^ (1<<tcpTimeWait | 1<<tcpClose | 1<<tcpListen)
)

// Established lists the TCP connections whose local address is a VIP, in the
// calling thread's network namespace, from the first SYN until the last FIN:
// listeners and TIME_WAIT are left out. (sock_diag(7))
func Established(vips []netip.Addr) ([]Conn, error) {
	var out []Conn
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		req := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP)
		req.AddData(diagRequest{family: family, states: tcpStates})
		messages, err := req.Execute(unix.NETLINK_INET_DIAG, nl.SOCK_DIAG_BY_FAMILY)
		if err != nil {
			return nil, fmt.Errorf("list TCP sockets: %w: needs a kernel with CONFIG_INET_TCP_DIAG", err)
		}
		for _, m := range messages {
			conn, err := parseConn(m)
			if err != nil {
				return nil, err
			}
			if slices.Contains(vips, conn.Local.Addr()) && m[messageTimer] != timerTimeWait {
				out = append(out, conn)
			}
		}
	}
	return out, nil
}

// Kill ends a connection that Established or Forwarded listed: both ends see a reset,
// behind NAT only the client, and not before it sends something. That it is gone is no
// error. The cookie matters: by its addresses alone, the kernel would take the
// listener for a connection that is gone, and close that.
func Kill(c Conn) error {
	if c.NAT {
		return killForwarded(c)
	}
	family := uint8(unix.AF_INET6)
	if c.Local.Addr().Is4() {
		family = unix.AF_INET
	}
	req := nl.NewNetlinkRequest(nl.SOCK_DESTROY, unix.NLM_F_ACK)
	req.AddData(diagRequest{family: family, conn: c})
	_, err := req.Execute(unix.NETLINK_INET_DIAG, 0)
	if err == nil || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESTALE) {
		return nil
	}
	if errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("end connection of %v: %w: needs a kernel with CONFIG_INET_DIAG_DESTROY", c.Remote, err)
	}
	return fmt.Errorf("end connection of %v: %w", c.Remote, err)
}

// diagRequest is struct inet_diag_req_v2 (linux/inet_diag.h).
type diagRequest struct {
	family   uint8
	protocol uint8 // 0: TCP
	states   uint32
	conn     Conn
}

// Where the ends of a connection are in struct inet_diag_sockid.
const (
	idPorts   = 0
	idLocal   = 4
	idRemote  = 20
	idIface   = 36
	idCookie  = 40
	idLength  = 48
	reqID     = 8
	messageID = 4

	messageTimer  = 2 // in struct inet_diag_msg
	timerTimeWait = 3 // no socket any more, though the state may say FIN_WAIT2: the server is gone, the client's FIN is due
)

func (r diagRequest) Len() int { return reqID + idLength }

func (r diagRequest) Serialize() []byte {
	b := make([]byte, r.Len())
	b[0], b[1] = r.family, cmp.Or(r.protocol, unix.IPPROTO_TCP)
	binary.NativeEndian.PutUint32(b[4:], r.states)
	id := b[reqID:]
	binary.BigEndian.PutUint16(id[idPorts:], r.conn.Local.Port())
	binary.BigEndian.PutUint16(id[idPorts+2:], r.conn.Remote.Port())
	copy(id[idLocal:], r.conn.Local.Addr().AsSlice())
	copy(id[idRemote:], r.conn.Remote.Addr().AsSlice())
	binary.NativeEndian.PutUint32(id[idIface:], r.conn.Interface)
	binary.NativeEndian.PutUint64(id[idCookie:], r.conn.Cookie)
	return b
}

// parseConn reads struct inet_diag_msg.
func parseConn(b []byte) (Conn, error) {
	if len(b) < messageID+idLength {
		return Conn{}, fmt.Errorf("read list of TCP sockets: entry of %d bytes is too short", len(b))
	}
	family, state, id := b[0], b[1], b[messageID:]
	addr := func(at int) netip.Addr {
		if family == unix.AF_INET {
			return netip.AddrFrom4([4]byte(id[at:]))
		}
		return netip.AddrFrom16([16]byte(id[at:])).Unmap()
	}
	port := func(at int) uint16 { return binary.BigEndian.Uint16(id[at:]) }
	return Conn{
		Local:  netip.AddrPortFrom(addr(idLocal), port(idPorts)),
		Remote: netip.AddrPortFrom(addr(idRemote), port(idPorts+2)),
		State:  state,

		Interface: binary.NativeEndian.Uint32(id[idIface:]),
		Cookie:    binary.NativeEndian.Uint64(id[idCookie:]),
	}, nil
}
