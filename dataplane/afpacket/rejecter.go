package afpacket

import (
	"fmt"
	"net"
	"time"

	"github.com/mdlayher/packet"

	"github.com/opennlb/opennlb/portrules"
)

// What a flood can make this member send, as in ebpf/bpf/reject.h: a thousand per second.
const (
	rejectPeriod = 16 * time.Millisecond
	rejectBurst  = 16
)

// rejecter answers frames that the decision rejects. Not safe for concurrent use.
type rejecter struct {
	socket *packet.Conn
	source [6]byte
	since  time.Time
	left   int
}

func openRejecter(dev device, source net.HardwareAddr) (*rejecter, error) {
	socket, err := packet.Listen(&net.Interface{Index: dev.index, Name: dev.name, HardwareAddr: dev.mac}, packet.Raw, 0, nil)
	if err != nil {
		return nil, fmt.Errorf("open packet socket on %s: %w", dev.name, err)
	}
	return &rejecter{socket: socket, source: [6]byte(source)}, nil
}

// reject answers a frame, unless there were too many. What cannot be sent is lost, as
// any frame may be: the sender tries again.
func (r *rejecter) reject(frame []byte, now time.Time) {
	if now.Sub(r.since) >= rejectPeriod {
		r.since, r.left = now, rejectBurst
	}
	if r.left == 0 {
		return
	}
	r.left--
	if reply := portrules.Rejection(frame[:min(len(frame), 256)], r.source); reply != nil {
		_, _ = r.socket.WriteTo(reply, &packet.Addr{HardwareAddr: reply[:6]})
	}
}
