package afpacket

import (
	"testing"

	"github.com/opennlb/opennlb/converge"
	"github.com/opennlb/opennlb/nlbhash"
	"github.com/opennlb/opennlb/portrules"
	"github.com/opennlb/opennlb/portrules/frames"
)

// Keys that are set count from the next beacon on, and the agent is told of beacons of each.
func TestBeaconKeys(t *testing.T) {
	e := &Engine{judge: newJudge(frames.Self, frames.BeaconKey, func(portrules.Flow) bool { return false })}
	a, b := frames.BeaconKey, frames.OtherKey
	seq, heard := uint64(0), uint64(0)
	say := func(k nlbhash.Key, want portrules.Reason) {
		t.Helper()
		seq++
		c := converge.Beacon{Epoch: converge.Epoch{N: 1, By: 1, Instance: 1 << 40}, View: 1, Seq: seq}
		frame := frames.Ethernet(converge.BeaconEtherType, converge.AppendBeacon(nil, k, c))
		if d := e.judge.decide(frame, 0, 1); d.Reason != want {
			t.Errorf("beacon %d: %v, want %v", seq, d.Reason, want)
		}
		if want != portrules.BeaconHeard {
			return
		}
		heard++
		select {
		case got := <-e.Beacons():
			if got != c {
				t.Errorf("told of %+v, want %+v", got, c)
			}
		default:
			t.Errorf("not told of beacon %d", seq)
		}
	}
	set := func(keys ...nlbhash.Key) {
		t.Helper()
		if err := e.SetBeaconKeys(keys); err != nil {
			t.Fatal(err)
		}
	}
	say(a, portrules.BeaconHeard)
	say(b, portrules.BeaconForged)
	set(a, b)
	say(a, portrules.BeaconHeard)
	say(b, portrules.BeaconHeard)
	set(b, a)
	say(a, portrules.BeaconHeard)
	set(b)
	say(b, portrules.BeaconHeard)
	say(a, portrules.BeaconForged)
	if e.SetBeaconKeys(nil) == nil {
		t.Error("takes no key at all")
	}
}
