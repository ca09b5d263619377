package main

import (
	"context"
)

const heldOpen = 60 // connections while the member joins

// rejoin starts the crashed member again while connections are open.
func (d *demo) rejoin(ctx context.Context) error {
	member := d.lab.Members[0]
	d.step(member.Name+" comes back while connections are open",
		"A joining server takes new clients over, but connections that are open stay with the server that has them.")
	clients := d.lab.Client.Addrs
	var open []*session
	for i := range min(heldOpen, len(clients)) {
		s, err := d.open(ctx, clients[i*len(clients)/heldOpen])
		if err != nil {
			return err
		}
		defer s.close()
		open = append(open, s)
	}
	if err := member.Start(); err != nil {
		return err
	}
	took, err := d.converged(ctx, len(d.lab.Members))
	if err != nil {
		return err
	}
	n, failed := works(open)
	got, lost := d.ask(ctx, 1)
	d.owner = got.owners()
	d.bars(d.byMember("clients"))
	moved := 0
	for _, s := range open {
		if d.owner[s.client] == member.Name {
			moved++
		}
	}
	d.say("converged %.1f s after the start, epoch %d", took.Seconds(), d.status.Epoch)
	d.check(n == len(open), "%d of %d open connections go on, though %d of their clients belong to %s now%s",
		n, len(open), moved, member.Name, reason(failed))
	low, high := shares(d.status, "web")
	d.check(lost == nil && high-low <= 1, "shares are equal again: %s buckets each%s", between(low, high), reason(lost))
	return ctx.Err()
}
