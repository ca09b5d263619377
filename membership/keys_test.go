package membership

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func key(b byte) []byte { return bytes.Repeat([]byte{b}, KeySize) }

// TestKeyRotation changes the key of a running cluster, member by member, while messages
// flow: none is lost, nobody is suspected of anything, and who has the old key only is
// refused afterwards.
func TestKeyRotation(t *testing.T) {
	bubble(t, func(t *testing.T, seg *segment) {
		all := cluster(t, seg, 3)
		undisturbed(t, all)
		old, fresh := all[0].opts.Key, key(8)

		sent, got := 0, 0
		// pause lets ten messages go from each member to each other one, both ways of sending.
		pause := func() {
			for i := range 10 {
				for _, from := range all {
					for _, to := range all {
						if from != to {
							from.Send(to.opts.Self.Name, []byte("x"), i%2 == 0)
							sent++
						}
					}
				}
				time.Sleep(50 * time.Millisecond)
			}
			time.Sleep(500 * time.Millisecond)
			for _, m := range all {
				for ; len(m.Messages()) > 0; got++ {
					<-m.Messages()
				}
			}
		}
		for _, step := range []struct {
			name string
			do   func(*Membership) error
			keys [][]byte
		}{
			{"add", func(m *Membership) error { return m.AddKey(fresh) }, [][]byte{old, fresh}},
			{"use", func(m *Membership) error { return m.UseKey(fresh) }, [][]byte{fresh, old}},
			{"remove", func(m *Membership) error { return m.RemoveKey(old) }, [][]byte{fresh}},
		} {
			for _, m := range all {
				pause()
				if err := step.do(m); err != nil {
					t.Fatalf("%s at %s: %v", step.name, m.opts.Self.Name, err)
				}
				if err := step.do(m); err != nil {
					t.Errorf("%s again: %v", step.name, err)
				}
				if got := m.Keys(); !slices.EqualFunc(got, step.keys, bytes.Equal) {
					t.Errorf("%s: keys %x", step.name, got)
				}
			}
		}
		pause()
		if got != sent {
			t.Errorf("%d of %d messages arrived", got, sent)
		}
		for _, m := range all {
			if s := m.Stats(); s.WrongKey != 0 || s.SendErrors != 0 {
				t.Errorf("%s: %+v", m.opts.Self.Name, s)
			}
		}

		late := testOptions(4)
		_, err := tryStart(t, seg, late)
		if !errors.Is(err, ErrWrongKey) || !strings.Contains(err.Error(), "another cluster key") || !strings.Contains(err.Error(), "nlbctl key show") {
			t.Errorf("with the old key: %v", err)
		}
		if all[0].Stats().WrongKey == 0 {
			t.Error("not counted")
		}
		late.Key = fresh
		m, err := tryStart(t, seg, late)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Leave(time.Second); err != nil {
			t.Error(err)
		}
		eventually(t, time.Second, "it has come and gone", func() bool { return agree(all) })
		for _, m := range all {
			select {
			case <-m.Snapshots():
			default:
			}
		}
	})
}

// A member that was left out of the rotation is lost to the others, and says why.
func TestKeyRotationLeavesOneBehind(t *testing.T) {
	bubble(t, func(t *testing.T, seg *segment) {
		all := cluster(t, seg, 3)
		for _, step := range []func(*Membership) error{
			func(m *Membership) error { return m.AddKey(key(8)) },
			func(m *Membership) error { return m.UseKey(key(8)) },
		} {
			for _, m := range all[:2] {
				if err := step(m); err != nil {
					t.Fatal(err)
				}
			}
		}
		eventually(t, 3*time.Second, "two are left", func() bool { return agree(all[:2]) && agree(all[2:]) })
		if all[2].Stats().WrongKey == 0 {
			t.Error("the one left behind does not know why")
		}
		if err := all[2].AddKey(key(8)); err != nil {
			t.Fatal(err)
		}
		eventually(t, 10*time.Second, "it has the key, too", func() bool { return agree(all) })
	})
}

func TestKeyMistakes(t *testing.T) {
	bubble(t, func(t *testing.T, seg *segment) {
		m := start(t, seg, testOptions(1))
		old := m.opts.Key
		open := testOptions(2)
		open.Key, open.Join = nil, nil
		without := start(t, seg, open)
		if without.Keys() != nil {
			t.Error("keys without encryption")
		}
		for name, tt := range map[string]struct {
			err  error
			want string
		}{
			"short":       {m.AddKey(key(8)[:16]), "16 bytes, not 32"},
			"unknown":     {m.UseKey(key(8)), "add it at all members first"},
			"in use":      {m.RemoveKey(old), "is in use"},
			"no key, add": {without.AddKey(key(8)), "without a key"},
			"no key, use": {without.UseKey(key(8)), "without a key"},
			"no key, rm":  {without.RemoveKey(key(8)), "without a key"},
		} {
			if tt.err == nil || !strings.Contains(tt.err.Error(), tt.want) {
				t.Errorf("%s: %v", name, tt.err)
			}
		}
		if err := m.AddKey(key(8)); err != nil {
			t.Fatal(err)
		}
		if err := m.AddKey(key(9)); err == nil || !strings.Contains(err.Error(), "remove the old one first") {
			t.Errorf("a third key: %v", err)
		}
		m.Keys()[0][0]++ // a copy
		if !bytes.Equal(m.Keys()[0], old) {
			t.Error("the key was changed from outside")
		}
	})
}

// SetKeys leads from any keys to any others, and keeps what is in both all the time.
func TestSetKeys(t *testing.T) {
	bubble(t, func(t *testing.T, seg *segment) {
		o := testOptions(1)
		o.Key, o.OtherKey = key(1), key(2)
		m := start(t, seg, o)
		a, b, c := key(1), key(2), key(3)
		for i, want := range [][][]byte{{a, b}, {b, a}, {b}, {b, c}, {a, b}, {a, c}, {c}, {a}, {b, c}, {c, b}, {a}, {a}} {
			if err := m.SetKeys(want); err != nil {
				t.Errorf("set %d: %v", i, err)
			}
			if got := m.Keys(); !slices.EqualFunc(got, want, bytes.Equal) {
				t.Errorf("set %d: keys %x, want %x", i, got, want)
			}
		}
		for _, wrong := range [][][]byte{nil, {a, b, c}, {a[:31]}, {a, nil}} {
			if m.SetKeys(wrong) == nil {
				t.Errorf("takes %x", wrong)
			}
		}
	})
}

// Members with keys of neighbouring steps of a rotation understand each other, whoever
// starts first; and who has the old key in use finds those who dropped it by using the other.
func TestKeysOfNeighbouringSteps(t *testing.T) {
	a, b := key(1), key(2)
	steps := [][2][]byte{{a, nil}, {a, b}, {b, a}, {b, nil}}
	for i := range len(steps) - 1 {
		for _, order := range [][2]int{{i, i + 1}, {i + 1, i}} {
			bubble(t, func(t *testing.T, seg *segment) {
				var all []*Membership
				for n, step := range order {
					o := testOptions(n + 1)
					o.Key, o.OtherKey = steps[step][0], steps[step][1]
					all = append(all, start(t, seg, o))
				}
				eventually(t, time.Second, "both know both", func() bool { return agree(all) })
				time.Sleep(5 * time.Second)
				if !agree(all) || all[0].Stats().WrongKey+all[1].Stats().WrongKey > 0 {
					t.Errorf("steps %v: %v, %v", order, names(all[0]), names(all[1]))
				}
			})
		}
	}
	bubble(t, func(t *testing.T, seg *segment) {
		o := testOptions(1)
		o.Key = b
		start(t, seg, o)
		late := testOptions(2)
		late.Key, late.OtherKey = a, b
		if _, err := tryStart(t, seg, late); !errors.Is(err, ErrWrongKey) {
			t.Errorf("with the old key in use: %v", err)
		}
		late.Key, late.OtherKey = b, a
		if _, err := tryStart(t, seg, late); err != nil {
			t.Error(err)
		}
	})
}

// What was recorded under a key counts for nothing once that key was changed, not even as
// a message that was seen before.
func TestReplayAfterKeyRotation(t *testing.T) {
	bubble(t, func(t *testing.T, seg *segment) {
		tape := seg.record()
		all := cluster(t, seg, 3)
		all[0].Send("n02", []byte("x"), true)
		all[0].Send("n02", []byte("x"), false)
		time.Sleep(100 * time.Millisecond)
		for range 2 {
			<-all[1].Messages()
		}
		seg.load(nil)
		for _, keys := range [][][]byte{{key(7), key(8)}, {key(8), key(7)}, {key(8)}} {
			for _, m := range all {
				if err := m.SetKeys(keys); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Second)
		}
		undisturbed(t, all)
		before := all[1].Stats()
		seg.replay(tape, all[1].roster.me().endpoint())
		time.Sleep(3 * time.Second)
		silent(t, all)
		s := all[1].Stats()
		if s.WrongKey == before.WrongKey || s.Replayed+s.Misdirected != before.Replayed+before.Misdirected {
			t.Errorf("before %+v, after %+v", before, s)
		}
		if !agree(all) {
			t.Error("they do not agree any more")
		}
	})
}
