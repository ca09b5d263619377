package ebpf

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/opennlb/opennlb/dataplane"
	"github.com/opennlb/opennlb/portrules"
)

// readCounters reads what has been counted under these IDs; exits that no packet took
// are left out.
func readCounters(m *ebpf.Map, ids []uint16) ([]dataplane.Counter, error) {
	var out []dataplane.Counter
	var perCPU []nlbCounts
	for _, id := range ids {
		if err := m.Lookup(uint32(id), &perCPU); err != nil {
			return nil, fmt.Errorf("read counters: %w", err)
		}
		for reason := range portrules.NumReasons {
			var packets uint64
			for cpu := range perCPU {
				packets += perCPU[cpu].Packets[reason]
			}
			if packets != 0 {
				out = append(out, dataplane.Counter{Rule: id, Reason: reason, Packets: packets})
			}
		}
	}
	return out, nil
}

// zeroCounters forgets what was counted under an ID.
func zeroCounters(m *ebpf.Map, id uint16) error {
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return fmt.Errorf("count CPUs: %w", err)
	}
	if err := m.Put(uint32(id), make([]nlbCounts, cpus)); err != nil {
		return fmt.Errorf("reset counters: %w", err)
	}
	return nil
}

// names are those of the rules, by ID.
type names map[uint16]string

// counted are the IDs that something may be counted under.
func (n names) counted() []uint16 {
	return append(slices.Sorted(maps.Keys(n)), portrules.NumRuleIDs)
}

// writeName tells ReadPinnedCounters which rule has an ID; "": none.
func writeName(m *ebpf.Map, id uint16, name string) error {
	var value nlbName
	copy(value.Text[:], name)
	if err := m.Put(uint32(id), &value); err != nil {
		return fmt.Errorf("name rule: %w", err)
	}
	return nil
}

func readNames(m *ebpf.Map) (names, error) {
	out := make(names)
	var value nlbName
	for id := range uint16(portrules.NumRuleIDs) {
		if err := m.Lookup(uint32(id), &value); err != nil {
			return nil, fmt.Errorf("read names of rules: %w", err)
		}
		if text, _, _ := bytes.Cut(value.Text[:], []byte{0}); len(text) > 0 {
			out[id] = string(text)
		}
	}
	return out, nil
}
