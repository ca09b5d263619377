package agent

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/converge"
)

// question is what a member asks another one; exactly one field is set.
type question struct {
	Packet   *control.ExplainRequest `json:"packet,omitempty"`
	Counters *string                 `json:"counters,omitempty"` // of this rule, "" for what no rule covers
	Trace    *control.TraceRequest   `json:"trace,omitempty"`
	Plan     *converge.Plan          `json:"plan,omitempty"`  // can the member take it?
	Saved    *converge.Stamp         `json:"saved,omitempty"` // is it in force, and on the disk?
	Keys     *keyOffer               `json:"keys,omitempty"`
}

// answer has the field set that the question had.
type answer struct {
	Part     *control.Part     `json:"part,omitempty"`
	Counters []control.Counter `json:"counters,omitempty"`
	Portion  *portion          `json:"portion,omitempty"`
	OK       bool              `json:"ok,omitempty"`
	Keys     *keyStand         `json:"keys,omitempty"`
}

// answerTo takes from the loop what an answer needs; the rest, which may take a while,
// is done by the function that it returns, outside.
func (l *loop) answerTo(q question) (func() (answer, error), error) {
	switch {
	case q.Packet != nil:
		r := *q.Packet
		if err := r.Check(); err != nil {
			return nil, err
		}
		part, nat := l.part(r), l.engine.FollowsNAT()
		return func() (answer, error) {
			look(&part, r, nat)
			return answer{Part: &part}, nil
		}, nil
	case q.Counters != nil:
		rule, engine, names := *q.Counters, l.engine, l.ruleNames()
		return func() (answer, error) {
			counters, err := engine.Counters()
			if err != nil {
				return answer{}, err
			}
			var out answer
			for _, c := range counters {
				if names[c.Rule] == rule {
					out.Counters = append(out.Counters, control.Counter{Rule: rule, Reason: c.Reason.String(), Packets: c.Packets})
				}
			}
			return out, nil
		}, nil
	case q.Trace != nil:
		r := *q.Trace
		if err := r.Check(); err != nil {
			return nil, err
		}
		names := l.ruleNames()
		return func() (answer, error) {
			p, err := l.portion(r, names)
			return answer{Portion: p}, err
		}, nil
	case q.Plan != nil:
		if err := l.canTake(q.Plan); err != nil {
			return nil, err
		}
		return func() (answer, error) { return answer{OK: true}, nil }, nil
	case q.Saved != nil:
		ok := !q.Saved.Above(l.machine.Plan().Stamp()) && l.history.has(*q.Saved)
		return func() (answer, error) { return answer{OK: ok}, nil }, nil
	case q.Keys != nil:
		offer := *q.Keys
		return func() (answer, error) {
			s, err := l.answerKeys(offer)
			return answer{Keys: &s}, err
		}, nil
	}
	return nil, errors.New("unknown question: does this member run another version?")
}

// onQuestion answers another member.
func (l *loop) onQuestion(from string, id uint64, q question) {
	finish, err := l.answerTo(q)
	if err != nil {
		l.send(from, wire{Reply: &reply{ID: id, Error: err.Error()}})
		return
	}
	go func() {
		r := reply{ID: id}
		a, err := finish()
		if err != nil {
			r.Error = err.Error()
		} else {
			r.Answer = &a
		}
		l.send(from, wire{Reply: &r})
	}()
}

// ask puts a question to one member, which may be this one.
func (b backend) ask(ctx context.Context, member string, q question) (answer, error) {
	if member != b.l.cfg.Member.Name {
		r, err := b.pass(ctx, member, command{Ask: &q})
		if err != nil {
			return answer{}, err
		}
		if r.Answer == nil {
			return answer{}, errors.New("answered nothing: does it run another version?")
		}
		return *r.Answer, nil
	}
	var finish func() (answer, error)
	err := b.l.do(ctx, func() (err error) {
		finish, err = b.l.answerTo(q)
		return err
	})
	if err != nil {
		return answer{}, err
	}
	return finish()
}

// askAll puts a question to members at once and waits for all, [answerWithin] at most.
func (b backend) askAll(ctx context.Context, members []string, q question) ([]answer, []error) {
	answers, errs := make([]answer, len(members)), make([]error, len(members))
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	var all sync.WaitGroup
	for i, m := range members {
		all.Go(func() { answers[i], errs[i] = b.ask(ctx, m, q) })
	}
	all.Wait()
	return answers, errs
}

// pass sends a command to another member and waits for its reply.
func (b backend) pass(ctx context.Context, member string, c command) (reply, error) {
	l := b.l
	replies := make(chan reply, 1)
	var forget func()
	err := l.do(ctx, func() error {
		if !slices.ContainsFunc(l.peers, func(p peer) bool { return p.Name == member }) {
			return errors.New("is not reachable: nlbd there is down or cut off")
		}
		forget = l.pass(member, c, func(r reply) { replies <- r })
		return nil
	})
	if err != nil {
		return reply{}, err
	}
	select {
	case r := <-replies:
		if r.Error != "" {
			return r, errors.New(r.Error)
		}
		return r, nil
	case <-ctx.Done():
		_ = l.do(context.Background(), func() error { forget(); return nil })
		return reply{}, errors.New("did not answer in time")
	}
}
