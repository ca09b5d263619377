package converge

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/opennlb/opennlb/nlbhash"
)

func TestBeaconRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := nlbhash.Key(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "key"))
		want := Beacon{
			Epoch: Epoch{N: rapid.Uint64().Draw(t, "n"), By: uint8(rapid.IntRange(1, 32).Draw(t, "by")), Instance: rapid.Uint64().Draw(t, "instance")},
			View:  rapid.Uint32().Draw(t, "view"),
			Seq:   rapid.Uint64().Draw(t, "seq"),

			InForce: rapid.Bool().Draw(t, "in force"),
		}
		wire := AppendBeacon(nil, key, want)
		if len(wire) != BeaconSize {
			t.Fatalf("%d bytes", len(wire))
		}
		if got, err := ParseBeacon(append(wire, 0, 0), key); err != nil || got != want {
			t.Fatalf("got %+v, %v", got, err)
		}
		wire[rapid.IntRange(0, BeaconSize-1).Draw(t, "byte")] ^= byte(rapid.IntRange(1, 255).Draw(t, "flip"))
		if got, err := ParseBeacon(wire, key); err == nil {
			t.Fatalf("a changed byte was accepted: %+v", got)
		}
	})
}
