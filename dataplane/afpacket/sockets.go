package afpacket

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/opennlb/opennlb/portrules"
)

// sockets asks the kernel for single TCP sockets of the network namespace that it was
// opened in (sock_diag(7)). Not safe for concurrent use.
type sockets struct {
	netlink  int
	sequence uint32
	buffer   [4096]byte
}

// States of TCP (linux/tcp_states.h).
const (
	tcpTimeWait = 6
	tcpListen   = 10
)

// Where fields are in struct inet_diag_req_v2 and inet_diag_msg, both behind struct
// nlmsghdr (linux/inet_diag.h).
const (
	diagRequest = unix.SizeofNlMsghdr
	requestID   = diagRequest + 8
	requestSize = requestID + 48
	idLocalPort = 0
	idPeerPort  = 2
	idLocal     = 4
	idPeer      = 20
	idCookie    = 40
	replyState  = unix.SizeofNlMsghdr + 1
)

func openSockets() (*sockets, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_INET_DIAG)
	if err != nil {
		return nil, fmt.Errorf("open netlink to socket diagnostics: %w: needs a kernel with CONFIG_INET_TCP_DIAG", err)
	}
	s := &sockets{netlink: fd}
	timeout := unix.NsecToTimeval(int64(100 * time.Millisecond)) // the answer is there when the question is sent
	err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout)
	if err == nil {
		_, err = s.ask(portrules.Flow{})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("ask for a TCP socket: %w: needs a kernel with CONFIG_INET_TCP_DIAG", err), unix.Close(fd))
	}
	return s, nil
}

// has reports whether a connection has exactly this flow, from the client's first SYN
// on: listeners are none, and what is in TIME_WAIT is over. No answer counts as no:
// silence is better than two answers.
func (s *sockets) has(flow portrules.Flow) bool {
	state, err := s.ask(flow)
	return err == nil && state != 0 && state != tcpListen && state != tcpTimeWait
}

// ask returns the state of the socket that would take the flow's packets; 0: none.
func (s *sockets) ask(flow portrules.Flow) (state uint8, err error) {
	s.sequence++
	if err := unix.Sendto(s.netlink, s.request(flow), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, err
	}
	for {
		n, _, err := unix.Recvfrom(s.netlink, s.buffer[:], 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return 0, err
		}
		b := s.buffer[:n]
		if n < unix.SizeofNlMsghdr+4 || binary.NativeEndian.Uint32(b[8:]) != s.sequence {
			continue // the answer to a question that was given up
		}
		if binary.NativeEndian.Uint16(b[4:]) != unix.NLMSG_ERROR {
			return b[replyState], nil
		}
		errno := unix.Errno(-int32(binary.NativeEndian.Uint32(b[unix.SizeofNlMsghdr:])))
		if errno == unix.ENOENT {
			return 0, nil
		}
		return 0, errno
	}
}

// request writes the question; the client's source is the socket's peer.
func (s *sockets) request(flow portrules.Flow) []byte {
	var b [requestSize]byte
	binary.NativeEndian.PutUint32(b[0:], requestSize)
	binary.NativeEndian.PutUint16(b[4:], unix.SOCK_DIAG_BY_FAMILY)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST)
	binary.NativeEndian.PutUint32(b[8:], s.sequence)
	b[diagRequest], b[diagRequest+1] = unix.AF_INET6, unix.IPPROTO_TCP
	if flow.Dst.Addr().Is4() {
		b[diagRequest] = unix.AF_INET
	}
	binary.NativeEndian.PutUint32(b[diagRequest+4:], ^uint32(0)) // any state
	id := b[requestID:]
	binary.BigEndian.PutUint16(id[idLocalPort:], flow.Dst.Port())
	binary.BigEndian.PutUint16(id[idPeerPort:], flow.Src.Port())
	copy(id[idLocal:], flow.Dst.Addr().AsSlice())
	copy(id[idPeer:], flow.Src.Addr().AsSlice())
	binary.NativeEndian.PutUint64(id[idCookie:], ^uint64(0)) // any socket
	return b[:]
}

func (s *sockets) close() error { return unix.Close(s.netlink) }
