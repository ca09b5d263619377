package acceptance

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/lab"
)

// TestContainers holds connections to services that have no socket on the members:
// joins, drains and starts break none; a drain ends with the last one, or at its
// timeout, which resets what is left.
func TestContainers(t *testing.T) {
	beside(t)
	for _, dataplane := range []string{"xdp", "tc"}[:trials(1, 2)] { // dataplane/ebpf tests both with NAT
		t.Run(dataplane, func(t *testing.T) { testContainers(t, dataplane) })
	}
}

func testContainers(t *testing.T, dataplane string) {
	c := start(t, lab.Options{Clients: 80, Dataplane: dataplane})
	for _, m := range c.Members {
		box, err := m.AddContainer(c.ctx, echo.Port())
		c.ok(err)
		c.ok(box.StartEcho(echo.Port()))
		_, err = m.Listen("tcp", fmt.Sprintf(":%d", echo.Port())) // as docker-proxy does; it answers nobody
		c.ok(err)
	}
	first, drained, late := c.Members[0], c.Members[1], c.Members[2]
	c.ok(late.Stop())
	c.converged(2)
	sessions := c.hold(c.Client.Addrs, echo)

	c.ok(late.Start())
	c.converged(3)
	c.sleep(2 * time.Second) // time for a wrong count to end the residual state
	c.act(first, control.StateRequest{Action: control.Drain, Members: []string{drained.Name}})
	c.waitState(drained.Name, "draining")
	c.sleep(2 * time.Second)
	c.waitState(drained.Name, "draining")
	if sessions.endAt(drained.Name) == 0 {
		t.Fatal("the drained member had no session: nothing was shown")
	}
	c.waitState(drained.Name, "stopped")
	c.act(first, control.StateRequest{Action: control.Start, Members: []string{drained.Name}})
	c.waitState(drained.Name, "started")
	c.converged(3)

	idle := c.idleAt(sessions, first.Name)
	sessions.mayBreak(first.Name)
	c.act(first, control.StateRequest{Action: control.Drain, Timeout: control.Duration(2 * time.Second)})
	began := time.Now()
	c.waitState(first.Name, "stopped")
	if took := time.Since(began); took < 1500*time.Millisecond {
		t.Errorf("stopped after %s although sessions were left", took)
	}
	c.converged(3)
	if _, err := idle.ask(bufio.NewReader(idle.conn), "late"); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("first word after the drain: %v, want reset", err)
	}
	sessions.stop()
}

// idleAt opens a connection to a member that has sessions, and says one word.
func (c *cluster) idleAt(s *sessions, member string) *session {
	c.t.Helper()
	for _, one := range s.list {
		if one.member != member {
			continue
		}
		conn, err := c.Client.DialFrom(c.ctx, one.conn.LocalAddr().(*net.TCPAddr).AddrPort().Addr(), echo)
		c.ok(err)
		c.t.Cleanup(func() { conn.Close() })
		idle := &session{conn: conn}
		answer, err := idle.ask(bufio.NewReader(conn), "early")
		c.ok(err)
		if answer == member {
			return idle
		}
	}
	c.t.Fatalf("%s takes no new connection of any client it has", member)
	return nil
}
