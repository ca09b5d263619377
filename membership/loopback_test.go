package membership

import (
	"io"
	"log"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"
)

// TestLoopback runs three members over real sockets, 127.77.0.1 to .3.
func TestLoopback(t *testing.T) {
	before := runtime.NumGoroutine()
	var all []*Membership
	for i := 1; i <= 3; i++ {
		o := testOptions(i)
		o.Self.Address = netip.AddrFrom4([4]byte{127, 77, 0, byte(i)})
		o.Join = []netip.Addr{netip.MustParseAddr("127.77.0.1")}
		if o.Port = 0; i > 1 {
			o.Port = all[0].Port()
		}
		m, err := Start(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Shutdown()
		all = append(all, m)
	}
	for _, m := range all {
		await(t, m, "n01", "n02", "n03")
	}

	for _, reliable := range []bool{true, false} {
		all[1].Send("n03", []byte("hello"), reliable)
		select {
		case got := <-all[2].Messages():
			if string(got.Data) != "hello" || got.From != "n02" {
				t.Errorf("got %v", got)
			}
		case <-time.After(2 * time.Second):
			t.Errorf("reliable %v: nothing arrived", reliable)
		}
	}

	begin := time.Now()
	if err := all[2].Shutdown(); err != nil {
		t.Error(err)
	}
	await(t, all[0], "n01", "n02")
	await(t, all[1], "n01", "n02")
	t.Logf("crash known after %v", time.Since(begin))

	begin = time.Now()
	if err := all[1].Leave(time.Second); err != nil {
		t.Error(err)
	}
	await(t, all[0], "n01")
	t.Logf("leave known after %v", time.Since(begin))
	if err := all[0].Leave(time.Second); err != nil {
		t.Error(err)
	}
	deadline := time.Now().Add(3 * time.Second)
	for runtime.NumGoroutine() > before {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines left, %d before", runtime.NumGoroutine(), before)
		}
		runtime.Gosched()
	}
}

// Members know each other's connections by the address that they come from.
func TestDialFromOwnAddress(t *testing.T) {
	open := func(addr string, port uint16) *socket {
		s, err := openSocket(netip.AddrPortFrom(netip.MustParseAddr(addr), port), log.New(io.Discard, "", 0))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Shutdown() })
		return s
	}
	for _, hosts := range [][2]string{{"127.77.2.1", "127.77.2.2"}, {"::1", "::1"}} {
		to := open(hosts[0], 0)
		from := open(hosts[1], 0)
		c, err := from.DialTimeout(to.tcp.Addr().String(), time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if got := addressOf(<-to.StreamCh()); got.String() != hosts[1] {
			t.Errorf("%s is seen as %s", hosts[1], got)
		}
	}
}

// A port in use is an error that says what to look at.
func TestPortInUse(t *testing.T) {
	o := testOptions(1)
	o.Self.Address, o.Port, o.Join = netip.MustParseAddr("127.77.0.9"), 0, nil
	m, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Shutdown()
	o.Port = m.Port()
	if _, err := Start(t.Context(), o); err == nil {
		t.Error("accepted")
	} else {
		t.Log(err)
	}
}

// await reads snapshots until one has exactly these names, by priority.
func await(t *testing.T, m *Membership, want ...string) {
	t.Helper()
	limit := time.After(3 * time.Second)
	for {
		select {
		case s := <-m.Snapshots():
			var got []string
			for _, p := range s {
				got = append(got, p.Name)
			}
			if slices.Equal(got, want) {
				return
			}
		case <-limit:
			t.Fatalf("%s never saw %v", m.opts.Self.Name, want)
		}
	}
}
