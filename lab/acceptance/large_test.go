package acceptance

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/opennlb/opennlb/lab"
)

const uploadSize = 1 << 20

// TestLargeFrames uploads to every member with frames of the usual and of jumbo size.
// Senders hand over up to 64 KiB at once, with the checksum left to the card, and as
// such the decision sees them.
func TestLargeFrames(t *testing.T) {
	beside(t)
	for _, dataplane := range []string{"tc", "xdp"} {
		t.Run(dataplane, func(t *testing.T) {
			c := start(t, lab.Options{Dataplane: dataplane, Clients: 40, IPv6: true})
			for _, m := range c.Members {
				c.ok(c.startSink(m))
			}
			for _, mtu := range []int{1500, 9000} {
				c.setMTU(mtu)
				c.upload(c.Client.Addrs, netip.AddrPortFrom(lab.VIP, 7))
				c.upload(c.Client.Addrs6, netip.AddrPortFrom(lab.VIP6, 7))
			}
		})
	}
}

func (c *cluster) setMTU(mtu int) {
	c.t.Helper()
	for _, m := range c.Members {
		c.sh(c.Switch.Host, fmt.Sprintf("ip link set %s mtu %d", m.Port, mtu))
		c.sh(m.Host, fmt.Sprintf("ip link set eth0 mtu %d", mtu))
	}
	c.sh(c.Switch.Host, fmt.Sprintf("ip link set %s mtu %d", c.Client.Port, mtu))
	c.sh(c.Client.Host, fmt.Sprintf("ip link set eth0 mtu %d", mtu))
}

// startSink reads each connection to its end and answers with the member's name and
// how many bytes there were.
func (c *cluster) startSink(m *lab.Member) error {
	l, err := m.Listen("tcp", ":7")
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
				n, _ := io.Copy(io.Discard, conn)
				fmt.Fprintln(conn, m.Name, n)
			}()
		}
	}()
	return nil
}

// upload checks that what each client sends arrives whole, at every member some.
func (c *cluster) upload(clients []netip.Addr, dst netip.AddrPort) {
	c.t.Helper()
	share := make(map[string]int)
	began := time.Now()
	for _, src := range clients {
		member, n, err := c.send(src, dst)
		if err != nil || n != uploadSize {
			c.t.Errorf("%s to %s: %d bytes of %d arrived, %v", src, dst, n, uploadSize, err)
		}
		share[member]++
	}
	if len(share) != len(c.Members) {
		c.t.Errorf("uploads to %s reached only %v", dst, share)
	}
	c.t.Logf("%s: %d uploads of %d bytes in %s: %v", dst, len(clients), uploadSize, time.Since(began), share)
}

func (c *cluster) send(src netip.Addr, dst netip.AddrPort) (member string, n int, err error) {
	ctx, cancel := context.WithTimeout(c.ctx, 3*time.Second)
	defer cancel()
	conn, err := c.Client.DialFrom(ctx, src, dst)
	if err != nil {
		return "", 0, err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return "", 0, err
	}
	if _, err := conn.Write(make([]byte, uploadSize)); err != nil {
		return "", 0, err
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		return "", 0, err
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		return "", 0, err
	}
	_, err = fmt.Fscan(strings.NewReader(string(answer)), &member, &n)
	return member, n, err
}
