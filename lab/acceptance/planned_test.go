package acceptance

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/lab"
)

var echo = netip.AddrPortFrom(lab.VIP, 7)

// TestPlannedChangesKeepConnections holds connections over joins, drains and a
// member's orderly leave, and asks with new ones meanwhile.
func TestPlannedChangesKeepConnections(t *testing.T) {
	c := start(t, lab.Options{Clients: 300})
	for _, m := range c.Members {
		c.ok(m.StartEcho(7))
	}
	leaver := c.Members[2]
	c.ok(leaver.Stop()) // so that a join is the first thing that happens to the sessions
	c.converged(2)
	sessions := c.hold(c.Client.Addrs[:100], echo)
	probe := c.Client.StartProbe(lab.ProbeOptions{Target: web, Lanes: map[string][]netip.Addr{"all": c.Client.Addrs[100:]}, Timeout: 1500 * time.Millisecond})

	c.ok(leaver.Start())
	c.converged(3)
	c.sleep(500 * time.Millisecond)
	drained := c.Members[1]
	c.act(c.Members[0], control.StateRequest{Action: control.Drain, Members: []string{drained.Name}})
	c.waitState(drained.Name, "draining")
	c.sleep(2 * time.Second)
	c.waitState(drained.Name, "draining") // as long as it has sessions
	held := sessions.endAt(drained.Name)
	t.Logf("%s drained %d of %d sessions", drained.Name, held, len(sessions.list))
	if held == 0 {
		t.Fatal("the drained member had no session: nothing was shown")
	}
	c.waitState(drained.Name, "stopped")
	c.act(c.Members[2], control.StateRequest{Action: control.Start, Members: []string{drained.Name}})
	c.waitState(drained.Name, "started")
	c.converged(3)
	c.sleep(300 * time.Millisecond)

	c.unbroken("new connections during planned changes", probe.Stop()["all"])
	sessions.stop()
}

// TestDrainTimeout closes what is left when the time is over.
func TestDrainTimeout(t *testing.T) {
	c := start(t, lab.Options{Members: 2, Clients: 40})
	for _, m := range c.Members {
		c.ok(m.StartEcho(7))
	}
	sessions := c.hold(c.Client.Addrs, echo)
	m := c.Members[1]
	if sessions.at(m.Name) == 0 {
		t.Fatalf("no session at %s", m.Name)
	}
	sessions.mayBreak(m.Name)
	c.act(m, control.StateRequest{Action: control.Drain, Timeout: control.Duration(3 * time.Second)})
	began := time.Now()
	c.waitState(m.Name, "stopped")
	if took := time.Since(began); took < 2500*time.Millisecond {
		t.Errorf("stopped after %s although sessions were left", took)
	}
	sessions.stop()
}

// TestDrainIsAgreedOnFirst: while the members cannot agree, one of them standing still, a
// member that is to drain gets new connections, and so does not stop for want of old ones.
func TestDrainIsAgreedOnFirst(t *testing.T) {
	beside(t)
	c := start(t, lab.Options{Members: 3})
	via, draining, mute := c.Members[0], c.Members[1], c.Members[2]
	// It loses buckets, and so has counted its connections in the present epoch.
	for _, action := range []string{control.Stop, control.Start} {
		c.act(via, control.StateRequest{Action: action, Members: []string{mute.Name}})
		c.converged(3)
	}
	c.sleep(3 * time.Second)
	c.ok(mute.Freeze())
	c.act(via, control.StateRequest{Action: control.Drain, Members: []string{draining.Name}})
	c.waitState(draining.Name, "stopped")
	c.ok(mute.Thaw())
	events, err := draining.Control().Events(c.ctx, 0, 0)
	c.ok(err)
	agreed := slices.IndexFunc(events, func(e control.Event) bool { return e.Kind == "state" && e.Message == draining.Name+" is draining" })
	drained := slices.IndexFunc(events, func(e control.Event) bool { return e.Kind == "drained" })
	if agreed < 0 || drained < agreed {
		c.judge(0)("the drain ended before the members had agreed on it: %+v", events)
	}
}

// TestOrderlyLeave restarts members one after the other under load. Who leaves takes no
// connections with it, so the one that it accepted in the moment of the handover may be
// reset: attempts come 20 ms apart and last about one, so of each leave one at most.
func TestOrderlyLeave(t *testing.T) {
	c := start(t, lab.Options{Clients: 200})
	probe := c.Client.StartProbe(lab.ProbeOptions{Target: web, Lanes: map[string][]netip.Addr{"all": c.Client.Addrs}, Timeout: 1500 * time.Millisecond})
	type span struct{ from, to time.Duration }
	var leaves []span
	for _, m := range c.Members {
		c.sleep(100 * time.Millisecond)
		began := probe.Since()
		c.ok(m.Stop())
		leaves = append(leaves, span{began, probe.Since()})
		t.Logf("%s left in %s", m.Name, probe.Since()-began)
		c.converged(2)
		c.ok(m.Start())
		c.converged(3)
	}
	c.sleep(200 * time.Millisecond)
	r := probe.Stop()["all"]
	for _, l := range leaves {
		i := slices.IndexFunc(r.Attempts, func(a lab.Attempt) bool {
			return errors.Is(a.Err, syscall.ECONNRESET) && a.At > l.from-50*time.Millisecond && a.At < l.to
		})
		if i >= 0 {
			t.Logf("reset: the connection of %s after the leave began", r.Attempts[i].At-l.from)
			r.Attempts = slices.Delete(r.Attempts, i, i+1)
		}
	}
	c.unbroken("connections while members left and came back in order", r)
}

// act asks through one member and expects success.
func (c *cluster) act(via *lab.Member, r control.StateRequest) {
	c.t.Helper()
	results, err := via.Control().SetState(c.ctx, r)
	c.ok(err)
	for _, r := range results {
		if !r.OK {
			c.t.Fatalf("%s: %s", r.Member, r.Error)
		}
	}
}

func (c *cluster) waitState(name, state string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, 15*time.Second)
	defer cancel()
	_, err := c.WaitStatus(ctx, name+" is "+state, func(s control.Status) bool {
		for _, m := range s.Members {
			if m.Name == name {
				return m.State == state
			}
		}
		return false
	})
	c.ok(err)
}

// sessions are connections that echo a line every 100 ms.
type sessions struct {
	c    *cluster
	list []*session
	done sync.WaitGroup
}

type session struct {
	conn   net.Conn
	member string // who answered first
	end    chan struct{}
	once   sync.Once
	breaks atomic.Bool // may break
}

// hold opens a session from each client.
func (c *cluster) hold(clients []netip.Addr, target netip.AddrPort) *sessions {
	c.t.Helper()
	s := &sessions{c: c}
	for _, src := range clients {
		conn, err := c.Client.DialFrom(c.ctx, src, target)
		c.ok(err)
		one := &session{conn: conn, end: make(chan struct{})}
		reader := bufio.NewReader(conn)
		one.member, err = one.ask(reader, "first")
		c.ok(err)
		s.list = append(s.list, one)
		s.done.Go(func() { s.keep(one, reader) })
	}
	c.t.Cleanup(s.stop)
	return s
}

func (s *session) ask(reader *bufio.Reader, line string) (member string, err error) {
	if _, err := fmt.Fprintln(s.conn, line); err != nil {
		return "", err
	}
	_ = s.conn.SetReadDeadline(time.Now().Add(time.Second))
	answer, err := reader.ReadString('\n')
	if err != nil {
		return "", err
	}
	member, _, _ = strings.Cut(answer, " ")
	return strings.TrimSuffix(member, ":"), nil
}

func (s *sessions) keep(one *session, reader *bufio.Reader) {
	defer one.conn.Close()
	for i := 0; ; i++ {
		select {
		case <-one.end:
			return
		case <-time.After(100 * time.Millisecond):
		}
		member, err := one.ask(reader, fmt.Sprint(i))
		if one.breaks.Load() {
			if err != nil {
				return
			}
			continue
		}
		complain := s.c.t.Errorf
		if errors.Is(err, os.ErrDeadlineExceeded) {
			complain = s.c.judge(0)
		}
		if err != nil || member != one.member {
			complain("session of %s with %s: answer from %q, %v", one.conn.LocalAddr(), one.member, member, err)
			return
		}
	}
}

func (s *sessions) at(member string) (n int) {
	for _, one := range s.list {
		if one.member == member {
			n++
		}
	}
	return n
}

// mayBreak says that the sessions with a member need not last. Call it before what breaks them.
func (s *sessions) mayBreak(member string) {
	for _, one := range s.list {
		if one.member == member {
			one.breaks.Store(true)
		}
	}
}

// endAt closes the sessions with a member and returns how many there were.
func (s *sessions) endAt(member string) (n int) {
	for _, one := range s.list {
		if one.member == member {
			one.once.Do(func() { close(one.end) })
			n++
		}
	}
	return n
}

// stop ends all sessions and waits for them.
func (s *sessions) stop() {
	for _, one := range s.list {
		one.once.Do(func() { close(one.end) })
	}
	s.done.Wait()
}

// TestStopWhileStarting sends SIGTERM at many points of the start: nlbd must end in
// order and leave nothing.
func TestStopWhileStarting(t *testing.T) {
	beside(t)
	c := start(t, lab.Options{Members: 2, Clients: 10})
	m := c.Members[1]
	c.ok(m.Stop())
	for n := range trials(6, 30) {
		c.ok(m.Start())
		c.sleep(time.Duration(100+n*230) * time.Millisecond)
		c.ok(m.Process().Stop(syscall.SIGTERM, 5*time.Second))
		if err := m.Process().Wait(c.ctx); err != nil {
			c.judge(0)("stopped %d ms after the start: %v\n%s", 100+n*230, err, m.Log(3))
		}
		if _, err := os.Stat(m.PinDir()); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("stopped %d ms after the start: pins are left", 100+n*230)
		}
	}
	c.converged(1)
}
