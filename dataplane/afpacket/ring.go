package afpacket

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// The ring holds what arrives while this process does not run: 8192 frames. Those that
// receive offload has made larger than a slot come whole by the socket's queue.
const (
	slotSize  = 2048
	slotCount = 8192
	blockSize = 64 << 10 // of memory that the kernel must have in one piece
	queueSize = 8 << 20
)

// vnetLength is the size of struct virtio_net_hdr, which stands before each frame.
const vnetLength = 10

// captured is a frame as the ring holds it, to be changed at will until the next.
type captured struct {
	vnet    []byte // struct virtio_net_hdr and the frame behind it, without a gap
	arrived int64  // CLOCK_REALTIME, ns
	whole   bool   // else its end is missing
}

func (c captured) frame() []byte { return c.vnet[vnetLength:] }

// ring is a packet socket that receives into shared memory (packet(7) and the
// kernel's Documentation/networking/packet_mmap.rst). It is of TPACKET_V2, which wakes
// the reader for each frame; V3 hands over blocks of frames, the last of them only
// when a timer ends, which adds a millisecond to every round trip.
type ring struct {
	socket int
	wake   int // eventfd: readable when the ring is closing
	memory []byte
	large  []byte // a frame from the socket's queue
}

// openRing receives the frames that a filter takes from an interface of the calling
// thread's network namespace.
func openRing(ifindex int, filter []bpf.RawInstruction) (*ring, error) {
	r := &ring{socket: -1, wake: -1, large: make([]byte, vnetLength+takeAll)}
	if err := r.open(ifindex, filter); err != nil {
		r.close()
		return nil, fmt.Errorf("open packet socket: %w", err)
	}
	return r, nil
}

func (r *ring) open(ifindex int, filter []bpf.RawInstruction) (err error) {
	if r.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return err
	}
	// Protocol 0 receives nothing before bind.
	if r.socket, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
		return err
	}
	for _, o := range []struct{ level, option, value int }{
		{unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V2},
		{unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1},
		{unix.SOL_PACKET, unix.PACKET_COPY_THRESH, 1},
		{unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, queueSize},
	} {
		if err := unix.SetsockoptInt(r.socket, o.level, o.option, o.value); err != nil {
			return fmt.Errorf("set option %d: %w", o.option, err)
		}
	}
	if err := r.setFilter(filter); err != nil {
		return err
	}
	request := unix.TpacketReq{
		Block_size: blockSize, Block_nr: slotCount * slotSize / blockSize,
		Frame_size: slotSize, Frame_nr: slotCount,
	}
	if err := unix.SetsockoptTpacketReq(r.socket, unix.SOL_PACKET, unix.PACKET_RX_RING, &request); err != nil {
		return fmt.Errorf("make ring of %d bytes: %w", slotSize*slotCount, err)
	}
	r.memory, err = unix.Mmap(r.socket, 0, slotSize*slotCount, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map ring: %w", err)
	}
	return unix.Bind(r.socket, &unix.SockaddrLinklayer{Protocol: everyProtocol(), Ifindex: ifindex})
}

// everyProtocol is ETH_P_ALL in network order. A socket for one protocol would come
// after nftables ingress.
func everyProtocol() uint16 { return binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL}) }

// setFilter replaces the filter at one instant. It may be called while run runs.
func (r *ring) setFilter(filter []bpf.RawInstruction) error {
	program := make([]unix.SockFilter, len(filter))
	for i, f := range filter {
		program[i] = unix.SockFilter{Code: f.Op, Jt: f.Jt, Jf: f.Jf, K: f.K}
	}
	err := unix.SetsockoptSockFprog(r.socket, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
	if err != nil {
		return fmt.Errorf("attach filter of %d instructions: %w", len(program), err)
	}
	return nil
}

// run gives all frames to handle, until stop. It outlasts the interface going down.
func (r *ring) run(handle func(captured)) error {
	for i := 0; ; i = (i + 1) % slotCount {
		slot := r.memory[i*slotSize : (i+1)*slotSize]
		head := (*unix.Tpacket2Hdr)(unsafe.Pointer(&slot[0]))
		// What the kernel wrote before it gave the slot away is read after this, and
		// read before the slot is given back.
		for atomic.LoadUint32(&head.Status)&unix.TP_STATUS_USER == 0 {
			stopped, err := r.wait()
			if stopped || err != nil {
				return err
			}
		}
		handle(r.read(slot, head))
		atomic.StoreUint32(&head.Status, unix.TP_STATUS_KERNEL)
	}
}

// read returns the frame in a slot, or the one in the socket's queue of which the slot
// has the beginning; the queue keeps the order of the ring.
func (r *ring) read(slot []byte, head *unix.Tpacket2Hdr) captured {
	start := uint32(head.Mac)
	c := captured{
		vnet:    slot[start-vnetLength : start+head.Snaplen],
		arrived: int64(head.Sec)*int64(time.Second) + int64(head.Nsec),
		whole:   head.Snaplen == head.Len,
	}
	if head.Status&unix.TP_STATUS_COPY == 0 {
		return c
	}
	n, _, err := unix.Recvfrom(r.socket, r.large, unix.MSG_DONTWAIT)
	if err == nil && n == vnetLength+int(head.Len) {
		c.vnet, c.whole = r.large[:n], true
	}
	return c
}

// wait sleeps until the ring has something to read or is stopped.
func (r *ring) wait() (stopped bool, err error) {
	fds := []unix.PollFd{{Fd: int32(r.socket), Events: unix.POLLIN}, {Fd: int32(r.wake), Events: unix.POLLIN}}
	_, err = unix.Poll(fds, -1)
	if err != nil && !errors.Is(err, unix.EINTR) {
		return false, fmt.Errorf("wait for frames: %w", err)
	}
	if fds[0].Revents&unix.POLLERR != 0 { // the interface went down: said once, and forgotten by asking
		if _, err := unix.GetsockoptInt(r.socket, unix.SOL_SOCKET, unix.SO_ERROR); err != nil {
			return false, fmt.Errorf("wait for frames: %w", err)
		}
	}
	return fds[1].Revents != 0, nil
}

// lost returns how many frames found no room since it was last asked.
func (r *ring) lost() uint32 {
	stats, err := unix.GetsockoptTpacketStats(r.socket, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return 0 // it is only told to the operator
	}
	return stats.Drops
}

// stop ends run, once it has nothing to read.
func (r *ring) stop() error {
	if _, err := unix.Write(r.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil {
		return os.NewSyscallError("write eventfd", err)
	}
	return nil
}

// close releases the ring when run has ended.
func (r *ring) close() error {
	var errs []error
	if r.memory != nil {
		errs = append(errs, unix.Munmap(r.memory))
	}
	for _, fd := range []int{r.socket, r.wake} {
		if fd >= 0 {
			errs = append(errs, unix.Close(fd))
		}
	}
	return errors.Join(errs...)
}
