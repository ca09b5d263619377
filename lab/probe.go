package lab

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// ProbeOptions says what a [Probe] asks, and how often.
type ProbeOptions struct {
	Target  netip.AddrPort          // a server of [Host.StartHTTP]
	Lanes   map[string][]netip.Addr // source addresses by lane, such as the member that answers them
	Every   time.Duration           // between two attempts of a lane; default 10 ms
	Timeout time.Duration           // of one attempt; default 500 ms, less than TCP's first retransmission
}

// Probe opens a new connection in each lane at a steady pace, taking the lane's
// addresses in turn, and notes when which of them were answered.
type Probe struct {
	options ProbeOptions
	start   time.Time
	cancel  context.CancelFunc
	tasks   sync.WaitGroup
	mu      sync.Mutex
	lanes   map[string][]Attempt
}

// Attempt is one connection of a probe.
type Attempt struct {
	At     time.Duration // its start, since the start of the probe
	Took   time.Duration // until it was answered or given up
	From   netip.Addr
	Member string // who answered; "" for nobody
	Err    error
}

// StartProbe begins to probe; call [Probe.Stop].
func (c *Client) StartProbe(options ProbeOptions) *Probe {
	if options.Every == 0 {
		options.Every = 10 * time.Millisecond
	}
	if options.Timeout == 0 {
		options.Timeout = 500 * time.Millisecond
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &Probe{options: options, start: time.Now(), cancel: cancel, lanes: map[string][]Attempt{}}
	for name := range options.Lanes {
		p.lanes[name] = nil // a report even of an empty lane
	}
	for name, from := range options.Lanes {
		if len(from) > 0 {
			p.tasks.Go(func() { p.drive(ctx, c, name, from) })
		}
	}
	return p
}

// Since is the time on the probe's clock.
func (p *Probe) Since() time.Duration { return time.Since(p.start) }

// Report sums up the attempts that have ended so far, by lane.
func (p *Probe) Report() map[string]LaneReport {
	p.mu.Lock()
	defer p.mu.Unlock()
	reports := make(map[string]LaneReport, len(p.lanes))
	for name, attempts := range p.lanes {
		reports[name] = newLaneReport(slices.Clone(attempts))
	}
	return reports
}

// Stop ends the probe, waits for the attempts under way, and returns the lanes' reports.
func (p *Probe) Stop() map[string]LaneReport {
	p.cancel()
	p.tasks.Wait()
	return p.Report()
}

// drive starts the attempts of one lane. They do not wait for one another.
func (p *Probe) drive(ctx context.Context, c *Client, lane string, from []netip.Addr) {
	ticker := time.NewTicker(p.options.Every)
	defer ticker.Stop()
	for i := 0; ; i++ {
		src := from[i%len(from)]
		p.tasks.Go(func() { p.attempt(c, lane, src) })
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func (p *Probe) attempt(c *Client, lane string, src netip.Addr) {
	ctx, cancel := context.WithTimeout(context.Background(), p.options.Timeout)
	defer cancel()
	a := Attempt{At: p.Since(), From: src}
	a.Member, a.Err = askOnce(ctx, c, src, p.options.Target)
	a.Took = p.Since() - a.At
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lanes[lane] = append(p.lanes[lane], a)
}

// askOnce is [Client.Ask], but resets the connection in the end, so that thousands
// of attempts leave no sockets waiting on either side.
func askOnce(ctx context.Context, c *Client, src netip.Addr, dst netip.AddrPort) (string, error) {
	conn, err := c.DialFrom(ctx, src, dst)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if t, ok := conn.(*net.TCPConn); ok {
		t.SetLinger(0)
	}
	return ask(ctx, conn, dst)
}
