package main

import (
	"context"
	"fmt"
	"time"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/lab"
)

// drain empties a member for maintenance while one of its clients is connected.
func (d *demo) drain(ctx context.Context) error {
	member := d.lab.Members[1]
	d.step("Maintenance: drain "+member.Name,
		"It gets no new connections and keeps those it has; it stops by itself when the last one is closed.")
	clients := d.clientsOf(member.Name)
	if len(clients) == 0 {
		return fmt.Errorf("drain: %s has no clients", member.Name)
	}
	s, err := d.open(ctx, clients[0])
	if err != nil {
		return err
	}
	defer s.close()
	d.say("client %s has a connection open to %s", s.client, s.member)
	results, err := member.Control().SetState(ctx, control.StateRequest{Action: control.Drain})
	if err != nil {
		return err
	}
	for _, r := range results {
		if !r.OK {
			return fmt.Errorf("drain %s: %s", r.Member, r.Error)
		}
	}
	if err := d.until(ctx, member, "draining"); err != nil {
		return err
	}
	got, failed := d.ask(ctx, 1)
	d.owner = got.owners()
	d.bars(d.byMember("clients"))
	d.check(failed == nil && len(d.clientsOf(member.Name)) == 0, "no new connection reaches %s%s", member.Name, reason(failed))
	n, broken := works([]*session{s})
	d.check(n == 1 && s.member == member.Name, "the open connection goes on; new ones of the same client reach %s%s", d.owner[s.client], reason(broken))
	if err := d.counted(ctx, member); err != nil {
		return err
	}
	d.check(stateOf(d.status, member.Name).Connections == 1, "%s is draining, %d connection left", member.Name, stateOf(d.status, member.Name).Connections)
	s.close()
	begin := time.Now()
	err = d.until(ctx, member, "stopped")
	d.check(err == nil, "the client closed it, and %s stopped by itself %.1f s later%s", member.Name, time.Since(begin).Seconds(), reason(err))
	return ctx.Err()
}

// counted waits until a draining member has counted its connections.
func (d *demo) counted(ctx context.Context, member *lab.Member) error {
	ctx, cancel := context.WithTimeout(ctx, drainLimit)
	defer cancel()
	var err error
	d.status, err = d.lab.WaitStatus(ctx, "wait until "+member.Name+" has counted its connections", func(s control.Status) bool {
		return stateOf(s, member.Name).Connections > 0
	})
	return err
}

// until waits until all members agree that one is in a state.
func (d *demo) until(ctx context.Context, member *lab.Member, state string) error {
	ctx, cancel := context.WithTimeout(ctx, drainLimit)
	defer cancel()
	var err error
	d.status, err = d.lab.WaitStatus(ctx, "wait until "+member.Name+" is "+state, func(s control.Status) bool {
		return s.Converged && stateOf(s, member.Name).State == state
	})
	return err
}

func stateOf(s control.Status, member string) control.Member {
	for _, m := range s.Members {
		if m.Name == member {
			return m
		}
	}
	return control.Member{}
}
