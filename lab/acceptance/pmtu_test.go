package acceptance

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opennlb/opennlb/lab"
)

// bulk is a service of which every answer is larger than any window.
var bulk = netip.AddrPortFrom(lab.VIP, 7)

const bulkSize = 512 << 10

// TestPathMTU downloads from every member over a link that takes 1400 bytes, of which
// only the router before it knows: its ICMP errors must reach the member that sends.
func TestPathMTU(t *testing.T) {
	beside(t)
	for _, dataplane := range []string{"tc", "xdp"} {
		t.Run(dataplane, func(t *testing.T) {
			c := start(t, lab.Options{Dataplane: dataplane, Clients: 1, IPv6: true})
			for _, m := range c.Members {
				c.ok(c.startBulk(m))
			}
			remote, err := c.Client.AddRemote(c.ctx, 40, 1400)
			c.ok(err)
			c.download(remote, remote.Addrs, bulk, "IcmpOutDestUnreachs")
			c.download(remote, remote.Addrs6, netip.AddrPortFrom(lab.VIP6, 7), "Icmp6OutPktTooBigs")
		})
	}
}

// startBulk answers each connection with the member's name, a newline and bulkSize bytes.
func (c *cluster) startBulk(m *lab.Member) error {
	l, err := m.Listen("tcp", fmt.Sprintf(":%d", bulk.Port()))
	if err != nil {
		return err
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				fmt.Fprintln(conn, m.Name)
				conn.Write(make([]byte, bulkSize))
			}()
		}
	}()
	return nil
}

// download checks that each client gets all, some from every member, and that the
// router had to tell each time what fits, by its counter.
func (c *cluster) download(remote *lab.Remote, clients []netip.Addr, dst netip.AddrPort, told string) {
	c.t.Helper()
	before := c.sent(told)
	share := make(map[string]int)
	var slowest time.Duration
	for _, src := range clients {
		began := time.Now()
		member, err := fetch(c.ctx, remote, src, dst)
		if err != nil {
			c.t.Errorf("%s: %v", src, err)
		}
		share[member]++
		slowest = max(slowest, time.Since(began))
	}
	for _, m := range c.Members {
		if share[m.Name] == 0 {
			c.t.Errorf("nobody was served by %s: nothing was shown of it", m.Name)
		}
	}
	errors := c.sent(told) - before
	if errors < len(clients) {
		c.t.Errorf("the router told %d times what fits: fewer than the %d clients", errors, len(clients))
	}
	c.t.Logf("%s: %d downloads of %d bytes, slowest %s, %d errors of the router, by member %v", dst, len(clients), bulkSize, slowest, errors, share)
}

// fetch downloads and returns the name of the member that answered, if any did.
func fetch(ctx context.Context, remote *lab.Remote, src netip.Addr, dst netip.AddrPort) (member string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	conn, err := remote.DialFrom(ctx, src, dst)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return "", err
	}
	reader := bufio.NewReader(conn)
	member, err = reader.ReadString('\n')
	if err != nil {
		return "", err
	}
	n, err := io.Copy(io.Discard, reader)
	if err == nil && n != bulkSize {
		err = fmt.Errorf("got %d bytes of %d", n, bulkSize)
	}
	return strings.TrimSpace(member), err
}

// sent reads a counter of the client host, which is the router.
func (c *cluster) sent(counter string) int {
	c.t.Helper()
	out, err := c.Client.Run(c.ctx, "nstat", "-asz", counter)
	c.ok(err)
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == counter {
			n, err := strconv.Atoi(f[1])
			c.ok(err)
			return n
		}
	}
	c.t.Fatalf("no counter %s in %q", counter, out)
	return 0
}
