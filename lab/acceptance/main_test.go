// Package acceptance tests the whole: real nlbd processes, real kernels' TCP and
// real servers, in the lab. NLB_SOAK=1 runs the long series.
package acceptance

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opennlb/opennlb/lab"
)

var web = netip.AddrPortFrom(lab.VIP, 80)

// nlbd is the program under test, built once.
var nlbd string

// machine is this one.
var machine *lab.Machine

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "acceptance tests need root: network namespaces and eBPF")
		os.Exit(1)
	}
	dir, err := os.MkdirTemp("", "nlb-acceptance-")
	if err != nil {
		panic(err)
	}
	if nlbd, err = lab.Build(context.Background(), dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if machine, err = lab.WatchMachine(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// soak reports whether the long series are asked for.
func soak() bool { return os.Getenv("NLB_SOAK") != "" }

// trials is how often a series is run: few in every test run, many in a soak.
func trials(few, many int) int {
	if soak() {
		return many
	}
	return few
}

// beside lets a test run beside others of its kind, after those that measure times have run
// one by one: what it shows does not depend on when.
func beside(t *testing.T) {
	if !soak() {
		t.Parallel()
	}
}

// cluster is a lab whose members all run, serve HTTP and have converged.
type cluster struct {
	*lab.Lab
	t         *testing.T
	ctx       context.Context
	began     time.Time
	datagrams *lab.Datagrams // sent all the time
	excused   balance        // not counted against the cluster
}

// start builds a cluster. When the test ends it checks what must always hold: no
// SYN and no datagram was accepted twice, no agent panicked, and nothing is left on
// the machine.
func start(t *testing.T, options lab.Options) *cluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(trials(4, 20))*time.Minute)
	t.Cleanup(cancel)
	options.Nlbd = nlbd
	l, err := lab.New(ctx, options)
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{Lab: l, t: t, ctx: ctx, began: time.Now()}
	t.Cleanup(func() {
		if c.datagrams != nil {
			c.datagrams.Stop()
		}
		c.checkAlways()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if left := l.Leftovers(); len(left) > 0 {
			t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
		}
	})
	for _, m := range l.Members {
		c.ok(m.StartHTTP(80))
		c.ok(m.StartUDP(netip.AddrPortFrom(lab.VIP, 7)))
		if options.IPv6 {
			c.ok(m.StartUDP(netip.AddrPortFrom(lab.VIP6, 7)))
		}
	}
	c.ok(l.Start())
	c.converged(len(l.Members))
	c.sendDatagrams(10 * time.Millisecond)
	return c
}

// sendDatagrams begins to send, or goes on at another pace.
func (c *cluster) sendDatagrams(every time.Duration) {
	c.t.Helper()
	if c.datagrams != nil {
		c.datagrams.Stop()
	}
	var err error
	c.datagrams, err = c.Client.StartDatagrams(lab.DatagramOptions{
		Target: echo, From: c.Client.Addrs[:min(60, len(c.Client.Addrs))], Every: every,
	})
	c.ok(err)
}

func (c *cluster) ok(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) converged(n int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, 20*time.Second)
	defer cancel()
	_, err := c.WaitConverged(ctx, n)
	c.ok(err)
}

// checkAlways is what no test may violate, whatever it did.
func (c *cluster) checkAlways() {
	c.checkBalance()
	for _, m := range c.Members {
		log, err := os.ReadFile(m.LogPath())
		if err == nil && (strings.Contains(string(log), "panic:") || strings.Contains(string(log), "DATA RACE")) {
			c.t.Errorf("%s panicked:\n%s", m.Name, m.Log(40))
		}
	}
	if c.t.Failed() {
		c.t.Logf("the longest pause of this machine was %s", machine.Paused(c.began))
		for _, m := range c.Members {
			c.t.Logf("%s:\n%s", m.Name, m.Log(25))
		}
		if dir := os.Getenv("NLB_KEEP_LOGS"); dir != "" {
			for _, m := range c.Members {
				log, _ := os.ReadFile(m.LogPath())
				_ = os.WriteFile(filepath.Join(dir, filepath.Base(m.LogPath())), log, 0o600)
			}
		}
	}
}

// judge returns what to do with complaints that a pause may explain: of the probe that measured
// (its longest, or 0), or of the machine since the test began: other work took the processors.
// The counts of checkAlways hold nevertheless.
func (c *cluster) judge(stall time.Duration) (complain func(format string, args ...any)) {
	stall = max(stall, machine.Paused(c.began))
	if stall < lab.Pause {
		return c.t.Errorf
	}
	return func(format string, args ...any) {
		c.t.Helper()
		c.t.Logf("after a pause of %s of this process or machine: "+format, append([]any{stall}, args...)...)
	}
}

// unbroken checks that every attempt of a lane was answered.
func (c *cluster) unbroken(who string, r lab.LaneReport) {
	c.t.Helper()
	c.t.Logf("%s: %d attempts, %d failed, longest silence %s, longest pause %s", who, len(r.Attempts), r.Failed(), r.Silence, r.Stall)
	if r.Failed() > 0 {
		c.judge(r.Stall)("%s: %s", who, failures(r, 0))
	}
}

// fair does what a pause of the machine may spoil. What failed beside one is tried again, twice
// at most, when the members have settled.
func (c *cluster) fair(do func() error) error {
	c.t.Helper()
	for n := 0; ; n++ {
		began := time.Now()
		err := do()
		longest := machine.Paused(began.Add(-lab.Settle))
		if err == nil || longest < lab.Pause || n == 2 {
			return err
		}
		c.t.Logf("after a pause of %s of this machine, tried again: %v", longest, err)
		c.sleep(lab.Settle)
	}
}

// owners asks once from every address and returns who answered it.
func (c *cluster) owners(clients []netip.Addr) map[netip.Addr]string {
	c.t.Helper()
	owner := make(map[netip.Addr]string, len(clients))
	for _, src := range clients {
		owner[src] = c.ask(src, web)
	}
	return owner
}

// ask returns who answers a client.
func (c *cluster) ask(src netip.Addr, target netip.AddrPort) (member string) {
	c.t.Helper()
	err := c.fair(func() (err error) {
		member, err = c.askWithin(2*time.Second, src, target)
		return err
	})
	if err != nil {
		c.t.Fatalf("%s: %v", src, err)
	}
	return member
}

func (c *cluster) askWithin(d time.Duration, src netip.Addr, target netip.AddrPort) (member string, err error) {
	ctx, cancel := context.WithTimeout(c.ctx, d)
	defer cancel()
	return c.Client.Ask(ctx, src, target)
}

// lanes groups clients by the member that answers them.
func lanes(owner map[netip.Addr]string) map[string][]netip.Addr {
	out := make(map[string][]netip.Addr)
	for src, name := range owner {
		out[name] = append(out[name], src)
	}
	for _, l := range out {
		slices.SortFunc(l, netip.Addr.Compare)
	}
	return out
}

func (c *cluster) sleep(d time.Duration) {
	select {
	case <-time.After(d):
	case <-c.ctx.Done():
		c.t.Fatal(c.ctx.Err())
	}
}
