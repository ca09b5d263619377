package dataplane

import (
	"fmt"

	"github.com/opennlb/opennlb/converge"
	"github.com/opennlb/opennlb/nlbhash"
	"github.com/opennlb/opennlb/portrules"
)

// BeaconBacklog is how many beacons wait for a reader of Engine.Beacons: those of more
// than a second.
const BeaconBacklog = 16

// OfferBeacon sends a beacon without waiting, if need be in place of the oldest one that
// waits. out has room for some, see BeaconBacklog.
func OfferBeacon(out chan converge.Beacon, b converge.Beacon) {
	for {
		select {
		case out <- b:
			return
		default:
		}
		select {
		case <-out:
		default: // meanwhile somebody read it
		}
	}
}

// CheckBeaconKeys refuses keys that Engine.SetBeaconKeys does not take.
func CheckBeaconKeys(keys []nlbhash.Key) error {
	if len(keys) < 1 || len(keys) > portrules.MaxBeaconKeys {
		return fmt.Errorf("%d keys of beacons, not 1 or %d", len(keys), portrules.MaxBeaconKeys)
	}
	return nil
}
