package agent

import (
	"context"
	"strings"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/converge"
)

// maxAsker bounds, in bytes, what another member says of who asked it.
const maxAsker = 128

// told says who asked the sender for the change with which it came to a version of
// its [converge.Info].
type told struct {
	Version uint64 `json:"version"`
	By      string `json:"by"`
}

// event tells of something that happened now.
func (l *loop) event(e converge.Event) { l.eventBy(e, "") }

// eventBy is event for what somebody asked for.
func (l *loop) eventBy(e converge.Event, by string) {
	l.publish(control.Event{
		Kind: e.Kind, Message: e.Text, Member: e.Member, Epoch: e.Epoch, Duration: control.Duration(e.Took), By: by,
	})
}

// publish logs and keeps an event. It is of now, and of the epoch in force if it names none.
func (l *loop) publish(e control.Event) {
	if a := l.machine.Committed(); e.Epoch == 0 && a != nil {
		e.Epoch = a.Epoch.N
	}
	e.Time = l.now.wall
	attrs := []any{"event", e.Kind, "epoch", e.Epoch}
	for _, a := range []struct{ key, value string }{{"about", e.Member}, {"cause", e.Cause}, {"by", e.By}} {
		if a.value != "" {
			attrs = append(attrs, a.key, a.value)
		}
	}
	if e.Buckets > 0 {
		attrs = append(attrs, "buckets", e.Buckets)
	}
	l.log.Info(e.Message, attrs...)
	l.notify(l.events.Add(e))
}

// tell publishes what the machine has to tell. A convergence is told with what caused it
// and which buckets it moved, by comparing the view with the one told of before.
func (l *loop) tell(events []converge.Event) {
	before, after := l.view, view{l.machine.Committed()}
	l.view = after
	for _, e := range events {
		if e.Kind == "state" || e.Kind == "join" || e.Kind == "leave" {
			delete(l.reports, e.Member) // of connections left in a drain before
		}
		if e.Kind != "converged" || after.assignment == nil {
			l.event(e)
			continue
		}
		c := control.Event{Kind: e.Kind, Message: e.Text, Epoch: e.Epoch, Duration: control.Duration(e.Took)}
		c.Cause, c.By = l.cause(before, after)
		c.Moved, c.Buckets = moves(before, after)
		l.publish(c)
	}
	if name := after.defaultHost(); name != "" && name != before.defaultHost() {
		l.event(converge.Event{Kind: "default host", Text: name + " is the default host", Member: name})
	}
}

// tellAsker lets the others know who asks for the change of this member that comes next,
// if one comes, before they hear of it. It is for their events only, and may be lost.
func (l *loop) tellAsker(changes bool, by string) {
	if !changes {
		return
	}
	self := l.machine.Self()
	t := told{self.Version + 1, by}
	l.askers[self.Name] = t
	for _, p := range l.peers {
		if p.Name != self.Name {
			l.send(p.Name, wire{Told: &t})
		}
	}
}

func (l *loop) onTold(from string, t told) {
	t.By = strings.ToValidUTF8(t.By[:min(len(t.By), maxAsker)], "")
	l.askers[from] = t
}

// asker says who asks, and at which member.
func (b backend) asker(ctx context.Context) string {
	who := control.CallerOf(ctx).Who()
	if who == "" {
		who = "somebody"
	}
	return who + " at " + b.l.cfg.Member.Name
}
