package main

import (
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// readKeys lets single keys come through without Enter and unseen, until restore. Ctrl-C
// stays a signal. Without a terminal no key comes.
func readKeys() (keys <-chan byte, restore func()) {
	fd := int(os.Stdin.Fd())
	before, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, func() {}
	}
	now := *before
	now.Lflag &^= unix.ICANON | unix.ECHO
	now.Cc[unix.VMIN], now.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &now); err != nil {
		return nil, func() {}
	}
	c := make(chan byte)
	go func() {
		var key [1]byte
		for {
			if n, err := os.Stdin.Read(key[:]); err != nil || n == 0 {
				close(c)
				return
			}
			c <- key[0]
		}
	}()
	return c, func() { _ = unix.IoctlSetTermios(fd, unix.TCSETS, before) }
}

// windowSize is that of the terminal at stdout, zeros where it is not known.
func windowSize() (columns, rows int) {
	ws, err := unix.IoctlGetWinsize(int(os.Stdout.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0, 0
	}
	return int(ws.Col), int(ws.Row)
}

// clip cuts a line to a width in characters, 0 for any. Colours take no room, and end with it.
func clip(line string, width int) string {
	if width <= 0 || utf8.RuneCountInString(line) <= width {
		return line
	}
	var b strings.Builder
	shown, coloured := 0, false
	for len(line) > 0 {
		if strings.HasPrefix(line, "\x1b[") {
			end := strings.IndexByte(line, 'm') + 1 // ours are colours only
			if end == 0 {
				break
			}
			coloured = line[:end] != reset
			b.WriteString(line[:end])
			line = line[end:]
			continue
		}
		if shown == width {
			break
		}
		_, n := utf8.DecodeRuneInString(line)
		b.WriteString(line[:n])
		line = line[n:]
		shown++
	}
	if coloured {
		b.WriteString(reset)
	}
	return b.String()
}
