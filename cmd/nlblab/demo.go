package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/lab"
)

// Limits of what the demo waits for, generous for a slow machine.
const (
	convergeLimit = 20 * time.Second
	drainLimit    = 20 * time.Second
	silenceLimit  = 2 * time.Second // promised after a crash, on a machine that is busy with all members
)

var (
	web  = netip.AddrPortFrom(lab.VIP, 80)
	echo = netip.AddrPortFrom(lab.VIP, 7)
)

// demo is the state that one step leaves to the next.
type demo struct {
	*printer
	lab    *lab.Lab
	status control.Status
	owner  map[netip.Addr]string // who answered each client address last
}

// runDemo tells the story; its error also reports broken promises.
func runDemo(ctx context.Context, p *printer, options lab.Options) error {
	begin := time.Now()
	l, err := lab.New(ctx, options)
	if err != nil {
		return err
	}
	defer l.Close()
	machine, err := lab.WatchMachine()
	if err != nil {
		return err
	}
	p.paused = machine.Paused
	d := &demo{printer: p, lab: l}
	fmt.Fprintf(p.out, "%s %d members, a switch and a client host, in network namespaces of this machine.\n",
		p.paint(bold, "OpenNLB demo:"), options.Members)
	for _, step := range []func(context.Context) error{
		d.form, d.spread, d.learn, d.crash, d.rejoin, d.powerFailure, d.change, d.drain, d.count, d.explain,
	} {
		if err := step(ctx); err != nil {
			return d.aborted(err)
		}
	}
	if err := d.leave(ctx); err != nil {
		return err
	}
	if p.broken > 0 {
		return fmt.Errorf("%d promises were not kept: see BROKEN above", p.broken)
	}
	verdict := p.paint(green, "All promises kept")
	if p.void > 0 {
		verdict = p.paint(amber, fmt.Sprintf("No promise broken, %d not judged", p.void))
	}
	fmt.Fprintf(p.out, "\n%s in %.0f s.\n", verdict, time.Since(begin).Seconds())
	return nil
}

// aborted clears away and adds the members' last words to the error.
func (d *demo) aborted(err error) error {
	var said strings.Builder
	if !errors.Is(err, context.Canceled) {
		for _, m := range d.lab.Members[:min(4, len(d.lab.Members))] {
			if m.Process() != nil {
				fmt.Fprintf(&said, "\n%s wrote last:\n%s", m.Name, m.Log(8))
			}
		}
	}
	if errors.Is(err, context.Canceled) {
		err = errors.New("interrupted")
	}
	err = errors.Join(err, d.lab.Close())
	if left := d.lab.Leftovers(); len(left) > 0 {
		return fmt.Errorf("%w\nleft behind: %s%s", err, strings.Join(left, ", "), said.String())
	}
	return fmt.Errorf("%w (cleared away)%s", err, said.String())
}

// converged waits for n members and keeps the status.
func (d *demo) converged(ctx context.Context, n int) (took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, convergeLimit)
	defer cancel()
	begin := time.Now()
	d.status, err = d.lab.WaitConverged(ctx, n)
	return time.Since(begin), err
}
