package membership

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

// silent fails the test if a message is delivered to any of the members.
func silent(t *testing.T, all []*Membership) {
	t.Helper()
	for _, m := range all {
		for {
			select {
			case msg := <-m.Messages():
				t.Errorf("%s obeyed %q of %s", m.opts.Self.Name, msg.Data, msg.From)
				continue
			default:
			}
			break
		}
	}
}

// Everything that was said in the life of a cluster, gossip, goodbyes and state exchanges
// included, is said again to every member: at once, when the speaker is gone, when it is
// back, and when the receiver was restarted. Nothing happens.
func TestReplay(t *testing.T) {
	bubble(t, func(t *testing.T, seg *segment) {
		tape := seg.record()
		all := cluster(t, seg, 3)
		exchange := func() {
			for _, from := range all {
				for _, to := range all {
					from.Send(to.opts.Self.Name, []byte("reliable"), true)
					from.Send(to.opts.Self.Name, []byte("datagram"), false)
				}
			}
			time.Sleep(100 * time.Millisecond)
			for _, m := range all {
				if n := len(m.Messages()); n != 4 {
					t.Fatalf("%s got %d of 4", m.opts.Self.Name, n)
				}
				for range 4 {
					<-m.Messages()
				}
			}
		}
		exchange()
		replay := func(when string, members []*Membership) {
			t.Helper()
			for _, m := range members {
				select {
				case <-m.Snapshots():
				default:
				}
			}
			before := make([]Stats, len(members))
			for i, m := range members {
				before[i] = m.Stats()
				seg.replay(tape, m.roster.me().endpoint())
			}
			time.Sleep(3 * time.Second) // for suspicions to become deaths
			silent(t, members)
			for i, m := range members {
				select {
				case s := <-m.Snapshots():
					t.Errorf("%s: %s sees %v", when, m.opts.Self.Name, s)
				default:
				}
				s := m.Stats()
				if s.Replayed+s.Misdirected < before[i].Replayed+before[i].Misdirected+12 {
					t.Errorf("%s: %s counts %+v", when, m.opts.Self.Name, s)
				}
			}
			if !agree(members) {
				t.Errorf("%s: they do not agree", when)
			}
		}
		replay("at once", all)

		// n03 leaves, is forgotten, and comes back; then somebody repeats its goodbye.
		if err := all[2].Leave(time.Second); err != nil {
			t.Fatal(err)
		}
		eventually(t, time.Second, "n03 is gone", func() bool { return agree(all[:2]) })
		time.Sleep(2 * time.Minute)
		all[2] = start(t, seg, testOptions(3))
		eventually(t, 5*time.Second, "n03 is back", func() bool { return agree(all) })
		replay("after a restart", all)
		exchange()

		// All go, and come back.
		for _, m := range all {
			if err := m.Shutdown(); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		all = cluster(t, seg, 3)
		replay("after a power-off", all)
		exchange()
	})
}

// What was recorded of a member that is gone is not obeyed either.
func TestReplayOfTheGone(t *testing.T) {
	bubble(t, func(t *testing.T, seg *segment) {
		tape := seg.record()
		all := cluster(t, seg, 3)
		all[2].Send("n01", []byte("stop"), true)
		time.Sleep(100 * time.Millisecond)
		<-all[0].Messages()
		seg.load(nil) // so that it has no news of the death
		if err := all[2].Shutdown(); err != nil {
			t.Fatal(err)
		}
		eventually(t, 3*time.Second, "n03 is dead", func() bool { return agree(all[:2]) })
		for len(all[0].history) > 0 {
			all[0].forget() // as if 64 others had been heard since
		}
		seg.replay(tape, all[0].roster.me().endpoint())
		time.Sleep(time.Second)
		silent(t, all[:2])

		// When nobody remembers its number any more, "it is alive" is believed until it was probed.
		time.Sleep(2 * time.Minute)
		seg.replay(tape, all[0].roster.me().endpoint())
		synctest.Wait()
		if len(names(all[0])) != 3 {
			t.Errorf("n01 sees %v: docs/SECURITY.md says otherwise", names(all[0]))
		}
		eventually(t, 2*time.Second, "the ghost is gone", func() bool { return agree(all[:2]) })
		time.Sleep(time.Second)
		silent(t, all[:2])
	})
}

// TestReplayOnLoopback does the same with real packets, over UDP and TCP.
func TestReplayOnLoopback(t *testing.T) {
	var all []*Membership
	var tapes []*tape
	port := uint16(0)
	launch := func(i int) *Membership {
		o := testOptions(i)
		o.Self.Address = netip.AddrFrom4([4]byte{127, 77, 1, byte(i)})
		o.Join = []netip.Addr{netip.MustParseAddr("127.77.1.1")}
		s, err := openSocket(netip.AddrPortFrom(o.Self.Address, port), log.New(io.Discard, "", 0))
		if err != nil {
			t.Fatal(err)
		}
		port = s.port()
		tapes = append(tapes, &tape{})
		o.Port, o.Transport = port, tap{s, tapes[len(tapes)-1]}
		m, err := Start(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = m.Shutdown() })
		return m
	}
	receive := func(m *Membership, n int) {
		t.Helper()
		for i := range n {
			select {
			case <-m.Messages():
			case <-time.After(10 * time.Second):
				t.Fatalf("%s got %d of %d", m.opts.Self.Name, i, n)
			}
		}
	}
	for i := 1; i <= 3; i++ {
		all = append(all, launch(i))
	}
	for _, m := range all {
		await(t, m, "n01", "n02", "n03")
	}
	const count = 20
	for i := range count {
		all[0].Send("n02", fmt.Append(nil, i), i%2 == 0)
	}
	receive(all[1], count)

	// everything sends all that n1 said to one member and waits until it was refused.
	everything := func(m *Membership) {
		t.Helper()
		to := m.roster.me().endpoint().String()
		before := m.Stats()
		datagrams, streams := tapes[0].take()
		udp, err := net.Dial("udp", to)
		if err != nil {
			t.Fatal(err)
		}
		defer udp.Close()
		for _, d := range datagrams {
			_, _ = udp.Write(d.data)
		}
		for _, r := range streams {
			c, err := net.Dial("tcp", to)
			if err != nil {
				t.Fatal(err)
			}
			_ = c.SetDeadline(time.Now().Add(time.Second))
			_, _ = c.Write(r.data)
			_ = c.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, c)
			c.Close()
		}
		deadline := time.Now().Add(10 * time.Second)
		for {
			runtime.Gosched()
			s := m.Stats()
			if refused := s.Replayed + s.Misdirected - before.Replayed - before.Misdirected; refused >= count {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s refused %+v, before %+v", m.opts.Self.Name, s, before)
			}
		}
		silent(t, all)
	}
	everything(all[1]) // whom it was meant for
	everything(all[2])
	if err := all[1].Shutdown(); err != nil {
		t.Fatal(err)
	}
	await(t, all[0], "n01", "n03")
	all[1] = launch(2)
	await(t, all[0], "n01", "n02", "n03")
	everything(all[1]) // a later process of it
	all[0].Send("n02", []byte("new"), true)
	receive(all[1], 1)
}

// TestOutrun: a process that was set back to an earlier moment is not taken for somebody who
// repeats what was recorded; and what was sent before that counts no more.
func TestOutrun(t *testing.T) {
	bubble(t, func(t *testing.T, seg *segment) {
		all := cluster(t, seg, 2)
		a, b := all[0], all[1]
		say := func(want int) {
			t.Helper()
			a.Send("n02", []byte("datagram"), false)
			a.Send("n02", []byte("reliable"), true)
			time.Sleep(100 * time.Millisecond)
			if n := len(b.Messages()); n != want {
				t.Fatalf("%d of 2 arrived, want %d", n, want)
			}
			for range want {
				<-b.Messages()
			}
		}
		for range 20 {
			say(2)
		}
		for range 3 {
			snapshot := a.seq.Load() / 2
			say(2)
			a.seq.Store(snapshot)
			say(0)
			a.Outrun()
			say(2)
			time.Sleep(time.Second)
		}
	})
}
