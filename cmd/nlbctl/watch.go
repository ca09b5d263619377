package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/opennlb/opennlb/control"
)

const (
	minInterval = 100 * time.Millisecond
	maxInterval = time.Hour
	markFrames  = 5 // a new epoch stands out in so many frames
	shownEvents = 5
)

// watch shows the status at each interval until ctx ends or somebody presses q: on a
// terminal as a live view, elsewhere one status after the other.
func (c *cli) watch(ctx context.Context, interval time.Duration) error {
	if !c.terminal || c.format != "table" {
		for {
			if c.format == "yaml" { // documents of one stream
				if err := c.write([]byte("---\n")); err != nil {
					return err
				}
			}
			if err := c.printStatus(ctx); err != nil {
				return err
			}
			if c.format == "table" {
				if err := c.write([]byte("\n")); err != nil {
					return err
				}
			}
			if err := c.sleep(ctx, interval); err != nil {
				return err
			}
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if c.keys != nil {
		keys, restore := c.keys()
		defer restore()
		go quitOn(keys, cancel)
	}
	// The other screen, without a cursor: what stood here before comes back.
	if err := c.write([]byte("\x1b[?1049h\x1b[?25l")); err != nil {
		return err
	}
	defer func() { _ = c.write([]byte("\x1b[?25h\x1b[?1049l")) }()
	view := live{cli: c, interval: interval}
	for {
		if err := view.look(ctx); err != nil && ctx.Err() == nil {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
		if err := c.write(view.draw(time.Now())); err != nil {
			return err
		}
		if err := c.sleep(ctx, interval); err != nil {
			return untilInterrupted(ctx, err)
		}
	}
}

func quitOn(keys <-chan byte, quit func()) {
	for k := range keys {
		if k == 'q' || k == 'Q' {
			quit()
			return
		}
	}
}

// live is what a live view remembers from one frame to the next.
type live struct {
	*cli
	interval time.Duration
	status   control.Status
	at       time.Time // of status; zero: none yet
	rates    map[string]rate
	lost     error  // why the last question had no answer
	was      uint64 // the epoch before the last new one
	mark     int    // frames for which it still stands out
	events   []control.Event
	seq      uint64 // of the last event
}

// look asks for what the next frame shows. Only the first question must have an answer.
func (v *live) look(ctx context.Context) error {
	s, err := v.askStatus(ctx)
	if err != nil {
		if v.at.IsZero() {
			return err
		}
		v.lost, v.rates = err, nil
		return nil
	}
	v.take(s, time.Now())
	events, err := ask(ctx, v.cli, func(ctx context.Context, client *control.Client) ([]control.Event, error) {
		return client.Events(ctx, v.seq, 0)
	})
	if err != nil {
		return nil //nolint:nilerr // a member that ends just now: the next frame tells
	}
	if n := len(events); n > 0 {
		if events[0].Seq <= v.seq { // nlbd was started anew
			v.events = nil
		}
		v.seq = events[n-1].Seq
	}
	v.events = append(v.events, events...)
	v.events = v.events[max(0, len(v.events)-shownEvents):]
	return nil
}

// take makes an answer the one that is shown.
func (v *live) take(s control.Status, now time.Time) {
	v.mark = max(0, v.mark-1)
	if !v.at.IsZero() {
		v.rates = rates(v.status.Dataplane.Counters, s.Dataplane.Counters, now.Sub(v.at))
		if s.Epoch != v.status.Epoch {
			v.was, v.mark = v.status.Epoch, markFrames
		}
	}
	v.status, v.at, v.lost = s, now, nil
}

// draw is a whole frame, written over the last one: no line is cleared before it is
// written, so nothing flickers.
func (v *live) draw(now time.Time) []byte {
	width, height := 0, 0
	if v.size != nil {
		width, height = v.size()
	}
	var b strings.Builder
	v.frame(&b, now)
	lines := strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
	if height > 0 && len(lines) > height {
		cut := len(lines) - height + 1
		lines = append(lines[:height-1], fmt.Sprintf("… %d more lines: make the window larger", cut))
	}
	for i, line := range lines {
		lines[i] = clip(line, width) + "\x1b[K"
	}
	return []byte("\x1b[H" + strings.Join(lines, "\n") + "\x1b[J")
}

func (v *live) frame(w io.Writer, now time.Time) {
	s := v.status
	vips := make([]string, len(s.VIPs))
	for i, vip := range s.VIPs {
		vips[i] = vip.String()
	}
	state := v.paint(green, "converged")
	if !s.Converged {
		state = v.paint(yellow, "converging")
	}
	epoch := text(fmt.Sprintf("epoch %d", s.Epoch))
	if v.mark > 0 {
		epoch = v.paint(reverse, fmt.Sprintf("epoch %d, was %d", s.Epoch, v.was))
	}
	engine := text(s.Dataplane.Kind)
	if !s.Lease {
		engine = v.paint(red, s.Dataplane.Kind+", silent")
	}
	fmt.Fprintf(w, "%s  %s  %s  default host %s  %s  %s, every %s, q ends\n", printable(s.Cluster), epoch, state,
		printable(orNobody(s.DefaultHost)), engine, now.Format(time.TimeOnly), v.interval)
	fmt.Fprintf(w, "%s\n", strings.Join(vips, ", "))
	if v.lost != nil {
		fmt.Fprintf(w, "%s\n", v.paint(red, fmt.Sprintf("as of %s: %v", v.at.Format(time.TimeOnly), v.lost)))
	}
	fmt.Fprintln(w)
	v.memberTable(w, s)
	fmt.Fprintln(w)
	v.rateTable(w, s, v.rates)
	if len(s.Warnings) > 0 {
		fmt.Fprintln(w)
	}
	for _, warning := range s.Warnings {
		fmt.Fprintln(w, v.paint(yellow, "Warning: "+warning))
	}
	if len(v.events) > 0 {
		fmt.Fprintln(w)
	}
	for _, e := range v.events {
		fmt.Fprintln(w, eventLine(e))
	}
}
