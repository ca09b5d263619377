package ebpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/mdlayher/packet"

	"github.com/opennlb/opennlb/portrules"
)

// answerRejected sends a reply to each frame that the programs have dropped as
// rejected, until stop is called, which returns when all is over. The programs bound
// how many there are.
func answerRejected(ring *ebpf.Map, dev device, source [6]byte, log *slog.Logger) (stop func() error, err error) {
	reader, err := ringbuf.NewReader(ring)
	if err != nil {
		return nil, fmt.Errorf("open ring buffer of rejected frames: %w", err)
	}
	conn, err := packet.Listen(&net.Interface{Index: dev.index, Name: dev.name, HardwareAddr: dev.mac}, packet.Raw, 0, nil)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open packet socket on %s: %w", dev.name, err), reader.Close())
	}
	ended := make(chan error, 1)
	go func() { ended <- reply(reader, conn, source, log) }()
	return func() error { return errors.Join(reader.Close(), <-ended, conn.Close()) }, nil
}

// reply reads until the reader is closed. What cannot be sent is lost, as any frame
// may be: the sender tries again.
func reply(reader *ringbuf.Reader, conn *packet.Conn, source [6]byte, log *slog.Logger) error {
	var record ringbuf.Record
	for {
		err := reader.ReadInto(&record)
		if errors.Is(err, os.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read ring buffer of rejected frames: %w", err)
		}
		var s nlbSample
		if _, err := binary.Decode(record.RawSample, binary.NativeEndian, &s); err != nil {
			return fmt.Errorf("decode rejected frame of %d bytes: %w", len(record.RawSample), err)
		}
		frame := portrules.Rejection(s.Bytes[:min(s.Length, uint32(len(s.Bytes)))], source)
		if frame == nil {
			continue
		}
		if _, err := conn.WriteTo(frame, &packet.Addr{HardwareAddr: frame[:6]}); err != nil {
			log.Debug("send rejection", "error", err)
		}
	}
}
