package acceptance

import (
	"bufio"
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opennlb/opennlb/lab"
)

// TestDedicatedAddress keeps a session to a member's own address, as an
// administrator's ssh, through everything that happens to its nlbd.
func TestDedicatedAddress(t *testing.T) {
	c := start(t, lab.Options{Clients: 30})
	m := c.Members[0]
	c.ok(m.StartEcho(2200))
	conn, err := c.Client.DialFrom(c.ctx, c.Client.Addrs[0], netip.AddrPortFrom(m.Addr, 2200))
	c.ok(err)
	defer conn.Close()
	var echoes atomic.Int64
	var slowest atomic.Int64
	failed := make(chan error, 1)
	stop := make(chan struct{})
	go func() {
		defer close(failed)
		reader := bufio.NewReader(conn)
		for i := 0; ; i++ {
			sent := time.Now()
			if _, err := fmt.Fprintf(conn, "%d\n", i); err != nil {
				failed <- err
				return
			}
			_ = conn.SetReadDeadline(sent.Add(3 * time.Second))
			if _, err := reader.ReadString('\n'); err != nil {
				failed <- err
				return
			}
			echoes.Add(1)
			slowest.Store(max(slowest.Load(), int64(time.Since(sent))))
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	ssh := func() { // a new session works at every moment, too
		t.Helper()
		conn, err := c.Client.DialFrom(c.ctx, c.Client.Addrs[1], netip.AddrPortFrom(m.Addr, 2200))
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
	c.ok(m.Kill())
	c.sleep(700 * time.Millisecond)
	ssh()
	c.ok(m.Start())
	c.converged(3)
	ssh()
	c.ok(m.Freeze())
	c.sleep(time.Second)
	ssh()
	c.ok(m.Thaw())
	c.converged(3)
	c.ok(m.Stop())
	ssh()
	c.converged(2)
	c.ok(m.Start())
	c.converged(3)
	close(stop)
	if err := <-failed; err != nil {
		t.Errorf("the session to the member's own address broke: %v", err)
	}
	t.Logf("%d echoes, slowest %s", echoes.Load(), time.Duration(slowest.Load()))
	if s := time.Duration(slowest.Load()); s > time.Second {
		t.Errorf("the session stalled for %s", s)
	}
}
