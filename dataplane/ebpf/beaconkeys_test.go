package ebpf

import (
	"slices"
	"sync"
	"testing"

	"github.com/opennlb/opennlb/converge"
	"github.com/opennlb/opennlb/nlbhash"
	"github.com/opennlb/opennlb/portrules"
	"github.com/opennlb/opennlb/portrules/frames"
)

// Through two rotations of keys, beacons of just those keys count that are set; and a key
// that stays counts all the time, also while others come and go.
func TestBeaconKeys(t *testing.T) {
	enterNamespace(t)
	e := openEngine(t, "auto", options{})
	a, b, c := frames.BeaconKey, frames.OtherKey, nlbhash.Key{3}
	keys := []nlbhash.Key{a, b, c}
	seq := uint64(0)
	for i, set := range [][]nlbhash.Key{{a}, {a, b}, {b, a}, {b}, {b, c}, {c, b}, {c}, {a, b}} {
		if err := e.SetBeaconKeys(set); err != nil {
			t.Fatal(err)
		}
		want, before := make(tally), counters(t, e)
		for _, k := range keys {
			seq++
			if _, _, err := e.run(xdp.name, tagged(k, saying(1, withMe, seq))); err != nil {
				t.Fatal(err)
			}
			if slices.Contains(set, k) {
				want[uncovered(portrules.BeaconHeard)]++
			} else {
				want[uncovered(portrules.BeaconForged)]++
			}
		}
		if err := want.compare(before, counters(t, e)); err != nil {
			t.Errorf("set %d: %v", i, err)
		}
	}
	for _, set := range [][]nlbhash.Key{nil, keys} {
		if e.SetBeaconKeys(set) == nil {
			t.Errorf("takes %d keys", len(set))
		}
	}

	before, stop := counters(t, e), make(chan struct{})
	var changer sync.WaitGroup
	changes := 0
	changer.Go(func() {
		for {
			for _, set := range [][]nlbhash.Key{{b, a}, {b}, {c, b}, {b, c}, {b}, {a, b}} {
				if err := e.SetBeaconKeys(set); err != nil {
					t.Error(err)
				}
				changes++
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	const sent = 20_000
	for n := range uint64(sent) {
		other := saying(1, withMe, n+1)
		other.Epoch.By = 9
		if _, _, err := e.run(xdp.name, tagged(b, other)); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	changer.Wait()
	want := tally{uncovered(portrules.BeaconHeard): sent}
	if err := want.compare(before, counters(t, e)); err != nil {
		t.Error(err)
	}
	t.Log(changes, "changes")
}

// tagged is beacon with another key.
func tagged(key nlbhash.Key, b converge.Beacon) []byte {
	return frames.Ethernet(converge.BeaconEtherType, converge.AppendBeacon(nil, key, b))
}
