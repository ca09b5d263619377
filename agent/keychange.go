package agent

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/converge"
)

// rotateWithin bounds a rotation that an administrator waits for; it takes some disk
// writes of each member.
const rotateWithin = 12 * time.Second

// rotation asks the coordinator to change the cluster key.
type rotation struct {
	Force bool `json:"force,omitempty"`
}

// RotateKey implements control.Backend: the coordinator does it, who may be another one by
// the time it is asked.
func (b backend) RotateKey(ctx context.Context, r control.KeyRequest) (control.KeyResult, error) {
	if !b.l.keys.secure() {
		return control.KeyResult{}, control.Refuse("%v", errInsecure)
	}
	ctx, cancel := context.WithTimeout(ctx, rotateWithin)
	defer cancel()
	by := b.asker(ctx)
	for {
		var coordinator string
		err := b.l.do(ctx, func() error {
			if b.l.machine.Committed() == nil {
				return &control.Error{Status: 503, Message: b.l.cfg.Member.Name + " is in no cluster at present: " + b.l.outside()}
			}
			coordinator = b.l.machine.Coordinator().Name
			return nil
		})
		if err != nil {
			return control.KeyResult{}, err
		}
		var done changed
		if coordinator == b.l.cfg.Member.Name {
			done, err = b.rotate(ctx, r.Force, by)
		} else {
			done, err = b.passRotation(ctx, coordinator, command{Rotate: &rotation{r.Force}, By: by})
		}
		switch {
		case err == nil:
			return control.KeyResult{Old: done.Old, New: done.New}, nil
		case errors.Is(err, converge.ErrConflict):
			return control.KeyResult{}, conflict409("%v", err)
		case !errors.Is(err, converge.ErrNotCoordinator):
			return control.KeyResult{}, err
		}
		select {
		case <-time.After(askAgain):
		case <-ctx.Done():
			return control.KeyResult{}, errors.New("the members are changing their view all the time: see nlbctl key status, and try again")
		}
	}
}

// passRotation waits for the coordinator as long as it is alive.
func (b backend) passRotation(ctx context.Context, coordinator string, c command) (changed, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		for ctx.Err() == nil {
			_ = b.l.do(ctx, func() error {
				if !slices.ContainsFunc(b.l.peers, func(p peer) bool { return p.Name == coordinator }) {
					cancel(errors.New("died while it changed the cluster key: see nlbctl key status; what was begun is finished as soon as that is possible"))
				}
				return nil
			})
			select {
			case <-time.After(askAgain):
			case <-ctx.Done():
			case <-b.l.done:
				return
			}
		}
	}()
	answer, err := b.pass(ctx, coordinator, c)
	if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(cause, context.DeadlineExceeded) {
		err = cause
	}
	if err != nil {
		err = fmt.Errorf("%s, which coordinates: %w", coordinator, err)
	}
	return answer.changed, answer.cause(err)
}

// onRotate is RotateKey at the coordinator, asked by another member.
func (l *loop) onRotate(c command, answer func(changed, error)) {
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), rotateWithin)
		defer cancel()
		answer(backend{l}.rotate(ctx, c.Rotate.Force, clipAsker(c.By)))
	}()
}

// rotate changes the key, as coordinator. Errors that are a [converge.ErrConflict] mean that
// nothing was begun.
func (b backend) rotate(ctx context.Context, force bool, by string) (done changed, err error) {
	l := b.l
	if !l.keys.secure() {
		return changed{}, errInsecure
	}
	select {
	case l.rotor.busy <- struct{}{}:
		defer func() { <-l.rotor.busy }()
	case <-time.After(answerWithin): // to look after the keys takes less, a rotation may take more
		return changed{}, fmt.Errorf("%w: the cluster key is being changed just now", errKeyConflict)
	}
	ring := l.keys.current()
	if ring.unfinished() && !force {
		return changed{}, fmt.Errorf("%w: a change of the cluster key is under way: see nlbctl key status for what it waits; --force goes on without members that are gone", errKeyConflict)
	}
	done = changed{Old: fingerprint(ring.Keys[0])}
	if !ring.unfinished() {
		if ring, err = b.beginRotation(ctx, force, by); err != nil {
			return changed{}, err
		}
	}
	if err = b.settleKeys(ctx, force); err != nil {
		return changed{}, fmt.Errorf("the change of the cluster key has begun, and is finished as soon as that is possible: %v", err)
	}
	done.New = fingerprint(l.keys.key())
	return done, nil
}

// errKeyConflict is a [converge.ErrConflict] in words about keys.
var errKeyConflict error = said{errors.New("nothing was changed"), converge.ErrConflict}

// beginRotation takes the first step, when all have the present keyring.
func (b backend) beginRotation(ctx context.Context, force bool, by string) (keyring, error) {
	l := b.l
	if err := b.settleKeys(ctx, false); errors.Is(err, converge.ErrNotCoordinator) {
		return keyring{}, err
	} else if err != nil {
		return keyring{}, fmt.Errorf("%w: %v", errKeyConflict, err)
	}
	var members, gone []string
	err := l.do(ctx, func() error {
		for name := range l.known {
			if slices.ContainsFunc(l.peers, func(p peer) bool { return p.Name == name }) {
				members = append(members, name)
			} else {
				gone = append(gone, name)
			}
		}
		for _, a := range l.cfg.Membership.Join { // what a restart does not forget
			seen := slices.ContainsFunc(slices.Collect(maps.Values(l.known)), func(p peer) bool { return p.Address == a.Unmap() })
			if !seen && a.Unmap() != l.cfg.Member.Address {
				gone = append(gone, fmt.Sprintf("the member at %s (membership.join)", a))
			}
		}
		return nil
	})
	if err != nil {
		return keyring{}, err
	}
	slices.Sort(gone)
	if len(gone) > 0 && !force {
		return keyring{}, fmt.Errorf("%w: %s %s down and would need the new key by hand: start nlbd there first, or --force", errKeyConflict,
			strings.Join(gone, ", "), isAre(len(gone)))
	}
	slices.Sort(members)
	first := l.keys.current().begin(members, by)
	for {
		higher, err := b.bring(ctx, first)
		if err != nil {
			return keyring{}, fmt.Errorf("the change of the cluster key has begun, and is finished as soon as that is possible: %v", err)
		}
		if !higher {
			break
		}
		if l.keys.current().stamp().above(first.stamp()) || l.keys.current().stamp() == first.stamp() {
			return l.keys.current(), nil // somebody else has begun another one, which counts
		}
	}
	return first, l.takeKeys(first)
}

func isAre(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

// KeyStatus implements control.Backend.
func (b backend) KeyStatus(ctx context.Context) (control.KeyStatus, error) {
	l := b.l
	if !l.keys.secure() {
		return control.KeyStatus{}, control.Refuse("%v", errInsecure)
	}
	var peers []peer
	if err := l.do(ctx, func() error { peers = slices.Clone(l.peers); return nil }); err != nil {
		return control.KeyStatus{}, err
	}
	own := l.keys.current()
	s := control.KeyStatus{
		Generation: own.Generation, Fingerprint: fingerprint(own.Keys[0]), UnderWay: own.unfinished(),
		FileIsCurrent: fingerprint(l.keys.file) == fingerprint(own.Keys[0]), By: own.By, Waits: l.rotor.waitsFor(), Members: []control.KeyMember{},
	}
	others := slices.DeleteFunc(slices.Clone(peers), func(p peer) bool { return p.Name == l.cfg.Member.Name })
	stands, errs := b.askKeys(ctx, others, nil)
	for _, p := range peers {
		m := control.KeyMember{Member: p.Name}
		stand, ok := stands[p.Name]
		switch {
		case p.Name == l.cfg.Member.Name:
			m.Generation, m.Keys = own.Generation, strings.Fields(own.stamp().Fingerprints)
		case ok:
			m.Generation, m.Keys = stand.Stamp.Generation, strings.Fields(stand.Stamp.Fingerprints)
			s.Waits = cmp.Or(s.Waits, stand.Waits)
		default:
			m.Error = errs[p.Name].Error()
		}
		s.UnderWay = s.UnderWay || len(m.Keys) > 1
		s.Members = append(s.Members, m)
	}
	return s, nil
}

// ShowKey implements control.Backend.
func (b backend) ShowKey(context.Context) (control.KeyShown, error) {
	if !b.l.keys.secure() {
		return control.KeyShown{}, control.Refuse("%v", errInsecure)
	}
	r := b.l.keys.current()
	return control.KeyShown{
		Key: base64.StdEncoding.EncodeToString(r.Keys[0]), Fingerprint: fingerprint(r.Keys[0]), UnderWay: r.unfinished(),
	}, nil
}
