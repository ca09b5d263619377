package main

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"
)

const (
	perClient = 10 // connections
	workers   = 16
	patience  = 5 * time.Second // with one connection
	hopeless  = 2 * workers     // failures after which no more are tried
)

// answers is who answered each client address, how often.
type answers map[netip.Addr]map[string]int

// spread opens many connections from many clients.
func (d *demo) spread(ctx context.Context) error {
	clients := d.lab.Client.Addrs
	d.step(fmt.Sprintf("%d connections from %d clients", perClient*len(clients), len(clients)),
		"Every server sees every frame; each decides alone, by a keyed hash, whether to answer. Nobody forwards anything.")
	before, err := d.lab.Switch.SYNs(ctx)
	if err != nil {
		return err
	}
	acceptedBefore, err := d.accepted(ctx)
	if err != nil {
		return err
	}
	begin := time.Now()
	got, failed := d.ask(ctx, perClient)
	took := time.Since(begin)
	if err := ctx.Err(); err != nil {
		return err
	}
	after, err := d.lab.Switch.SYNs(ctx)
	if err != nil {
		return err
	}
	acceptedAfter, err := d.accepted(ctx)
	if err != nil {
		return err
	}
	d.owner = got.owners()
	d.bars(d.byMember("clients"))
	d.check(failed == nil, "all connections answered, in %.1f s%s", took.Seconds(), reason(failed))
	d.check(got.moved() == 0, "affinity: every client met the same server each time (%d did not)", got.moved())
	sent, accepted := after-before, acceptedAfter-acceptedBefore
	check := d.check
	if accepted > sent {
		check = d.always
	}
	check(sent == accepted, "%d SYNs sent, %d accepted by all servers together: each by exactly one", sent, accepted)
	return nil
}

// ask opens n connections from each client. The error tells of those that failed.
func (d *demo) ask(ctx context.Context, n int) (answers, error) {
	got := answers{}
	var failed error
	failures := 0
	var mu sync.Mutex
	var tasks sync.WaitGroup
	work := make(chan netip.Addr)
	for range workers {
		tasks.Go(func() {
			for src := range work {
				mu.Lock()
				stop := failures >= hopeless || ctx.Err() != nil
				mu.Unlock()
				if stop {
					continue
				}
				ctx, cancel := context.WithTimeout(ctx, patience)
				member, err := d.lab.Client.Ask(ctx, src, web)
				cancel()
				mu.Lock()
				if err != nil {
					failed = err
					failures++
				} else {
					if got[src] == nil {
						got[src] = map[string]int{}
					}
					got[src][member]++
				}
				mu.Unlock()
			}
		})
	}
	for range n {
		for _, src := range d.lab.Client.Addrs {
			work <- src
		}
	}
	close(work)
	tasks.Wait()
	if failures > 0 {
		failed = fmt.Errorf("%d failed, such as %w", failures, failed)
	}
	return got, failed
}

// owners names the member of each client, any of them where there were several.
func (a answers) owners() map[netip.Addr]string {
	owner := map[netip.Addr]string{}
	for client, members := range a {
		for m := range members {
			owner[client] = m
		}
	}
	return owner
}

// moved counts the clients that met more than one member.
func (a answers) moved() int {
	n := 0
	for _, members := range a {
		if len(members) > 1 {
			n++
		}
	}
	return n
}

// byMember counts d.owner for the chart.
func (d *demo) byMember(note string) []bar {
	count := map[string]int{}
	for _, m := range d.owner {
		count[m]++
	}
	var rows []bar
	for _, m := range d.lab.Members {
		rows = append(rows, bar{name: m.Name, value: count[m.Name], note: note})
	}
	return rows
}

// clientsOf lists the clients of a member, in order.
func (d *demo) clientsOf(member string) []netip.Addr {
	var clients []netip.Addr
	for _, a := range d.lab.Client.Addrs {
		if d.owner[a] == member {
			clients = append(clients, a)
		}
	}
	return clients
}

// accepted is the sum over all members.
func (d *demo) accepted(ctx context.Context) (uint64, error) {
	by, err := d.lab.Accepted(ctx)
	var sum uint64
	for _, n := range by {
		sum += n
	}
	return sum, err
}

// reason is the end of a check's sentence.
func reason(err error) string {
	if err == nil {
		return ""
	}
	return ": " + err.Error()
}
