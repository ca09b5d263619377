package agent

import (
	"errors"
	"fmt"
	"time"

	"github.com/opennlb/opennlb/converge"
)

const (
	agreeWithin = 10 * time.Second       // on a change of the configuration; a mute member is given up sooner
	keepWithin  = 3 * time.Second        // every member has it on its disk
	askAgain    = 100 * time.Millisecond // until then, and for a coordinator
)

// change is a change of the configuration that this member, as coordinator, has proposed.
type change struct {
	stamp    converge.Stamp
	deadline time.Time
	done     func(error) // nil: none is under way
}

// beginChange proposes a plan; done is called in the loop when it is in force, or is not
// to be.
func (l *loop) beginChange(p *converge.Plan, done func(error)) error {
	if l.change.done != nil {
		done(fmt.Errorf("%w: another one is under way", converge.ErrConflict))
		return nil
	}
	out, err := l.machine.SetPlan(l.now.wall, p)
	if err != nil {
		done(err)
		return l.apply(out)
	}
	l.change = change{p.Stamp(), l.now.wall.Add(agreeWithin), done}
	return l.apply(out)
}

// concludeChange tells what became of a change, once that is known.
func (l *loop) concludeChange() {
	c := l.change
	if c.done == nil {
		return
	}
	pending, refusal := l.machine.Asked(c.stamp)
	var err error
	switch {
	case l.machine.Plan().Stamp() == c.stamp:
	case refusal != "":
		err = errors.New(refusal)
	case !pending:
		err = fmt.Errorf("%s coordinates the cluster no more: nlbctl config tells which version is in force", l.cfg.Member.Name)
	case l.now.wall.After(c.deadline):
		err = fmt.Errorf("the members did not agree within %s: nlbctl config tells which version is in force", agreeWithin)
	default:
		return
	}
	l.change = change{}
	c.done(err)
}
