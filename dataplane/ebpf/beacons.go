package ebpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"

	"github.com/opennlb/opennlb/converge"
	"github.com/opennlb/opennlb/dataplane"
	"github.com/opennlb/opennlb/nlbhash"
)

// Beacons delivers what the programs heard, see dataplane.Engine.
func (e *Engine) Beacons() <-chan converge.Beacon { return e.beacons }

// SetBeaconKeys changes the keys of beacons, see dataplane.Engine.
func (e *Engine) SetBeaconKeys(keys []nlbhash.Key) error {
	if err := dataplane.CheckBeaconKeys(keys); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return errClosed
	}
	e.control.setBeaconKeys(keys)
	return nil
}

// Fence is the highest epoch that a beacon said to be without this member: a policy
// answers only above it. 0 when there was none, or the engine is closed.
func (e *Engine) Fence() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return 0
	}
	return e.control.fence()
}

// listen carries beacons from the ring buffer to a channel until stop is called,
// which returns when all is over and the channel closed. The programs never wait:
// while the ring is full they tell of no beacon.
func listen(ring *ebpf.Map) (beacons <-chan converge.Beacon, stop func() error, err error) {
	reader, err := ringbuf.NewReader(ring)
	if err != nil {
		return nil, nil, fmt.Errorf("open ring buffer of beacons: %w", err)
	}
	out, ended := make(chan converge.Beacon, dataplane.BeaconBacklog), make(chan error, 1)
	go func() {
		defer close(out)
		ended <- carry(reader, out)
	}()
	stop = func() error {
		err := reader.Close()
		for range out { // its end
		}
		return errors.Join(err, <-ended)
	}
	return out, stop, nil
}

// carry reads until the reader is closed.
func carry(reader *ringbuf.Reader, out chan converge.Beacon) error {
	var record ringbuf.Record
	for {
		err := reader.ReadInto(&record)
		if errors.Is(err, os.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read ring buffer of beacons: %w", err)
		}
		b, err := parseBeacon(record.RawSample)
		if err != nil {
			return err
		}
		dataplane.OfferBeacon(out, b)
	}
}

func parseBeacon(raw []byte) (converge.Beacon, error) {
	var b nlbBeacon
	if _, err := binary.Decode(raw, binary.NativeEndian, &b); err != nil {
		return converge.Beacon{}, fmt.Errorf("decode beacon of %d bytes: %w", len(raw), err)
	}
	return converge.Beacon{
		Epoch:   converge.Epoch{N: b.Epoch, By: uint8(b.By), Instance: b.Instance},
		View:    b.View,
		Seq:     b.Seq,
		InForce: b.InForce != 0,
	}, nil
}
