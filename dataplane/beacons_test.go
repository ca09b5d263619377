package dataplane

import (
	"testing"

	"github.com/opennlb/opennlb/converge"
)

// An agent that is late misses the oldest beacons.
func TestOffer(t *testing.T) {
	out := make(chan converge.Beacon, BeaconBacklog)
	const many = 3 * BeaconBacklog
	for seq := range uint64(many) {
		OfferBeacon(out, converge.Beacon{Seq: seq})
	}
	for want := uint64(many - BeaconBacklog); want < many; want++ {
		if got := <-out; got.Seq != want {
			t.Errorf("beacon %d waits, want %d", got.Seq, want)
		}
	}
}
