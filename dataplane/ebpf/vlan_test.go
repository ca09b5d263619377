package ebpf

import (
	"bytes"
	"slices"
	"testing"

	"github.com/opennlb/opennlb/portrules"
	"github.com/opennlb/opennlb/portrules/frames"
)

// A frame that is tagged for a VLAN belongs to another segment, whose own interface may
// have an engine: it passes, uncounted. One that is tagged only for its priority
// (IEEE 802.1Q, VLAN 0) is decided like an untagged one.
func TestVLANTags(t *testing.T) {
	enterNamespace(t)
	w := newWire(t)
	for _, kind := range []string{"tc", "xdp"} {
		e := openEngine(t, kind, options{})
		serve(t, e, frames.Policy(own))
		plain := frames.UDPFrame(testClient, vipPort(probePort))
		for _, tt := range []struct {
			name    string
			tag     []byte
			decided bool
		}{
			{"no tag", nil, true},
			{"vlan 7", []byte{0x81, 0, 0, 7}, false},
			{"vlan 4094, priority 5", []byte{0x81, 0, 0xaf, 0xfe}, false},
			{"priority 5", []byte{0x81, 0, 0xa0, 0}, true},
		} {
			want := make(tally)
			if tt.decided {
				want.add(frames.Policy(own), portrules.Decision{Reason: portrules.Owner, Rule: frames.DNS})
			}
			before := counters(t, e)
			w.put(slices.Insert(bytes.Clone(plain), 12, tt.tag...))
			if err := want.compare(before, counters(t, e)); err != nil {
				t.Errorf("%s, %s: %v", kind, tt.name, err)
			}
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
