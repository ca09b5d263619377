package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/opennlb/opennlb/lab"
)

// printer writes the demo's story and keeps count of broken promises.
type printer struct {
	out    io.Writer
	colour bool
	paused func(since time.Time) time.Duration // the longest pause of this machine; nil: not known
	began  time.Time                           // the step
	steps  int
	broken int
	void   int // promises that a pause of this machine may have broken
}

const (
	bold  = "1"
	dim   = "2"
	red   = "31"
	green = "32"
	cyan  = "36"
	amber = "33"
)

func (p *printer) paint(style, text string) string {
	if !p.colour {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

// step begins a step: what is shown, and in one line why it matters.
func (p *printer) step(title, why string) {
	p.steps++
	p.began = time.Now()
	fmt.Fprintf(p.out, "\n%s\n   %s\n", p.paint(bold, fmt.Sprintf("%d. %s", p.steps, title)), p.paint(dim, why))
}

// say writes a plain line.
func (p *printer) say(format string, args ...any) {
	fmt.Fprintf(p.out, "   "+format+"\n", args...)
}

// check states a promise and whether it was kept. One that was not is not held against the
// cluster where the machine of all members stood still meanwhile.
func (p *printer) check(kept bool, format string, args ...any) {
	pause := time.Duration(0)
	if !kept && p.paused != nil {
		pause = p.paused(p.began.Add(-lab.Settle))
	}
	if pause == 0 {
		p.always(kept, format, args...)
		return
	}
	p.void++
	fmt.Fprintf(p.out, "   %s %s\n", p.paint(amber, "not judged:"), fmt.Sprintf(format, args...))
	p.say("(other work took this machine's processors for %s meanwhile, which a cluster of real machines would not feel: run the demo again)", ms(pause))
}

// always is check for a promise that no pause excuses.
func (p *printer) always(kept bool, format string, args ...any) {
	mark := p.paint(green, "kept:")
	if !kept {
		p.broken++
		mark = p.paint(red, "BROKEN:")
	}
	fmt.Fprintf(p.out, "   %s %s\n", mark, fmt.Sprintf(format, args...))
}

// bar is a row of a bar chart.
type bar struct {
	name  string
	value int
	note  string
}

const barWidth = 30 // characters for the whole

// bars writes a row for each value, with its part of the sum.
func (p *printer) bars(rows []bar) {
	sum, width := 0, 0
	for _, r := range rows {
		sum += r.value
		width = max(width, len(r.name))
	}
	for _, r := range rows {
		filled, percent := 0, 0.0
		if sum > 0 {
			filled, percent = (r.value*barWidth+sum/2)/sum, 100*float64(r.value)/float64(sum)
		}
		chart := p.paint(cyan, strings.Repeat("#", filled)) + strings.Repeat(".", barWidth-filled)
		p.say("%s", strings.TrimRight(fmt.Sprintf("%-*s %s %6d %5.1f%%  %s", width, r.name, chart, r.value, percent, r.note), " "))
	}
}

// table writes columns, the first row being the heading.
func (p *printer) table(rows [][]string) {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], len(cell))
		}
	}
	for n, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			fmt.Fprintf(&line, "%-*s  ", widths[i], cell)
		}
		text := strings.TrimRight(line.String(), " ")
		if n == 0 {
			text = p.paint(bold, text)
		}
		p.say("%s", text)
	}
}

// coloured reports whether f is a terminal whose user has not asked for plain text
// (https://no-color.org).
func coloured(f *os.File) bool {
	if os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
