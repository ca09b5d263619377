package afpacket

import "github.com/opennlb/opennlb/portrules"

// maxFragments is how many datagrams whose first fragment came are remembered, as many
// as in dataplane/ebpf.
const maxFragments = 4096

// fragments remembers what became of the first fragments of the latest datagrams.
type fragments struct {
	accepted map[portrules.FragmentKey]bool // false: refused
	order    []portrules.FragmentKey        // as a ring; next is the oldest
	next     int
}

func (f *fragments) wasAccepted(k portrules.FragmentKey) bool { return f.accepted[k] }

func (f *fragments) wasRefused(k portrules.FragmentKey) bool {
	accepted, known := f.accepted[k]
	return known && !accepted
}

func (f *fragments) note(k portrules.FragmentKey, accepted bool) {
	if _, known := f.accepted[k]; known {
		f.accepted[k] = accepted
		return
	}
	if f.accepted == nil {
		f.accepted = make(map[portrules.FragmentKey]bool, maxFragments)
	}
	if len(f.order) < maxFragments {
		f.order = append(f.order, k)
	} else {
		delete(f.accepted, f.order[f.next])
		f.order[f.next] = k
		f.next = (f.next + 1) % maxFragments
	}
	f.accepted[k] = accepted
}
