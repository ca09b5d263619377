package afpacket

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// injector hands frames to the kernel as if they had arrived with the interface's own
// MAC as destination.
type injector struct {
	socket int
	mac    [6]byte
}

// openInjector sends by the outer end of a passage.
func openInjector(p passage, mac net.HardwareAddr) (*injector, error) {
	socket, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0) // receives nothing
	if err != nil {
		return nil, fmt.Errorf("open packet socket: %w", err)
	}
	i := &injector{socket, [6]byte(mac)}
	if err := i.open(p); err != nil {
		unix.Close(socket)
		return nil, fmt.Errorf("open packet socket on %s: %w", p.outer, err)
	}
	return i, nil
}

func (i *injector) open(p passage) error {
	for _, o := range []struct{ level, option, value int }{
		{unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1},     // what is checksummed and cut, and what is not yet
		{unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1}, // there is no queue
		{unix.SOL_SOCKET, unix.SO_MARK, int(p.mark)},
	} {
		if err := unix.SetsockoptInt(i.socket, o.level, o.option, o.value); err != nil {
			return fmt.Errorf("set option %d: %w", o.option, err)
		}
	}
	return unix.Bind(i.socket, &unix.SockaddrLinklayer{Ifindex: p.outerIndex})
}

// put hands on a frame, which it changes. When it returns nil the kernel has taken
// the frame as far as its sockets.
func (i *injector) put(c captured) error {
	copy(c.frame(), i.mac[:])
	_, err := unix.Write(i.socket, c.vnet)
	return err
}

func (i *injector) close() error { return unix.Close(i.socket) }
