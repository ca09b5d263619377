package agent

import (
	"bytes"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/opennlb/opennlb/dataplane"
	"github.com/opennlb/opennlb/membership"
	"github.com/opennlb/opennlb/nlbhash"
)

// beaconEngine notes the keys of beacons that it is given.
type beaconEngine struct {
	dataplane.Engine
	keys []nlbhash.Key
}

func (e *beaconEngine) SetBeaconKeys(keys []nlbhash.Key) error {
	e.keys = slices.Clone(keys)
	return nil
}

// running is a keyholder with an engine and a membership that is alone; refused is whether
// others refuse the key that it tries first.
func running(t *testing.T, k *keyholder, refused bool) (*beaconEngine, *membership.Membership) {
	t.Helper()
	e := &beaconEngine{}
	if err := k.guard(e); err != nil {
		t.Fatal(err)
	}
	m, err := k.join(func(key, other []byte) (*membership.Membership, error) {
		if refused {
			refused = false
			return nil, membership.ErrWrongKey
		}
		return membership.Start(t.Context(), membership.Options{
			Cluster: "web", Key: key, OtherKey: other,
			Self: membership.Peer{Name: "n1", Priority: 1, Instance: 1, Address: netip.MustParseAddr("127.0.0.1")},
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Leave(time.Second); err != nil {
			t.Error(err)
		}
	})
	return e, m
}

// With each step membership and data plane understand all keys of the keyring, and speak
// the first.
func TestStepsAreInUse(t *testing.T) {
	k, err := newKeyholder(t.TempDir(), "web", testKey(1), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	e, m := running(t, k, false)
	check := func(want [][]byte) {
		t.Helper()
		var beacons []nlbhash.Key
		for _, key := range want {
			beacons = append(beacons, deriveKey("beacon", "web", key))
		}
		if !slices.Equal(e.keys, beacons) || *k.beacon.Load() != beacons[0] {
			t.Errorf("beacons have keys %x, sent %x; want %x", e.keys, *k.beacon.Load(), beacons)
		}
		if !slices.EqualFunc(m.Keys(), want, bytes.Equal) {
			t.Errorf("membership has %x, want %x", m.Keys(), want)
		}
	}
	check([][]byte{testKey(1)})
	r := k.current().begin(nil, "")
	for range 3 {
		if _, _, err := k.take(r); err != nil {
			t.Fatal(err)
		}
		check(r.Keys)
		if r.unfinished() {
			r = r.next()
		}
	}
}

// A member whose key is refused speaks the other one of an unfinished rotation, and accepts both.
func TestOtherKeyIsTried(t *testing.T) {
	dir := t.TempDir()
	if err := saveKeyring(dir, fingerprint(testKey(1)), keyring{Generation: 1, Keys: [][]byte{testKey(1), testKey(2)}}); err != nil {
		t.Fatal(err)
	}
	k, err := newKeyholder(dir, "web", testKey(1), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	e, m := running(t, k, true)
	if !slices.EqualFunc(m.Keys(), [][]byte{testKey(2), testKey(1)}, bytes.Equal) {
		t.Errorf("membership has %x", m.Keys())
	}
	if len(e.keys) != 2 || *k.beacon.Load() != deriveKey("beacon", "web", testKey(2)) {
		t.Errorf("beacons have keys %x, sent %x", e.keys, *k.beacon.Load())
	}
	alone, err := newKeyholder(t.TempDir(), "web", testKey(1), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	tries := 0
	if err := alone.guard(&beaconEngine{}); err != nil {
		t.Fatal(err)
	}
	_, err = alone.join(func(_, _ []byte) (*membership.Membership, error) { tries++; return nil, membership.ErrWrongKey })
	if !errors.Is(err, membership.ErrWrongKey) || tries != 1 {
		t.Errorf("with one key: %v after %d tries", err, tries)
	}
}
