package lab

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

// Capture is a tcpdump that writes every frame that crosses the switch to a file.
type Capture struct {
	File string
	p    *Process
}

// Capture starts and returns once frames are captured. The filter is in the
// language of pcap-filter(7); "" for all frames.
func (s *Switch) Capture(ctx context.Context, file, filter string) (*Capture, error) {
	// A bridge in promiscuous mode sees what it forwards.
	args := []string{"-i", "br0", "-Z", "root", "--immediate-mode", "-U", "-w", file}
	p, err := s.StartCommand("tcpdump", append(args, strings.Fields(filter)...)...)
	if err != nil {
		return nil, err
	}
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		said, err := os.ReadFile(p.Log)
		if err == nil && bytes.Contains(said, []byte("listening on")) {
			return &Capture{File: file, p: p}, nil
		}
		select {
		case <-ticker.C:
		case <-p.Done():
			return nil, fmt.Errorf("capture on the switch: tcpdump ended: %s", p.Tail(3))
		case <-ctx.Done():
			p.Kill()
			return nil, ctx.Err()
		}
	}
}

// Stop ends the capture; the file is complete when it returns.
func (c *Capture) Stop() error { return c.p.Stop(syscall.SIGINT, 5*time.Second) }
