package sockets

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/opennlb/opennlb/portrules"
)

// Lookup asks the kernel for single TCP sockets of the network namespace that it was
// opened in (sock_diag(7)). Not safe for concurrent use.
type Lookup struct {
	netlink  int
	ifindex  uint32
	sequence uint32
	buffer   [4096]byte
}

// Where the request and the state of a socket are in a message of netlink.
const (
	lookupRequest = unix.SizeofNlMsghdr
	lookupID      = lookupRequest + reqID
	lookupSize    = lookupID + idLength
	lookupState   = unix.SizeofNlMsghdr + 1
)

// OpenLookup makes a Lookup for the calling thread's network namespace, of sockets that
// get what arrives at an interface: those bound to another one are not found.
func OpenLookup(ifindex int) (*Lookup, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_INET_DIAG)
	if err != nil {
		return nil, fmt.Errorf("open netlink to socket diagnostics: %w: needs a kernel with CONFIG_INET_TCP_DIAG", err)
	}
	l := &Lookup{netlink: fd, ifindex: uint32(ifindex)}
	timeout := unix.NsecToTimeval(int64(100 * time.Millisecond)) // the answer is there when the question is sent
	err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout)
	if err == nil {
		_, err = l.ask(portrules.Flow{})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("ask for a TCP socket: %w: needs a kernel with CONFIG_INET_TCP_DIAG", err), unix.Close(fd))
	}
	return l, nil
}

// Has reports whether a connection has exactly this flow, from the client's first SYN
// on: listeners are none, and what is in TIME_WAIT is over. No answer counts as no:
// silence is better than two answers.
func (l *Lookup) Has(flow portrules.Flow) bool {
	state, err := l.ask(flow)
	return err == nil && state != 0 && state != tcpListen && state != tcpTimeWait
}

// ask returns the state of the socket that would take the flow's packets; 0: none.
func (l *Lookup) ask(flow portrules.Flow) (state uint8, err error) {
	l.sequence++
	if err := unix.Sendto(l.netlink, l.request(flow), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, err
	}
	for {
		n, _, err := unix.Recvfrom(l.netlink, l.buffer[:], 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return 0, err
		}
		b := l.buffer[:n]
		if n < unix.SizeofNlMsghdr+4 || binary.NativeEndian.Uint32(b[8:]) != l.sequence {
			continue // the answer to a question that was given up
		}
		if binary.NativeEndian.Uint16(b[4:]) != unix.NLMSG_ERROR {
			return b[lookupState], nil
		}
		errno := unix.Errno(-int32(binary.NativeEndian.Uint32(b[unix.SizeofNlMsghdr:])))
		if errno == unix.ENOENT {
			return 0, nil
		}
		return 0, errno
	}
}

// request writes the question; the client's source is the socket's peer.
func (l *Lookup) request(flow portrules.Flow) []byte {
	var b [lookupSize]byte
	binary.NativeEndian.PutUint32(b[0:], lookupSize)
	binary.NativeEndian.PutUint16(b[4:], unix.SOCK_DIAG_BY_FAMILY)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST)
	binary.NativeEndian.PutUint32(b[8:], l.sequence)
	b[lookupRequest], b[lookupRequest+1] = unix.AF_INET6, unix.IPPROTO_TCP
	if flow.Dst.Addr().Is4() {
		b[lookupRequest] = unix.AF_INET
	}
	binary.NativeEndian.PutUint32(b[lookupRequest+4:], ^uint32(0)) // any state
	id := b[lookupID:]
	binary.BigEndian.PutUint16(id[idPorts:], flow.Dst.Port())
	binary.BigEndian.PutUint16(id[idPorts+2:], flow.Src.Port())
	copy(id[idLocal:], flow.Dst.Addr().AsSlice())
	copy(id[idRemote:], flow.Src.Addr().AsSlice())
	binary.NativeEndian.PutUint32(id[idIface:], l.ifindex)
	binary.NativeEndian.PutUint64(id[idCookie:], ^uint64(0)) // any socket
	return b[:]
}

// Close ends it.
func (l *Lookup) Close() error { return unix.Close(l.netlink) }
