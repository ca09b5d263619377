package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/converge"
)

// answerWithin is how long a command to another member may take.
const answerWithin = 3 * time.Second

// A command that comes within staleFor after this process stood still for half of answerWithin
// may have waited all the time: its sender has given up, and told so.
const staleFor = time.Second

var errStale = errors.New("stood still until just now: ask again")

// advance takes the time of a step.
func (l *loop) advance(now moment) {
	if !l.now.wall.IsZero() && now.wall.Sub(l.now.wall) > answerWithin/2 {
		l.stood = now.wall
	}
	l.now = now
}

// stale reports whether a command that comes now may be an old one.
func (l *loop) stale() bool { return !l.stood.IsZero() && l.now.wall.Sub(l.stood) < staleFor }

// nextState is the state that an action leads to.
func nextState(state converge.State, action string) (converge.State, error) {
	if state == converge.Suspended && action != control.Resume && action != control.Suspend {
		return 0, errors.New("is suspended: resume it first")
	}
	switch action {
	case control.Start:
		return converge.Started, nil
	case control.Stop:
		return converge.Stopped, nil
	case control.Suspend:
		return converge.Suspended, nil
	case control.Drain:
		if state == converge.Stopped {
			return 0, errors.New("is stopped: there is nothing to drain")
		}
		return converge.Draining, nil
	case control.Resume:
		if state != converge.Suspended {
			return 0, fmt.Errorf("is %s, not suspended: nothing to resume", state)
		}
		return converge.Stopped, nil
	}
	return 0, fmt.Errorf("unknown action %q: does this member run another version?", action)
}

// act changes this member's state as an administrator asked. kept tells when that is
// retained for the next start, if it is to be, and comes after the change.
func (l *loop) act(c command) (done changed, kept <-chan error, err error) {
	if l.leaving {
		return changed{}, nil, errors.New("nlbd is stopping")
	}
	before := l.machine.Self().State
	next, err := nextState(before, c.Action)
	if err != nil {
		return changed{}, nil, err
	}
	l.drain = drain{}
	l.leftKnown = l.leftKnown && next == before
	if c.Action == control.Drain && c.Timeout > 0 {
		l.drain.deadline = l.now.wall.Add(time.Duration(c.Timeout))
	}
	l.eventBy(converge.Event{Kind: "command", Text: c.Action + " by an administrator", Member: l.cfg.Member.Name}, c.By)
	l.tellAsker(next != before, c.By)
	if err := l.changeState(next); err != nil {
		return changed{}, nil, err
	}
	return changed{before.String(), next.String()}, l.retain(next), nil
}

// carryOut does what a command asks of this member.
func (l *loop) carryOut(c command) (done changed, kept <-chan error, err error) {
	if c.Rule != nil {
		return l.setRule(*c.Rule, c.By)
	}
	return l.act(c)
}

// Causes of errors that the asker can act on.
const (
	causeConflict       = "conflict"
	causeNotCoordinator = "not coordinator"
)

func (r *reply) fail(err error) {
	if err == nil {
		return
	}
	r.Error = err.Error()
	switch {
	case errors.Is(err, converge.ErrConflict):
		r.Cause = causeConflict
	case errors.Is(err, converge.ErrNotCoordinator):
		r.Cause = causeNotCoordinator
	}
}

// cause gives err, which is that of a reply, the sentinel that it had at its sender.
func (r *reply) cause(err error) error {
	switch {
	case err == nil:
		return nil
	case r.Cause == causeConflict:
		return said{err, converge.ErrConflict}
	case r.Cause == causeNotCoordinator:
		return said{err, converge.ErrNotCoordinator}
	}
	return err
}

// said is an error that another member told.
type said struct {
	error
	cause error
}

func (s said) Unwrap() error { return s.cause }

// changed is a value before and after a command.
type changed struct {
	Old string `json:"old,omitempty"`
	New string `json:"new,omitempty"`
}

// onCommand carries out what another member passed on.
func (l *loop) onCommand(from string, c command) error {
	if c.Ask != nil {
		l.onQuestion(from, c.ID, *c.Ask)
		return nil
	}
	answer := func(done changed, err error) {
		r := reply{ID: c.ID, changed: done}
		r.fail(err)
		l.send(from, wire{Reply: &r})
	}
	if l.stale() {
		err := errStale
		if c.Plan != nil { // no result of a member, which is told with its name
			err = fmt.Errorf("nothing was changed: %s %w", l.cfg.Member.Name, errStale)
		}
		answer(changed{}, err)
		return nil
	}
	if c.Plan != nil {
		return l.beginChange(c.Plan, func(err error) { answer(changed{}, err) })
	}
	if c.Rotate != nil {
		l.onRotate(c, answer)
		return nil
	}
	done, kept, err := l.carryOut(c)
	if err != nil {
		answer(done, err)
		return nil
	}
	go func() { answer(done, <-kept) }()
	return nil
}

func (l *loop) onReply(r reply) {
	done, ok := l.waiting[r.ID]
	if !ok {
		return // too late
	}
	delete(l.waiting, r.ID)
	done(r)
}

// pass sends a command to a live member; done gets its answer in the loop.
func (l *loop) pass(member string, c command, done func(reply)) (cancel func()) {
	l.commandID++
	id := l.commandID
	c.ID = id
	l.waiting[id] = done
	l.send(member, wire{Command: &c})
	return func() { delete(l.waiting, id) }
}

// SetState implements control.Backend.
func (b backend) SetState(ctx context.Context, r control.StateRequest) ([]control.Result, error) {
	return b.command(ctx, r.Members, r.All, command{Action: r.Action, Timeout: r.Timeout, By: b.asker(ctx)})
}

// command has members carry out a command, all at once. Neither members nor all means
// this one.
func (b backend) command(ctx context.Context, members []string, all bool, c command) ([]control.Result, error) {
	members, err := b.targets(ctx, members, all)
	if err != nil {
		return nil, err
	}
	results := make([]control.Result, len(members))
	answers := make(chan int, len(members))
	for i, m := range members {
		go func() {
			done, err := b.commandOne(ctx, m, c)
			results[i] = control.Result{Member: m, OK: err == nil, Old: done.Old, New: done.New}
			if err != nil {
				results[i].Error = err.Error()
			}
			answers <- i
		}()
	}
	for range members {
		<-answers
	}
	return results, nil
}

// targets are the members that a request means.
func (b backend) targets(ctx context.Context, named []string, all bool) (members []string, err error) {
	err = b.l.do(ctx, func() error {
		switch {
		case all:
			for _, m := range b.l.members() { // those that cannot be reached, too: the answer names them
				members = append(members, m.Name)
			}
		case len(named) == 0:
			members = []string{b.l.cfg.Member.Name}
		default:
			members = named
		}
		for _, m := range members {
			if _, ok := b.l.known[m]; !ok {
				return control.Refuse("no member is called %s: see nlbctl status", m)
			}
		}
		return nil
	})
	return members, err
}

func (b backend) commandOne(ctx context.Context, member string, c command) (done changed, err error) {
	l := b.l
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	if member == l.cfg.Member.Name {
		var kept <-chan error
		err := l.do(ctx, func() (err error) {
			if l.stale() {
				return errStale
			}
			done, kept, err = l.carryOut(c)
			return err
		})
		if err != nil {
			return done, err
		}
		select {
		case err := <-kept:
			return done, err
		case <-ctx.Done():
			return done, errors.New("is done, but state_dir takes its time: a restart may forget it")
		}
	}
	r, err := b.pass(ctx, member, c)
	return r.changed, err
}
