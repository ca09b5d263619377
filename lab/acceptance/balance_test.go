package acceptance

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/opennlb/opennlb/lab"
)

// account compares what the switch saw clients send with what members accepted.
type account struct {
	what     string
	sent     uint64
	accepted map[string]uint64 // by member
}

func (a account) total() (n uint64) {
	for _, accepted := range a.accepted {
		n += accepted
	}
	return n
}

func (a account) String() string {
	return fmt.Sprintf("%d %s sent, %d accepted: %v", a.sent, a.what, a.total(), a.accepted)
}

// since is the part of an account that was added after an earlier reading.
func (a account) since(earlier account) account {
	grown := account{a.what, a.sent - earlier.sent, make(map[string]uint64)}
	for member, n := range a.accepted {
		grown.accepted[member] = n - earlier.accepted[member]
	}
	return grown
}

// balance holds an account of each kind of packet that is counted on both sides.
type balance [2]account

func (b balance) since(earlier balance) (grown balance) {
	for i := range b {
		grown[i] = b[i].since(earlier[i])
	}
	return grown
}

// balance reads all counters. Members are read first: what is under way meanwhile
// counts as sent and not as accepted.
func (c *cluster) balance() (b balance, err error) {
	for i, kind := range []struct {
		what     string
		accepted func(*lab.Lab, context.Context) (map[string]uint64, error)
		sent     func(*lab.Switch, context.Context) (uint64, error)
	}{
		{"SYNs", (*lab.Lab).Accepted, (*lab.Switch).SYNs},
		{"datagrams", (*lab.Lab).AcceptedDatagrams, (*lab.Switch).Datagrams},
	} {
		b[i].what = kind.what
		if b[i].accepted, err = kind.accepted(c.Lab, c.ctx); err != nil {
			return b, err
		}
		if b[i].sent, err = kind.sent(c.Switch, c.ctx); err != nil {
			return b, err
		}
	}
	return b, nil
}

// quietBalance ends the datagrams first. Nothing else may be sending.
func (c *cluster) quietBalance() balance {
	c.t.Helper()
	c.datagrams.Stop()
	c.sleep(100 * time.Millisecond)
	b, err := c.balance()
	c.ok(err)
	return b
}

// checkBalance refuses what was accepted twice since the cluster began, or since it
// was excused.
func (c *cluster) checkBalance() {
	c.t.Helper()
	b, err := c.balance()
	if err != nil {
		c.t.Error(err)
		return
	}
	for _, a := range b.since(c.excused) {
		if a.total() > a.sent {
			c.t.Errorf("two members answered: %s", a)
		}
	}
}

// answeredOnce asks for a while, over TCP and UDP, and checks that every SYN and every
// datagram meets exactly one member. Nothing else may be sending SYNs.
func (c *cluster) answeredOnce(d time.Duration) {
	c.t.Helper()
	before := c.quietBalance()
	c.sendDatagrams(5 * time.Millisecond)
	probe := c.Client.StartProbe(lab.ProbeOptions{
		Target: web, Lanes: map[string][]netip.Addr{"all": c.Client.Addrs}, Every: 5 * time.Millisecond, Timeout: 3 * time.Second,
	})
	c.sleep(d)
	r := probe.Stop()["all"]
	load := c.datagrams
	for _, b := range c.quietBalance().since(before) {
		c.t.Log(b)
		switch {
		case b.total() > b.sent:
			c.t.Errorf("two members answered: %s", b)
		case b.total() < b.sent, b.sent < uint64(d/(50*time.Millisecond)):
			c.judge(r.Stall)("not one answer to each: %s", b)
		}
	}
	c.unbroken("connections", r)
	if load.Answered() != load.Sent() {
		c.judge(r.Stall)("%d of %d datagrams were answered", load.Answered(), load.Sent())
	}
	c.sendDatagrams(10 * time.Millisecond)
}

// TestSteadyState proves the count itself: where nothing happens it must come out even.
func TestSteadyState(t *testing.T) {
	for _, dataplane := range []string{"tc", "xdp"} {
		t.Run(dataplane, func(t *testing.T) {
			c := start(t, lab.Options{Clients: 300, Dataplane: dataplane})
			c.answeredOnce(time.Duration(trials(2, 20)) * time.Second)
		})
	}
}
