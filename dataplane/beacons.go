package dataplane

import "github.com/opennlb/opennlb/converge"

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
