package doctor

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// reachOthers tries all other members at once.
func (f *Facts) reachOthers(ctx context.Context) {
	list := f.others()
	var tries sync.WaitGroup
	for i := range list {
		r := &list[i]
		to := netip.AddrPortFrom(r.Addr, f.Config.Membership.Port)
		tries.Go(func() {
			r.TCP = tryTCP(ctx, to)
			r.Refused = errors.Is(r.TCP, syscall.ECONNREFUSED)
		})
		tries.Go(func() { r.UDP = tryUDP(to) })
		if f.Root && r.Addr.Is4() && f.Link != nil {
			tries.Go(func() { r.Echo = ping(r.Addr, 56, uint16(2*i)) })
			tries.Go(func() { r.Large = ping(r.Addr, f.Link.MTU-28, uint16(2*i+1)) })
		}
	}
	tries.Wait()
	f.Reach = list
}

// tryTCP connects and says nothing, which membership takes for nothing.
func tryTCP(ctx context.Context, to netip.AddrPort) error {
	d := net.Dialer{Timeout: patience}
	conn, err := d.DialContext(ctx, "tcp", to.String())
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			return op.Err // without the addresses
		}
		return err
	}
	return conn.Close()
}

// tryUDP sends an empty datagram, which membership ignores: only a refusal says anything.
func tryUDP(to netip.AddrPort) bool {
	conn, err := net.Dial("udp", to.String())
	if err != nil {
		return false
	}
	defer conn.Close()
	if _, err := conn.Write(nil); err != nil {
		return !errors.Is(err, syscall.ECONNREFUSED)
	}
	conn.SetReadDeadline(time.Now().Add(patience / 2))
	_, err = conn.Read(make([]byte, 1))
	return !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, syscall.EHOSTUNREACH)
}

// ping says whether a host answers an echo request with so many bytes of data in one
// packet that nobody may fragment.
func ping(to netip.Addr, size int, seq uint16) bool {
	if size < 0 {
		return false
	}
	conn, err := net.ListenPacket("ip4:icmp", "")
	if err != nil {
		return false
	}
	defer conn.Close()
	raw, err := conn.(*net.IPConn).SyscallConn()
	if err != nil {
		return false
	}
	var set error
	if err := raw.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
	}); err != nil || set != nil {
		return false
	}
	id := uint16(unix.Getpid())
	body := &icmp.Echo{ID: int(id), Seq: int(seq), Data: make([]byte, size)}
	request, err := (&icmp.Message{Type: ipv4.ICMPTypeEcho, Body: body}).Marshal(nil)
	if err != nil {
		return false
	}
	if _, err := conn.WriteTo(request, &net.IPAddr{IP: to.AsSlice()}); err != nil {
		return false
	}
	conn.SetReadDeadline(time.Now().Add(patience / 2))
	for answer := make([]byte, 1<<16); ; {
		n, from, err := conn.ReadFrom(answer)
		if err != nil {
			return false
		}
		a, _ := netip.AddrFromSlice(from.(*net.IPAddr).IP)
		if n >= 8 && a.Unmap() == to && answer[0] == byte(ipv4.ICMPTypeEchoReply) && binary.BigEndian.Uint16(answer[4:]) == id && binary.BigEndian.Uint16(answer[6:]) == seq {
			return true
		}
	}
}
