package acceptance

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/lab"
)

const quicPort = 443

// stream is one flow of numbered datagrams, as QUIC's are: whoever answered the first must
// answer all, since no other knows the connection.
type stream struct {
	src     netip.Addr
	conn    net.Conn
	mu      sync.Mutex     // guards what follows
	sent    int            // datagrams 0 to sent-1
	answers map[string]int // by "member number", how often
}

// quic echoes numbered datagrams over a member's join and changes of weight: each comes back
// once, on each flow from one member, and some flows stay where their bucket is no more.
func (c *cluster) quic() {
	c.t.Helper()
	late := c.Members[2]
	c.ok(late.Stop())
	c.converged(2)
	for _, m := range c.Members {
		c.ok(numberedEcho(m))
	}
	streams, stop := c.openStreams(c.Client.Addrs[:20])
	c.sleep(300 * time.Millisecond)
	c.ok(late.Start())
	c.converged(3)
	c.eventually("the newcomer takes part", func() bool { return c.owns(late, "quic") })
	for _, weight := range []int{5, 90} {
		c.Members[0].Config["member"].(map[string]any)["rules"] = map[string]any{"quic": map[string]any{"weight": weight}}
		c.ok(c.Members[0].Reload())
		c.sleep(400 * time.Millisecond)
	}
	moved := 0
	for _, s := range streams {
		moved += c.movedBucket(s)
	}
	stop()
	complain, total := c.judge(0), 0
	for _, s := range streams {
		total += s.sent
		by, lost, twice := s.count()
		if (len(by) != 1 || twice > 0) && !c.stoodStill() {
			c.t.Errorf("%s: answered by %v, %d datagrams more than once", s.src, by, twice)
		}
		if lost > 0 {
			complain("%s: %d of %d datagrams were not answered", s.src, lost, s.sent)
		}
	}
	c.t.Logf("%d numbered datagrams on %d flows, %d of them with a member that does not own their bucket any more", total, len(streams), moved)
	if moved == 0 {
		c.t.Error("no bucket moved: nothing was shown")
	}
}

// numberedEcho answers each datagram with the member's name and what it says.
func numberedEcho(m *lab.Member) error {
	conn, err := m.ListenPacket("udp", netip.AddrPortFrom(lab.VIP, quicPort).String())
	if err != nil {
		return err
	}
	go func() {
		buf := make([]byte, 512)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = conn.WriteTo(append([]byte(m.Name+" "), buf[:n]...), from) // a lost answer is the client's to notice
		}
	}()
	return nil
}

// openStreams sends on each flow every 20 ms until stop, which waits for the last answers.
func (c *cluster) openStreams(from []netip.Addr) (streams []*stream, stop func()) {
	c.t.Helper()
	end := make(chan struct{})
	var senders, readers sync.WaitGroup
	for _, src := range from {
		s := &stream{src: src, answers: make(map[string]int)}
		c.ok(c.Client.NetNS().Do(func() (err error) {
			s.conn, err = net.DialUDP("udp", &net.UDPAddr{IP: src.AsSlice()}, net.UDPAddrFromAddrPort(netip.AddrPortFrom(lab.VIP, quicPort)))
			return err
		}))
		streams = append(streams, s)
		senders.Go(func() { s.send(end) })
		readers.Go(s.read)
	}
	stop = sync.OnceFunc(func() {
		close(end)
		senders.Wait()
		c.sleep(200 * time.Millisecond)
		for _, s := range streams {
			s.conn.Close()
		}
		readers.Wait()
	})
	c.t.Cleanup(stop)
	return streams, stop
}

func (s *stream) send(end <-chan struct{}) {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		s.mu.Lock()
		n := s.sent
		s.sent++
		s.mu.Unlock()
		_, _ = fmt.Fprint(s.conn, n) // a refusal is noticed by the missing answer
		select {
		case <-ticker.C:
		case <-end:
			return
		}
	}
}

func (s *stream) read() {
	buf := make([]byte, 512)
	for {
		n, err := s.conn.Read(buf)
		if err != nil && !strings.Contains(err.Error(), "refused") {
			return
		}
		s.mu.Lock()
		s.answers[string(buf[:n])]++
		s.mu.Unlock()
	}
}

// count returns who answered how often, and the datagrams without an answer and with several.
func (s *stream) count() (by map[string]int, lost, twice int) {
	by = make(map[string]int)
	numbers := make(map[string]int)
	for answer, n := range s.answers {
		member, number, _ := strings.Cut(answer, " ")
		by[member] += n
		numbers[number] += n
	}
	for n := range s.sent {
		switch times := numbers[fmt.Sprint(n)]; {
		case times == 0:
			lost++
		case times > 1:
			twice++
		}
	}
	return by, lost, twice
}

// movedBucket is 1 where another member owns the bucket of a flow than answers it.
func (c *cluster) movedBucket(s *stream) int {
	c.t.Helper()
	port := netip.MustParseAddrPort(s.conn.LocalAddr().String()).Port()
	e, err := c.Members[0].Control().Explain(c.ctx, control.ExplainRequest{
		Client: s.src, ClientPort: port, VIP: lab.VIP, Port: quicPort, Protocol: "udp"})
	c.ok(err)
	s.mu.Lock()
	defer s.mu.Unlock()
	for answer := range s.answers {
		if member, _, _ := strings.Cut(answer, " "); member == e.Owner {
			return 0
		}
	}
	return 1
}

// owns reports whether a member owns buckets of a rule.
func (c *cluster) owns(m *lab.Member, rule string) bool {
	for _, r := range c.status().Rules {
		for _, o := range r.Owners {
			if r.Name == rule && o.Member == m.Name && o.Buckets > 0 {
				return true
			}
		}
	}
	return false
}

// eventually waits up to 10 s for something to become true.
func (c *cluster) eventually(what string, ok func() bool) {
	c.t.Helper()
	for began := time.Now(); !ok(); c.sleep(50 * time.Millisecond) {
		if time.Since(began) > 10*time.Second {
			c.t.Fatalf("waited 10 s in vain: %s", what)
		}
	}
}
