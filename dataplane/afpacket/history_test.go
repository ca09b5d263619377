package afpacket

import (
	"testing"
	"time"

	"github.com/opennlb/opennlb/dataplane"
	"github.com/opennlb/opennlb/portrules"
)

// A frame is judged by the policy of its arrival, however late, and however the real
// time clock was set between.
func TestHistory(t *testing.T) {
	const second = dataplane.Instant(time.Second)
	at := func(real, monotonic dataplane.Instant, epoch uint64) version {
		return version{policy: &portrules.Policy{Epoch: epoch}, since: moment{int64(real), monotonic}}
	}
	var h history
	h = h.with(at(0, 0, 0))
	h = h.with(at(100*second, 10*second, 1))
	h = h.with(at(100*second+1000, 10*second+1000, 2))
	h = h.with(at(100*second+2000, 10*second+2000, 3))
	for _, tt := range []struct {
		name         string
		arrived, now dataplane.Instant
		want         uint64
	}{
		{"at once", 100*second + 2000, 10*second + 2000, 3},
		{"later", 105 * second, 15 * second, 3},
		{"just before", 100*second + 1999, 10*second + 2500, 2},
		{"before two", 100*second + 999, 10*second + 2500, 1},
		{"before all", 99 * second, 10*second + 2500, 0},
		{"before all, out of memory", 99 * second, 12*second + 2001, 3},
		{"clock set back", 50 * second, 13 * second, 3},
		{"clock set back just now", 50 * second, 11 * second, 0},
		{"clock set forward", 500 * second, 10*second + 2500, 3},
	} {
		if got := h.at(int64(tt.arrived), tt.now).policy.Epoch; got != tt.want {
			t.Errorf("%s: judged by policy %d, want %d", tt.name, got, tt.want)
		}
	}
	if h = h.with(at(200*second, 100*second, 4)); len(h) != 2 {
		t.Errorf("remembers %d policies, want 2", len(h))
	}
}

// A lease must not end late.
func TestClock(t *testing.T) {
	clock := newClock()
	for range 1000 {
		before, now, after := dataplane.Now(), clock(), dataplane.Now()
		if now < before || now > after.Add(time.Millisecond) {
			t.Fatalf("says %d between %d and %d", now, before, after)
		}
	}
}

// Old datagrams are forgotten first, and known ones take no second place.
func TestFragments(t *testing.T) {
	var f fragments
	key := func(id int) portrules.FragmentKey { return portrules.FragmentKey{ID: uint32(id)} }
	if f.wasAccepted(key(1)) {
		t.Error("knows a datagram from the start")
	}
	for id := range maxFragments {
		f.note(key(id), true)
		f.note(key(id), true)
	}
	for range 2 {
		f.note(key(maxFragments), true) // one too many
		if f.wasAccepted(key(0)) || !f.wasAccepted(key(1)) || !f.wasAccepted(key(maxFragments)) {
			t.Error("forgets another than the oldest")
		}
	}
	f.note(key(2), false)
	if f.wasAccepted(key(2)) || !f.wasRefused(key(2)) {
		t.Error("what came last does not count")
	}
	f.note(key(2), true)
	f.note(key(maxFragments+1), true)
	if f.wasAccepted(key(1)) || !f.wasAccepted(key(2)) || len(f.accepted) != maxFragments {
		t.Errorf("forgets another than the oldest, or holds %d", len(f.accepted))
	}
}
