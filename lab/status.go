package lab

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/opennlb/opennlb/control"
)

// Control is a client of the member's nlbd.
func (m *Member) Control() *control.Client { return m.client }

// Status asks the member's nlbd.
func (m *Member) Status(ctx context.Context) (control.Status, error) {
	return m.client.Status(ctx)
}

// WaitConverged waits until every running member reports the same epoch, converged,
// with exactly n members alive, and returns one of the statuses. Its error tells
// what each member said last.
func (l *Lab) WaitConverged(ctx context.Context, n int) (control.Status, error) {
	return l.WaitStatus(ctx, fmt.Sprintf("wait until %d members have converged", n), func(s control.Status) bool {
		return s.Converged && alive(s) == n
	})
}

// WaitStatus waits until all running members report the same epoch and a status
// that suits ok. The task is for the error.
func (l *Lab) WaitStatus(ctx context.Context, task string, ok func(control.Status) bool) (control.Status, error) {
	// To ask costs a member about a millisecond: many are asked more rarely.
	ticker := time.NewTicker(5 * time.Millisecond * time.Duration(max(4, len(l.Members))))
	defer ticker.Stop()
	for {
		status, complaint := l.agreed(ctx, ok)
		if complaint == "" {
			return status, nil
		}
		if name := l.crashed(); name != "" {
			return control.Status{}, fmt.Errorf("%s: nlbd on %s ended by itself:\n%s", task, name, complaint)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return control.Status{}, fmt.Errorf("%s: %w:\n%s", task, ctx.Err(), complaint)
		}
	}
}

// agreed returns one of the statuses if all suit, else what the members say.
func (l *Lab) agreed(ctx context.Context, ok func(control.Status) bool) (first control.Status, complaint string) {
	// A wedged nlbd must not hide what the others say.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	var said strings.Builder
	asked, suits := 0, true
	for _, m := range l.Members {
		p := m.Process()
		if p != nil && !p.Running() {
			fmt.Fprintf(&said, "%s: nlbd has ended; its log ends:\n%s\n", m.Name, m.Log(5))
		}
		if !m.Running() {
			continue
		}
		s, err := m.Status(ctx)
		if err != nil {
			suits = false
			fmt.Fprintf(&said, "%s: %v; its log ends:\n%s\n", m.Name, err, m.Log(5))
			continue
		}
		fmt.Fprintf(&said, "%s: %s\n", m.Name, brief(s))
		if asked == 0 {
			first = s
		}
		asked++
		suits = suits && ok(s) && s.Epoch == first.Epoch
	}
	switch {
	case asked == 0 && suits:
		return first, said.String() + "no member runs"
	case suits:
		return first, ""
	}
	return first, said.String()
}

// crashed names a member whose nlbd nobody has ended; waiting would be in vain.
func (l *Lab) crashed() string {
	for _, m := range l.Members {
		if p := m.Process(); p != nil && p.Crashed() {
			return m.Name
		}
	}
	return ""
}

func alive(s control.Status) int {
	n := 0
	for _, m := range s.Members {
		if m.Alive {
			n++
		}
	}
	return n
}

func brief(s control.Status) string {
	var b strings.Builder
	fmt.Fprintf(&b, "epoch %d, converged %t, lease %t, members", s.Epoch, s.Converged, s.Lease)
	for _, m := range s.Members {
		fmt.Fprintf(&b, " %s:%s", m.Name, m.State)
		if !m.Alive {
			b.WriteString("(dead)")
		}
	}
	return b.String()
}
