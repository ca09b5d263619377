package afpacket

import "github.com/opennlb/opennlb/portrules"

// maxFragments is how many datagrams whose first fragment was accepted are
// remembered, as many as in dataplane/ebpf.
const maxFragments = 4096

// fragments remembers the latest datagrams.
type fragments struct {
	known map[portrules.FragmentKey]bool
	order []portrules.FragmentKey // as a ring; next is the oldest
	next  int
}

func (f *fragments) has(k portrules.FragmentKey) bool { return f.known[k] }

func (f *fragments) add(k portrules.FragmentKey) {
	if f.known[k] {
		return
	}
	if f.known == nil {
		f.known = make(map[portrules.FragmentKey]bool, maxFragments)
	}
	if len(f.order) < maxFragments {
		f.order = append(f.order, k)
	} else {
		delete(f.known, f.order[f.next])
		f.order[f.next] = k
		f.next = (f.next + 1) % maxFragments
	}
	f.known[k] = true
}
