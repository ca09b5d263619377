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

// The ring holds what arrives while this process does not run. A block goes to the
// reader when it is full or retire old, so that at the least 128 blocks last 128 ms,
// and one of them holds the largest frame that receive offload makes.
const (
	blockSize  = 128 << 10
	blockCount = 128
	retire     = time.Millisecond // of blocks; the kernel knows no shorter time
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
// kernel's Documentation/networking/packet_mmap.rst, TPACKET_V3).
type ring struct {
	socket int
	wake   int // eventfd: readable when the ring is closing
	memory []byte
}

// openRing receives the frames that a filter takes from an interface of the calling
// thread's network namespace.
func openRing(ifindex int, filter []bpf.RawInstruction) (*ring, error) {
	r := &ring{socket: -1, wake: -1}
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
	for _, o := range []struct{ option, value int }{
		{unix.PACKET_VERSION, unix.TPACKET_V3},
		{unix.PACKET_VNET_HDR, 1},
	} {
		if err := unix.SetsockoptInt(r.socket, unix.SOL_PACKET, o.option, o.value); err != nil {
			return fmt.Errorf("set option %d: %w", o.option, err)
		}
	}
	if err := r.setFilter(filter); err != nil {
		return err
	}
	request := unix.TpacketReq3{
		Block_size: blockSize, Block_nr: blockCount,
		Frame_size: blockSize, Frame_nr: blockCount, // of no meaning here, but checked
		Retire_blk_tov: uint32(retire / time.Millisecond),
	}
	if err := unix.SetsockoptTpacketReq3(r.socket, unix.SOL_PACKET, unix.PACKET_RX_RING, &request); err != nil {
		return fmt.Errorf("make ring of %d bytes: %w", blockSize*blockCount, err)
	}
	r.memory, err = unix.Mmap(r.socket, 0, blockSize*blockCount, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
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
	for i := 0; ; i = (i + 1) % blockCount {
		block := r.memory[i*blockSize : (i+1)*blockSize]
		// What the kernel wrote before it gave the block away is read after this, and
		// read before the block is given back.
		status := (*uint32)(unsafe.Pointer(&block[blockStatus]))
		for atomic.LoadUint32(status)&unix.TP_STATUS_USER == 0 {
			stopped, err := r.wait()
			if stopped || err != nil {
				return err
			}
		}
		walk(block, handle)
		atomic.StoreUint32(status, unix.TP_STATUS_KERNEL)
	}
}

// blockStatus is where struct tpacket_block_desc has struct tpacket_hdr_v1, and that
// the word which says whose the block is.
const blockStatus = unsafe.Offsetof(unix.TpacketBlockDesc{}.Hdr) + unsafe.Offsetof(unix.TpacketHdrV1{}.Block_status)

// walk reads the frames of one block.
func walk(block []byte, handle func(captured)) {
	head := (*unix.TpacketHdrV1)(unsafe.Pointer(&block[blockStatus]))
	at := head.Offset_to_first_pkt
	for range head.Num_pkts {
		p := (*unix.Tpacket3Hdr)(unsafe.Pointer(&block[at]))
		start := at + uint32(p.Mac)
		handle(captured{
			vnet:    block[start-vnetLength : start+p.Snaplen],
			arrived: int64(p.Sec)*int64(time.Second) + int64(p.Nsec),
			whole:   p.Snaplen == p.Len,
		})
		at += p.Next_offset
	}
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
