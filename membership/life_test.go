package membership

import (
	"slices"
	"testing"
	"time"
)

func TestFirstMemberIsAlone(t *testing.T) {
	bubble(t, func(t *testing.T, seg *segment) {
		m := start(t, seg, testOptions(1))
		got := <-m.Snapshots()
		if want := (Snapshot{m.opts.Self}); !slices.Equal(got, want) {
			t.Errorf("snapshot %v, want %v", got, want)
		}
	})
}

func TestJoinAndLeave(t *testing.T) {
	for _, n := range []int{2, 4, 8, 32} {
		bubble(t, func(t *testing.T, seg *segment) {
			all := cluster(t, seg, n)
			snap := <-all[0].Snapshots()
			for i, p := range snap {
				if want := all[i].opts.Self; p != want {
					t.Errorf("peer %d is %v, want %v", i, p, want)
				}
			}
			if err := all[n-1].Leave(time.Second); err != nil {
				t.Error(err)
			}
			took := eventually(t, 300*time.Millisecond, "all know that it left", func() bool { return agree(all[:n-1]) })
			t.Logf("n=%d: the last one knew %v after Leave returned", n, took)
			if err := all[n-1].Leave(time.Second); err != nil {
				t.Errorf("second Leave: %v", err)
			}
		})
	}
}

func TestBootOrderDoesNotMatter(t *testing.T) {
	bubble(t, func(t *testing.T, seg *segment) {
		// 3 and 4 look for 1 and 2 only, which are not there yet.
		all := []*Membership{start(t, seg, testOptions(3)), start(t, seg, testOptions(4))}
		time.Sleep(time.Minute)
		all = append(all, start(t, seg, testOptions(1)))
		took := eventually(t, 4*time.Second, "all know all", func() bool { return agree(all) })
		t.Logf("met after %v", took)
	})
}

func TestRestartSameAddress(t *testing.T) {
	for _, pause := range []time.Duration{0, 300 * time.Millisecond, time.Second, time.Minute} {
		bubble(t, func(t *testing.T, seg *segment) {
			all := cluster(t, seg, 4)
			if err := all[3].Shutdown(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(pause)
			begin := time.Now()
			all[3] = start(t, seg, testOptions(4))
			eventually(t, 3*time.Second, "new instance known", func() bool { return agree(all) && knowInstance(all) })
			t.Logf("pause %v: back after %v", pause, time.Since(begin))
			time.Sleep(5 * time.Second)
			if !agree(all) || !knowInstance(all) {
				t.Error("did not stay")
			}
		})
	}
}

func TestRestartNewAddress(t *testing.T) {
	for _, pause := range []time.Duration{0, 200 * time.Millisecond, time.Second, time.Minute} {
		bubble(t, func(t *testing.T, seg *segment) {
			all := cluster(t, seg, 4)
			seg.isolate(testAddr(4))
			time.Sleep(pause)
			begin := time.Now()
			o := testOptions(4)
			o.Self.Address = testAddr(44)
			next := start(t, seg, o)
			all[3] = next
			eventually(t, 3*time.Second, "new address known", func() bool { return agree(all) && knowInstance(all) })
			t.Logf("pause %v: back after %v", pause, time.Since(begin))
			time.Sleep(5 * time.Second)
			if !agree(all) || !knowInstance(all) {
				t.Error("did not stay")
			}
		})
	}
}

// A host that was renamed keeps its priority and address.
func TestRestartNewName(t *testing.T) {
	bubble(t, func(t *testing.T, seg *segment) {
		all := cluster(t, seg, 4)
		_ = all[3].Shutdown()
		o := testOptions(4)
		o.Self.Name = "renamed"
		all[3] = start(t, seg, o)
		eventually(t, 4*time.Second, "new name known", func() bool { return agree(all) })
	})
}

// knowInstance reports whether all see the current process of each member.
func knowInstance(all []*Membership) bool {
	for _, m := range all {
		m.roster.mu.Lock()
		last := m.roster.last
		m.roster.mu.Unlock()
		for _, o := range all {
			if !slices.Contains(last, o.opts.Self) {
				return false
			}
		}
	}
	return true
}

func TestPartitionHeals(t *testing.T) {
	for _, length := range []time.Duration{time.Second, 40 * time.Second} {
		bubble(t, func(t *testing.T, seg *segment) {
			all := cluster(t, seg, 6)
			seg.split(addrs(1, 3), addrs(4, 6))
			eventually(t, 2*time.Second, "two halves", func() bool { return agree(all[:3]) && agree(all[3:]) })
			time.Sleep(length)
			seg.heal(addrs(1, 3), addrs(4, 6))
			took := eventually(t, 6*time.Second, "one again", func() bool { return agree(all) })
			t.Logf("after %v apart: one again after %v", length, took)
			time.Sleep(10 * time.Second)
			if !agree(all) {
				t.Error("did not stay")
			}
		})
	}
}
