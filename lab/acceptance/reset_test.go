package acceptance

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/opennlb/opennlb/lab"
)

// TestReset holds idle connections to a member that dies. Once others have taken
// over, the next segment of a client must be answered by a RST at once: a hang would
// last until TCP gives up. Connections to the living go on.
func TestReset(t *testing.T) {
	for _, how := range []death{killed, cutOff, frozen} {
		t.Run(how.name, func(t *testing.T) {
			c := start(t, lab.Options{Clients: 90, Edit: undampened})
			for _, m := range c.Members {
				c.ok(m.StartEcho(echo.Port()))
			}
			var took []time.Duration
			for i := range trials(1, 20) {
				victim := c.Members[i%len(c.Members)]
				took = append(took, c.resets(victim, how)...)
				c.ok(how.revive(c, victim))
				c.converged(len(c.Members))
			}
			if len(took) == 0 {
				t.Fatal("no connection was reset: nothing was shown")
			}
			median, worst := middle(took), slices.Max(took)
			t.Logf("%d connections: from the segment to the reset median %s, worst %s", len(took), median, worst)
		})
	}
}

// resets lets a member die under idle connections and returns how long the resets of
// those to it took, of which none may take a second.
func (c *cluster) resets(victim *lab.Member, how death) (took []time.Duration) {
	c.t.Helper()
	idle := c.idle(c.Client.Addrs)
	c.ok(how.die(c, victim))
	for src, s := range idle {
		if s.member == victim.Name {
			c.takenOver(src, victim.Name)
		}
	}
	for src, s := range idle {
		began := time.Now()
		_, _ = fmt.Fprintln(s.conn, "are you there")
		_ = s.conn.SetReadDeadline(began.Add(3 * time.Second))
		_, err := s.conn.Read(make([]byte, 64))
		switch {
		case s.member != victim.Name && err != nil:
			c.t.Errorf("%s lost its connection to %s, though %s died: %v", src, s.member, victim.Name, err)
		case s.member == victim.Name && !errors.Is(err, syscall.ECONNRESET):
			c.t.Errorf("%s had a connection to %s, which died: %v after %s, not a reset", src, s.member, err, time.Since(began))
		case s.member == victim.Name:
			took = append(took, time.Since(began))
		}
		s.conn.Close()
	}
	if worst := slices.Max(append(took, 0)); worst >= time.Second {
		c.judge(0)("a reset took %s", worst)
	}
	return took
}

// idleConn has carried one line each way.
type idleConn struct {
	conn   net.Conn
	member string
}

func (c *cluster) idle(clients []netip.Addr) map[netip.Addr]idleConn {
	c.t.Helper()
	idle := make(map[netip.Addr]idleConn)
	for _, src := range clients {
		conn, err := c.Client.DialFrom(c.ctx, src, echo)
		c.ok(err)
		c.t.Cleanup(func() { conn.Close() })
		s := &session{conn: conn}
		member, err := s.ask(bufio.NewReader(conn), "hello")
		c.ok(err)
		idle[src] = idleConn{conn, member}
	}
	return idle
}

// takenOver waits until a client of a dead member is answered by another.
func (c *cluster) takenOver(src netip.Addr, dead string) {
	c.t.Helper()
	for began := time.Now(); time.Since(began) < 5*time.Second; {
		name, err := c.askWithin(100*time.Millisecond, src, web)
		if err == nil && name != dead {
			return
		}
		c.sleep(10 * time.Millisecond)
	}
	c.t.Fatalf("nobody took over the clients of %s", dead)
}
