package ebpf

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/opennlb/opennlb/dataplane"
	"github.com/opennlb/opennlb/portrules"
)

const maxCounters = 512

// numbering gives each rule name the number of its counter. A rule keeps its
// number from policy to policy; 0, named "", is for traffic that no rule covers.
// It has room for two policies, so a number is reused only when neither the old
// nor the new policy uses it.
type numbering [maxCounters]string

// assign returns the number of each rule of a new policy, and which of them are
// new and must be zeroed; current are the rules of the policy it replaces.
func (n numbering) assign(current, rules []portrules.Rule) (next numbering, numbers, fresh []uint16) {
	keep := make(map[string]bool, len(current)+len(rules))
	for _, r := range slices.Concat(current, rules) {
		keep[r.Name] = true
	}
	known := make(map[string]uint16, maxCounters)
	for i, name := range n {
		if name != "" {
			known[name] = uint16(i)
		}
	}
	next = n
	for _, r := range rules {
		number, ok := known[r.Name]
		if !ok {
			number = next.free(keep)
			next[number] = r.Name
			known[r.Name] = number
			fresh = append(fresh, number)
		}
		numbers = append(numbers, number)
	}
	return next, numbers, fresh
}

// free returns a number without a name, or one whose name is not to be kept.
func (n *numbering) free(keep map[string]bool) uint16 {
	if i := slices.Index(n[1:], ""); i >= 0 {
		return uint16(i + 1)
	}
	return uint16(1 + slices.IndexFunc(n[1:], func(name string) bool { return !keep[name] }))
}

// readCounters reads what has been counted; exits that no packet took are left
// out.
func readCounters(m *ebpf.Map, names *numbering) ([]dataplane.Counter, error) {
	var out []dataplane.Counter
	var perCPU []nlbCounts
	for number, name := range names {
		if number != 0 && name == "" {
			continue
		}
		if err := m.Lookup(uint32(number), &perCPU); err != nil {
			return nil, fmt.Errorf("read counters: %w", err)
		}
		for reason := range portrules.NumReasons {
			var packets uint64
			for cpu := range perCPU {
				packets += perCPU[cpu].Packets[reason]
			}
			if packets != 0 {
				out = append(out, dataplane.Counter{Rule: name, Reason: reason, Packets: packets})
			}
		}
	}
	return out, nil
}

// zeroCounter forgets what was counted under a number that gets a new name.
func zeroCounter(m *ebpf.Map, number uint16) error {
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return fmt.Errorf("count CPUs: %w", err)
	}
	if err := m.Put(uint32(number), make([]nlbCounts, cpus)); err != nil {
		return fmt.Errorf("reset counter: %w", err)
	}
	return nil
}

// writeName tells ReadPinnedCounters what a number stands for.
func writeName(m *ebpf.Map, number uint16, name string) error {
	var value nlbName
	copy(value.Text[:], name)
	if err := m.Put(uint32(number), &value); err != nil {
		return fmt.Errorf("name counter: %w", err)
	}
	return nil
}

func readNames(m *ebpf.Map) (*numbering, error) {
	var names numbering
	var value nlbName
	for i := range names {
		if err := m.Lookup(uint32(i), &value); err != nil {
			return nil, fmt.Errorf("read names of counters: %w", err)
		}
		text, _, _ := bytes.Cut(value.Text[:], []byte{0})
		names[i] = string(text)
	}
	return &names, nil
}
