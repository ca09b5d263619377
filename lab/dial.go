package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// DialFrom opens a TCP connection from src, a new port each time, to dst. Only the
// system calls run on the namespace's thread; the wait for the handshake does not,
// so thousands can wait at once.
func (h *Host) DialFrom(ctx context.Context, src netip.Addr, dst netip.AddrPort) (net.Conn, error) {
	var fd int
	err := h.ns.Do(func() (err error) {
		fd, err = startConnect(src, dst)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("connect %s to %s: %w", src, dst, err)
	}
	// Connecting already, or the poller would report the idle socket as writable.
	file := os.NewFile(uintptr(fd), "tcp")
	defer file.Close()
	if err := awaitConnect(ctx, file); err != nil {
		return nil, fmt.Errorf("connect %s to %s: %w", src, dst, err)
	}
	return net.FileConn(file)
}

// startConnect sends the SYN and does not wait.
func startConnect(src netip.Addr, dst netip.AddrPort) (int, error) {
	family := unix.AF_INET
	if dst.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	// Let connect choose the port: bind alone would need one that is free for all
	// destinations (ip(7)).
	unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	if err := unix.Bind(fd, sockaddr(netip.AddrPortFrom(src, 0))); err != nil {
		unix.Close(fd)
		return -1, err
	}
	if err := unix.Connect(fd, sockaddr(dst)); err != nil && err != unix.EINPROGRESS {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// awaitConnect waits until the handshake has ended, well or not.
func awaitConnect(ctx context.Context, file *os.File) error {
	if deadline, ok := ctx.Deadline(); ok {
		file.SetWriteDeadline(deadline)
	}
	stop := context.AfterFunc(ctx, func() { file.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var failure error
	err = raw.Write(func(fd uintptr) bool {
		code, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		if err != nil || code != 0 {
			failure = err
			if err == nil {
				failure = syscall.Errno(code)
			}
			return true
		}
		_, err = unix.Getpeername(int(fd))
		return err == nil // else woken too early
	})
	if failure != nil {
		return failure
	}
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}
