package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/dataplane/ebpf"
	"github.com/opennlb/opennlb/portrules"
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
	pinned, rules, err := ebpf.ReadPinnedCounters(m.lab.Name, m.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	counters := []control.Counter{}
	for _, c := range pinned {
		counters = append(counters, control.Counter{Rule: rules[c.Rule], Reason: c.Reason.String(), Packets: c.Packets})
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
	m.retired = m.retired.plus(count(last))
	m.last = nil
	return nil
}

// Accepted is the number of TCP SYNs that each member has accepted since the lab was
// built, over all its nlbds. Missing are those accepted while a member leaves in
// order, after [Member.Stop] has read its counters.
func (l *Lab) Accepted(ctx context.Context) (map[string]uint64, error) {
	return l.accepted(ctx, func(t tally) uint64 { return t.syns })
}

// AcceptedDatagrams is [Lab.Accepted] for UDP to port 7 of the VIPs, under DefaultRules.
func (l *Lab) AcceptedDatagrams(ctx context.Context) (map[string]uint64, error) {
	return l.accepted(ctx, func(t tally) uint64 { return t.datagrams })
}

func (l *Lab) accepted(ctx context.Context, pick func(tally) uint64) (map[string]uint64, error) {
	accepted := map[string]uint64{}
	for _, m := range l.Members {
		counters, err := m.Counters(ctx)
		if err != nil {
			return nil, fmt.Errorf("read the counters of %s: %w", m.Name, err)
		}
		m.mu.Lock()
		accepted[m.Name] = pick(m.retired.plus(count(counters)))
		m.mu.Unlock()
	}
	return accepted, nil
}

// tally is how many packets a data plane accepted of the kinds that the switch counts, too.
type tally struct{ syns, datagrams uint64 }

func (t tally) plus(u tally) tally { return tally{t.syns + u.syns, t.datagrams + u.datagrams} }

func count(counters []control.Counter) (t tally) {
	for _, c := range counters {
		switch {
		case c.Reason == portrules.New.String():
			t.syns += c.Packets
		case c.Rule == datagramRule && acceptsDatagram(c.Reason):
			t.datagrams += c.Packets
		}
	}
	return t
}

// acceptsDatagram leaves out later fragments, which the switch does not count.
func acceptsDatagram(reason string) bool {
	return slices.ContainsFunc([]portrules.Reason{portrules.Owner, portrules.Established, portrules.ResidualConn},
		func(r portrules.Reason) bool { return r.String() == reason })
}
