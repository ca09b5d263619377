package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// DatagramOptions says what [Datagrams] send, and how often.
type DatagramOptions struct {
	Target netip.AddrPort // a server of [Host.StartUDP]
	From   []netip.Addr   // source addresses, taken in turn; each keeps one port
	Every  time.Duration  // between two datagrams; default 10 ms
}

// Datagrams is a steady stream of UDP from the client host.
type Datagrams struct {
	conns    []net.Conn
	cancel   context.CancelFunc
	sender   sync.WaitGroup
	readers  sync.WaitGroup
	once     sync.Once
	sent     atomic.Uint64
	answered atomic.Uint64
}

// StartDatagrams begins to send; call [Datagrams.Stop].
func (c *Client) StartDatagrams(options DatagramOptions) (*Datagrams, error) {
	if options.Every == 0 {
		options.Every = 10 * time.Millisecond
	}
	ctx, cancel := context.WithCancel(context.Background())
	d := &Datagrams{cancel: cancel}
	for _, src := range options.From {
		conn, err := c.dialUDP(netip.AddrPortFrom(src, 0), options.Target)
		if err != nil {
			d.Stop()
			return nil, fmt.Errorf("send datagrams from %s: %w", src, err)
		}
		d.conns = append(d.conns, conn)
		d.readers.Go(func() { d.read(conn) })
	}
	if len(d.conns) > 0 {
		d.sender.Go(func() { d.send(ctx, options.Every) })
	}
	return d, nil
}

// Sent is the number of datagrams that the client's kernel took. Some of them may
// not have left, for want of the target's MAC address.
func (d *Datagrams) Sent() uint64 { return d.sent.Load() }

// Answered is the number of answers, repeated ones included.
func (d *Datagrams) Answered() uint64 { return d.answered.Load() }

// Stop ends the sending at once, and the receiving once those under way have had a
// moment to be answered. A second call does nothing.
func (d *Datagrams) Stop() {
	d.once.Do(func() {
		d.cancel()
		d.sender.Wait()
		if d.answered.Load() < d.sent.Load() {
			time.Sleep(50 * time.Millisecond)
		}
		for _, conn := range d.conns {
			conn.Close()
		}
		d.readers.Wait()
	})
}

func (d *Datagrams) send(ctx context.Context, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for i := 0; ; i++ {
		// An error is that of an earlier datagram: refused, or no MAC address found.
		if _, err := d.conns[i%len(d.conns)].Write([]byte("datagram\n")); err == nil {
			d.sent.Add(1)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func (d *Datagrams) read(conn net.Conn) {
	buf := make([]byte, 512)
	for {
		_, err := conn.Read(buf)
		if err == nil {
			d.answered.Add(1)
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
	}
}
