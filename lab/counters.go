package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/dataplane/ebpf"
)

// Counters returns the packets that the member's data plane has counted since its
// nlbd started: from nlbd, or from the pinned maps where nlbd is dead or frozen.
func (m *Member) Counters(ctx context.Context) ([]control.Counter, error) {
	if m.Running() {
		s, err := m.Status(ctx)
		return s.Dataplane.Counters, err
	}
	return m.lastCounters()
}

// lastCounters are the pinned ones, which a crash leaves, or those that Stop read.
func (m *Member) lastCounters() ([]control.Counter, error) {
	pinned, err := m.pinnedCounters()
	if err != nil || pinned != nil {
		return pinned, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last, nil
}

// pinnedCounters is nil where nothing is pinned.
func (m *Member) pinnedCounters() ([]control.Counter, error) {
	pinned, err := ebpf.ReadPinnedCounters(m.lab.Name, m.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	counters := []control.Counter{}
	for _, c := range pinned {
		counters = append(counters, control.Counter{Rule: c.Rule, Reason: c.Reason.String(), Packets: c.Packets})
	}
	return counters, nil
}

// retire adds up what the last nlbd accepted, before another one starts from zero.
func (m *Member) retire() error {
	last, err := m.lastCounters()
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.retired += newConnections(last)
	m.last = nil
	return nil
}

// Accepted is the number of TCP SYNs that each member has accepted since the lab was
// built, over all its nlbds. Missing are those accepted while a member leaves in
// order, after [Member.Stop] has read its counters.
func (l *Lab) Accepted(ctx context.Context) (map[string]uint64, error) {
	accepted := map[string]uint64{}
	for _, m := range l.Members {
		counters, err := m.Counters(ctx)
		if err != nil {
			return nil, fmt.Errorf("read the counters of %s: %w", m.Name, err)
		}
		m.mu.Lock()
		accepted[m.Name] = m.retired + newConnections(counters)
		m.mu.Unlock()
	}
	return accepted, nil
}

// newConnections adds up the SYNs accepted.
func newConnections(counters []control.Counter) uint64 {
	var n uint64
	for _, c := range counters {
		if c.Reason == "new" {
			n += c.Packets
		}
	}
	return n
}
