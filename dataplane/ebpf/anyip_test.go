package ebpf

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/opennlb/opennlb/portrules"
)

// connect makes a TCP connection whose server side has the flow, and returns a
// function that ends it without leaving TIME_WAIT. ok is false where the kernel
// refuses such addresses.
func connect(t testing.TB, flow portrules.Flow) (end func(), ok bool) {
	t.Helper()
	if flow.Src.Port() == 0 || flow.Dst.Port() == 0 { // any port, to the kernel
		return nil, false
	}
	listener, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(flow.Dst))
	if err != nil {
		return nil, false
	}
	defer listener.Close()
	client, err := net.DialTCP("tcp", net.TCPAddrFromAddrPort(flow.Src), net.TCPAddrFromAddrPort(flow.Dst))
	if err != nil {
		return nil, false
	}
	from := client.LocalAddr().(*net.TCPAddr).AddrPort()
	if netip.AddrPortFrom(from.Addr().Unmap(), from.Port()) != flow.Src { // multicast; it may even have met itself
		client.SetLinger(0)
		client.Close()
		return nil, false
	}
	if err := listener.SetDeadline(time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	server, err := listener.AcceptTCP()
	if errors.Is(err, os.ErrDeadlineExceeded) { // the client met itself: both ends of the flow are one socket
		client.SetLinger(0)
		client.Close()
		return nil, false
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		for _, c := range []*net.TCPConn{server, client} {
			c.SetLinger(0)
			c.Close()
		}
	}, true
}
