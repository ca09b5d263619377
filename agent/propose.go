package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/opennlb/opennlb/converge"
)

// goneFor is how long a coordinator that died counts as able to answer: what it has
// proposed may come in force by way of its successor.
const goneFor = time.Second

// errInForce and errGone end the wait for a coordinator's answer.
var (
	errInForce = errors.New("the change is in force")
	errGone    = errors.New("coordinates the cluster no more")
)

// handOver gives a plan to the coordinator, another member, and waits for its answer, for
// the plan to be in force here, or for the coordinator's end.
func (b backend) handOver(ctx context.Context, coordinator string, p *converge.Plan) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go b.watch(ctx, cancel, coordinator, p.Stamp())
	r, err := b.pass(ctx, coordinator, command{Plan: p})
	cause := context.Cause(ctx)
	switch {
	case err == nil, errors.Is(cause, errInForce):
		return nil
	case r.Error != "": // its word
		return r.cause(err)
	case errors.Is(cause, errGone):
		err = errGone
	}
	return fmt.Errorf("%s %w: the change may be made or not: nlbctl config tells which version is in force", coordinator, err)
}

// watch ends a wait for a coordinator that cannot answer, or need not any more.
func (b backend) watch(ctx context.Context, end context.CancelCauseFunc, coordinator string, s converge.Stamp) {
	for gone := (time.Time{}); ; {
		select {
		case <-time.After(askAgain):
		case <-ctx.Done():
			return
		}
		var inForce, another bool
		err := b.l.do(ctx, func() error {
			inForce = b.l.machine.Plan().Stamp() == s
			another = b.l.machine.Coordinator().Name != coordinator
			return nil
		})
		switch {
		case err != nil:
			return
		case inForce:
			end(errInForce)
			return
		case !another:
			gone = time.Time{}
		case gone.IsZero():
			gone = time.Now()
		case time.Since(gone) > goneFor:
			end(errGone)
			return
		}
	}
}
