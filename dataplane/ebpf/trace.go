package ebpf

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/opennlb/opennlb/dataplane"
	"github.com/opennlb/opennlb/portrules"
)

const (
	traceLease   = time.Second            // the programs stop by themselves when the agent is gone
	traceEvery   = 200 * time.Millisecond // it is renewed this often, and the ring read
	traceBacklog = 256                    // samples that wait for the reader
	traceDrain   = 64 << 10               // more samples than the ring can hold
)

// Trace shows live decisions, see dataplane.Tracer.
func (e *Engine) Trace(ctx context.Context, filter dataplane.TraceFilter) (<-chan dataplane.Sample, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.closed:
		return nil, errClosed
	case e.stopTrace != nil:
		return nil, dataplane.ErrTracing
	}
	t, err := openTrace(e.objects)
	if err != nil {
		return nil, err
	}
	t.set(filter)
	out := make(chan dataplane.Sample, traceBacklog)
	ctx, e.stopTrace = context.WithCancel(ctx)
	e.traces.Go(func() {
		defer close(out)
		t.run(ctx, out)
		if err := t.close(); err != nil {
			e.log.Warn("end trace", "error", err)
		}
		e.endTrace()
	})
	return out, nil
}

func (e *Engine) endTrace() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stopTrace()
	e.stopTrace = nil
}

// trace is one look at the programs.
type trace struct {
	reader *ringbuf.Reader
	memory []byte // struct tracing of bpf/trace.h, shared with the programs
	late   uint64 // samples for which the reader had no room
}

func openTrace(o *objects) (*trace, error) {
	memory, err := unix.Mmap(o.tracing.FD(), 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map trace words into memory: %w", err)
	}
	reader, err := ringbuf.NewReader(o.traces)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open ring buffer of trace: %w", err), unix.Munmap(memory))
	}
	return &trace{reader: reader, memory: memory}, nil
}

func (t *trace) words() *nlbTracing { return (*nlbTracing)(unsafe.Pointer(&t.memory[0])) }

func (t *trace) renew() {
	atomic.StoreUint64(&t.words().Until, uint64(dataplane.Now().Add(traceLease)))
}

// set fills in the filter; nothing reads it before the first renewal.
func (t *trace) set(filter dataplane.TraceFilter) {
	w := t.words()
	atomic.StoreUint64(&w.Until, 0)
	var mask [16]byte
	client := netip.IPv6Unspecified()
	if p := filter.Client.Masked(); p.IsValid() {
		client = p.Addr()
		bits := p.Bits()
		if client.Is4() {
			bits += 96
		}
		for i := range bits {
			mask[i/8] |= 0x80 >> (i % 8)
		}
	}
	m, c := vipAddr(netip.AddrFrom16(mask)), vipAddr(client)
	w.Mask, w.Client = [2]uint64{m.Hi, m.Lo}, [2]uint64{c.Hi, c.Lo}
	w.Port, w.Missed = uint32(filter.Port), 0
	t.drain() // what an earlier trace left
}

func (t *trace) drain() {
	t.reader.SetDeadline(time.Unix(1, 0))
	var record ringbuf.Record
	for range traceDrain {
		if t.reader.ReadInto(&record) != nil {
			return
		}
	}
}

// run hands on samples until ctx ends. The programs stop within traceLease if it does not return.
func (t *trace) run(ctx context.Context, out chan<- dataplane.Sample) {
	defer func() { atomic.StoreUint64(&t.words().Until, 0) }()
	defer context.AfterFunc(ctx, func() { _ = t.reader.Flush() })() // it need not wait for the deadline
	var record ringbuf.Record
	var next time.Time
	for ctx.Err() == nil {
		if now := time.Now(); !now.Before(next) {
			t.renew()
			next = now.Add(traceEvery)
			t.reader.SetDeadline(next)
		}
		err := t.reader.ReadInto(&record)
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, ringbuf.ErrFlushed) {
			continue
		}
		if err != nil {
			return
		}
		s, ok := t.sample(record.RawSample)
		if !ok {
			return
		}
		select {
		case out <- s:
		default:
			t.late++
		}
	}
}

func (t *trace) sample(raw []byte) (dataplane.Sample, bool) {
	var s nlbTraced
	if _, err := binary.Decode(raw, binary.NativeEndian, &s); err != nil {
		return dataplane.Sample{}, false
	}
	return dataplane.Sample{
		At:       dataplane.Instant(s.At),
		Client:   netip.AddrPortFrom(addrOf(s.Src), s.Sport),
		VIP:      netip.AddrPortFrom(addrOf(s.Dst), s.Dport),
		Protocol: s.Protocol,
		Rule:     s.Rule,
		Reason:   portrules.Reason(s.Reason),
		Missed:   atomic.LoadUint64(&t.words().Missed) + t.late,
	}, true
}

func (t *trace) close() error {
	return errors.Join(t.reader.Close(), unix.Munmap(t.memory))
}

// addrOf is the reverse of vipAddr.
func addrOf(a nlbAddr) netip.Addr {
	var b [16]byte
	binary.NativeEndian.PutUint64(b[:8], a.Hi)
	binary.NativeEndian.PutUint64(b[8:], a.Lo)
	return netip.AddrFrom16(b).Unmap()
}
