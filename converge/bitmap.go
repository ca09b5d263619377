package converge

import (
	"fmt"

	"github.com/opennlb/opennlb/nlbhash"
)

// Bitmap is a set of buckets.
type Bitmap [nlbhash.Buckets / 8]byte

// Set adds bucket b.
func (m *Bitmap) Set(b int) { m[b/8] |= 1 << (b % 8) }

// Has reports whether bucket b is in the set.
func (m *Bitmap) Has(b int) bool { return m[b/8]&(1<<(b%8)) != 0 }

// Empty reports whether no bucket is in the set.
func (m *Bitmap) Empty() bool { return *m == Bitmap{} }

func (m *Bitmap) and(o *Bitmap) {
	for i := range m {
		m[i] &= o[i]
	}
}

func (m *Bitmap) or(o *Bitmap) {
	for i := range m {
		m[i] |= o[i]
	}
}

// MarshalText implements encoding.TextMarshaler. The empty set, which is what most
// members hold most of the time, is the empty text.
func (m Bitmap) MarshalText() ([]byte, error) {
	if m.Empty() {
		return []byte{}, nil
	}
	return encode(m[:]), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *Bitmap) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*m = Bitmap{}
		return nil
	}
	return decode(m[:], text)
}

// Owners is a table of owners, as it travels.
type Owners nlbhash.Table

// MarshalText implements encoding.TextMarshaler.
func (o Owners) MarshalText() ([]byte, error) { return encode(o[:]), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (o *Owners) UnmarshalText(text []byte) error {
	if err := decode(o[:], text); err != nil {
		return err
	}
	for b, p := range o {
		if p > nlbhash.MaxPriority {
			return fmt.Errorf("bucket %d has owner %d", b, p)
		}
	}
	return nil
}
