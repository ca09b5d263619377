package membership

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// undisturbed fails the test if a member's view of the cluster changes.
func undisturbed(t *testing.T, all []*Membership) {
	t.Helper()
	for _, m := range all {
		select {
		case <-m.Snapshots():
		default:
		}
	}
	t.Cleanup(func() {
		for _, m := range all {
			select {
			case s := <-m.Snapshots():
				t.Errorf("%s was disturbed: %v", m.opts.Self.Name, s)
			case err := <-m.Refused():
				t.Errorf("%s was refused: %v", m.opts.Self.Name, err)
			default:
			}
		}
	})
}

func TestDuplicatePriorityIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T, seg *segment) {
		all := cluster(t, seg, 4)
		undisturbed(t, all)
		o := testOptions(5)
		o.Self.Priority = 3
		begin := time.Now()
		_, err := tryStart(t, seg, o)
		if !errors.Is(err, ErrDuplicatePriority) || errors.Is(err, ErrDuplicateName) {
			t.Fatalf("error is %v", err)
		}
		for _, part := range []string{"n03", "192.0.2.3", "priority 3", "member.priority"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q does not mention %q", err, part)
			}
		}
		if d := time.Since(begin); d > time.Second {
			t.Errorf("took %v", d)
		}
		time.Sleep(10 * time.Second)
		if all[0].Stats().DuplicatePriority == 0 {
			t.Error("not counted")
		}
	})
}

func TestDuplicateNameIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T, seg *segment) {
		all := cluster(t, seg, 4)
		undisturbed(t, all)
		time.Sleep(10 * time.Second) // the newcomer's incarnation is higher
		o := testOptions(5)
		o.Self.Name = "n03"
		_, err := tryStart(t, seg, o)
		if !errors.Is(err, ErrDuplicateName) || errors.Is(err, ErrDuplicatePriority) {
			t.Fatalf("error is %v", err)
		}
		if !strings.Contains(err.Error(), "192.0.2.3") || !strings.Contains(err.Error(), "member.name") {
			t.Errorf("error is %v", err)
		}
		time.Sleep(10 * time.Second)
	})
}

// Two members of the same name or priority that start apart: when they meet,
// the older stays and the younger is told, whatever their names and whoever
// connects to whom.
func TestRivalsMeet(t *testing.T) {
	for _, c := range []struct {
		name          string
		older, junior string
		want          error
	}{
		{"priority", "alpha", "beta", ErrDuplicatePriority},
		{"priority, names reversed", "beta", "alpha", ErrDuplicatePriority},
		{"name", "same", "same", ErrDuplicateName},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, seg *segment) {
				left, right := addrs(1, 3), addrs(4, 6)
				seg.split(left, right)
				older, junior := testOptions(3), testOptions(6)
				older.Self.Name, junior.Self.Name = c.older, c.junior
				if c.older != c.junior {
					junior.Self.Priority = older.Self.Priority
				}
				a := []*Membership{start(t, seg, testOptions(1)), start(t, seg, testOptions(2)), start(t, seg, older)}
				time.Sleep(time.Second)
				right4, right5 := testOptions(4), testOptions(5)
				right4.Join, junior.Join = right, right
				right5.Join = append(right, testAddr(1)) // only 5 knows of the other side
				b := []*Membership{start(t, seg, right4), start(t, seg, right5), start(t, seg, junior)}
				eventually(t, 3*time.Second, "two halves", func() bool { return agree(a) && agree(b) })
				seg.heal(left, right)

				var err error
				took := eventually(t, 6*time.Second, "junior told", func() bool {
					select {
					case err = <-b[2].Refused():
					default:
					}
					return err != nil
				})
				t.Logf("told after %v: %v", took, err)
				if !errors.Is(err, c.want) {
					t.Errorf("error is %v, want %v", err, c.want)
				}
				if err := b[2].Leave(time.Second); err != nil {
					t.Error(err)
				}
				eventually(t, 8*time.Second, "the others are one", func() bool { return agree(append(a[:3:3], b[:2]...)) })
				select {
				case err := <-a[2].Refused():
					t.Errorf("the older was refused: %v", err)
				default:
				}
			})
		})
	}
}

// Two with the same priority that start at the same moment: exactly one stays.
func TestSimultaneousStart(t *testing.T) {
	for range 10 {
		bubble(t, func(t *testing.T, seg *segment) {
			type result struct {
				m   *Membership
				err error
			}
			results := make(chan result, 2)
			for i := 1; i <= 2; i++ {
				o := testOptions(i)
				o.Self.Priority = 7
				go func() {
					m, err := tryStart(t, seg, o)
					results <- result{m, err}
				}()
			}
			var up []*Membership
			for range 2 {
				r := <-results
				if r.err == nil {
					up = append(up, r.m)
				} else if !errors.Is(r.err, ErrDuplicatePriority) {
					t.Errorf("error is %v", r.err)
				}
			}
			time.Sleep(5 * time.Second)
			refused := 2 - len(up)
			for _, m := range up {
				select {
				case <-m.Refused():
					refused++
				default:
				}
			}
			if refused != 1 {
				t.Errorf("%d of 2 were refused", refused)
			}
		})
	}
}

func TestWrongKey(t *testing.T) {
	other := bytes.Repeat([]byte{9}, 32)
	for _, c := range []struct {
		name       string
		mine, ours []byte
		text       string
	}{
		{"another key", other, testOptions(1).Key, "uses another cluster key"},
		{"no key", nil, other, "this member runs without"},
		{"they have none", other, nil, "runs without a cluster key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, seg *segment) {
				first := testOptions(1)
				first.Key = c.ours
				m := start(t, seg, first)
				undisturbed(t, []*Membership{m})
				o := testOptions(2)
				o.Key = c.mine
				_, err := tryStart(t, seg, o)
				if !errors.Is(err, ErrWrongKey) || !strings.Contains(err.Error(), c.text) ||
					!strings.Contains(err.Error(), "join 192.0.2.1:7946") {
					t.Errorf("error is %v", err)
				}
				if m.Stats().WrongKey == 0 {
					t.Error("not counted")
				}
			})
		})
	}
}

func TestWrongCluster(t *testing.T) {
	bubble(t, func(t *testing.T, seg *segment) {
		m := start(t, seg, testOptions(1))
		undisturbed(t, []*Membership{m})
		o := testOptions(2)
		o.Cluster = "mail"
		_, err := tryStart(t, seg, o)
		if !errors.Is(err, ErrWrongCluster) || !strings.Contains(err.Error(), "cluster.name") {
			t.Errorf("error is %v", err)
		}
		if m.Stats().WrongCluster == 0 {
			t.Error("not counted")
		}
	})
}

// otherDetection is member i with another preset, which would declare the members of
// testOptions dead before their leases are over.
func otherDetection(i int) Options {
	o := testOptions(i)
	o.Preset = "fast"
	o.Timing = Timing{ProbeInterval: 20 * time.Millisecond, SuspicionMult: 12}
	return o
}

func TestWrongDetection(t *testing.T) {
	bubble(t, func(t *testing.T, seg *segment) {
		all := cluster(t, seg, 3)
		undisturbed(t, all)
		begin := time.Now()
		_, err := tryStart(t, seg, otherDetection(4))
		if !errors.Is(err, ErrWrongDetection) {
			t.Fatalf("error is %v", err)
		}
		for _, part := range []string{"join 192.0.2.1:7946", `cluster.detection differs from that of "n0`, "fast (a silent member is dead after 240ms)", "500ms", "write"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q does not mention %q", err, part)
			}
		}
		if d := time.Since(begin); d > time.Second {
			t.Errorf("took %v", d)
		}
		time.Sleep(5 * time.Second)
		if all[0].Stats().WrongDetection == 0 {
			t.Error("not counted")
		}
	})
}

// News of such a member by gossip alone, without a state exchange.
func TestWrongDetectionIsNotAdmitted(t *testing.T) {
	c := testClaim()
	c.Name, c.Priority, c.detection.death = "n02", 2, c.detection.death-1
	r := newRoster(testClaim(), new(counters))
	err := r.admit(c.node())
	if err == nil || !strings.Contains(err.Error(), "one version of nlbd") || r.count.wrongDetection.Load() != 1 {
		t.Errorf("error is %v", err)
	}
}

// Two groups of different presets that meet later: neither takes in the other, and
// none is declared dead by the faster one.
func TestWrongDetectionMeetsLater(t *testing.T) {
	bubble(t, func(t *testing.T, seg *segment) {
		left, right := addrs(1, 3), addrs(4, 6)
		seg.split(left, right)
		var a, b []*Membership
		for i := 1; i <= 3; i++ {
			a = append(a, start(t, seg, testOptions(i)))
		}
		for i := 4; i <= 6; i++ {
			o := otherDetection(i)
			o.Join = append(addrs(1, 1), right...)
			b = append(b, start(t, seg, o))
		}
		eventually(t, 5*time.Second, "two halves", func() bool { return agree(a) && agree(b) })
		undisturbed(t, append(a[:3:3], b...))
		seg.heal(left, right)
		time.Sleep(10 * time.Second)
		if a[0].Stats().WrongDetection == 0 || b[0].Stats().WrongDetection == 0 {
			t.Error("they never met, or it was not counted")
		}
	})
}

// A member that was killed and comes back with another preset, while the others still
// take its earlier process for alive.
func TestWrongDetectionAfterRestart(t *testing.T) {
	bubble(t, func(t *testing.T, seg *segment) {
		all := cluster(t, seg, 3)
		if err := all[2].Shutdown(); err != nil {
			t.Fatal(err)
		}
		if _, err := tryStart(t, seg, otherDetection(3)); !errors.Is(err, ErrWrongDetection) {
			t.Fatalf("error is %v", err)
		}
		eventually(t, 3*time.Second, "the others go on", func() bool { return agree(all[:2]) })
	})
}

func TestStartCanBeCancelled(t *testing.T) {
	bubble(t, func(t *testing.T, seg *segment) {
		start(t, seg, testOptions(1))
		o := testOptions(2)
		o.Cluster = "mail"
		o.Transport = seg.attach(netip.AddrPortFrom(o.Self.Address, o.Port))
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := Start(ctx, o); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error is %v", err)
		}
	})
}

func TestOptionsAreValidated(t *testing.T) {
	for name, spoil := range map[string]func(*Options){
		"cluster":     func(o *Options) { o.Cluster = "" },
		"long name":   func(o *Options) { o.Self.Name = strings.Repeat("x", MaxName+1) },
		"priority 0":  func(o *Options) { o.Self.Priority = 0 },
		"priority 33": func(o *Options) { o.Self.Priority = 33 },
		"no address":  func(o *Options) { o.Self.Address = netip.Addr{} },
		"unspecified": func(o *Options) { o.Self.Address = netip.IPv4Unspecified() },
		"short key":   func(o *Options) { o.Key = o.Key[:16] },
		"preset":      func(o *Options) { o.Preset = "very fast" },
	} {
		o := testOptions(1)
		spoil(&o)
		if _, err := Start(t.Context(), o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
