package membership

import "math"

// window tells sequence numbers seen for the first time from repeated ones, so
// that a recorded datagram sent again is refused (memberlist's encryption does
// not protect from that). Numbers may come out of order by up to 64*words;
// older ones are refused too. RFC 4303, section 3.4.3 describes the method.
type window struct {
	top  uint64
	seen [words]uint64 // bit n%(64*words) is number n
}

const words = 256

// after is a window in which everything up to top has been seen.
func after(top uint64) window {
	w := window{top: top}
	for i := range w.seen {
		w.seen[i] = math.MaxUint64
	}
	return w
}

// first reports whether n is new, and remembers it.
func (w *window) first(n uint64) bool {
	const span = 64 * words
	if n == 0 || (w.top >= span && n <= w.top-span) {
		return false
	}
	if n > w.top {
		if n-w.top >= span {
			w.seen = [words]uint64{}
		} else {
			for ahead := n - w.top; ahead > 0; ahead-- {
				i := w.top + ahead
				w.seen[i/64%words] &^= 1 << (i % 64)
			}
		}
		w.top = n
	}
	word, bit := &w.seen[n/64%words], uint64(1)<<(n%64)
	if *word&bit != 0 {
		return false
	}
	*word |= bit
	return true
}
