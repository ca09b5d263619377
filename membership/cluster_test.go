package membership

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

const testPort = 7946

func testAddr(i int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}) }

func addrs(first, last int) []netip.Addr {
	var out []netip.Addr
	for i := first; i <= last; i++ {
		out = append(out, testAddr(i))
	}
	return out
}

// testOptions are those of member i: name n<i>, priority i, address 192.0.2.i,
// joining through .1 and .2.
func testOptions(i int) Options {
	return Options{
		Cluster: "web",
		Self:    Peer{Name: fmt.Sprintf("n%02d", i), Priority: uint8(i), Instance: rand.Uint64(), Address: testAddr(i)},
		Port:    testPort,
		Join:    []netip.Addr{testAddr(1), testAddr(2)},
		Key:     bytes.Repeat([]byte{7}, 32),
		Log:     testLog(),
	}
}

func testLog() *slog.Logger {
	if os.Getenv("MEMBERSHIP_LOG") == "" {
		return nil
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// start starts a member on the segment and shuts it down at the end of the
// test at the latest.
func start(t *testing.T, seg *segment, o Options) *Membership {
	t.Helper()
	m, err := tryStart(t, seg, o)
	if err != nil {
		t.Fatalf("start %s: %v", o.Self.Name, err)
	}
	return m
}

func tryStart(t *testing.T, seg *segment, o Options) (*Membership, error) {
	o.Transport = seg.attach(netip.AddrPortFrom(o.Self.Address, o.Port))
	m, err := Start(context.Background(), o)
	if err == nil {
		t.Cleanup(func() { _ = m.Shutdown() })
	}
	return m, err
}

// cluster starts members 1 to n and waits until all know all.
func cluster(t *testing.T, seg *segment, n int) []*Membership {
	t.Helper()
	var all []*Membership
	for i := 1; i <= n; i++ {
		all = append(all, start(t, seg, testOptions(i)))
	}
	eventually(t, 5*time.Second, "all know all", func() bool { return agree(all) })
	return all
}

// names are those in the newest snapshot that m published.
func names(m *Membership) []string {
	m.roster.mu.Lock()
	defer m.roster.mu.Unlock()
	var out []string
	for _, p := range m.roster.last {
		out = append(out, p.Name)
	}
	return out
}

// agree reports whether each of the members sees exactly all of them.
func agree(all []*Membership) bool {
	var want []string
	for _, m := range all {
		want = append(want, m.opts.Self.Name)
	}
	slices.Sort(want)
	for _, m := range all {
		got := names(m)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			return false
		}
	}
	return true
}

// eventually polls in the bubble's time and returns how long it took.
func eventually(t *testing.T, limit time.Duration, what string, ok func() bool) time.Duration {
	t.Helper()
	begin := time.Now()
	for {
		synctest.Wait()
		if ok() {
			return time.Since(begin)
		}
		if time.Since(begin) > limit {
			t.Fatalf("not within %v: %s", limit, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// bubble runs f in a synctest bubble, which fails if a goroutine is left when
// all members are shut down and memberlist's last exchanges have timed out.
func bubble(t *testing.T, f func(*testing.T, *segment)) {
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(2 * time.Second) }) // runs last
		f(t, newSegment())
	})
}
