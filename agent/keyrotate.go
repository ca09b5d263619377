package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opennlb/opennlb/converge"
)

// keysEvery is how often a coordinator looks whether all members have its keyring. Whom
// it knows to have it, it does not ask.
const keysEvery = time.Second

// rotor is a coordinator's part in rotations: it takes members from one generation of the
// keyring to the next, itself last. A step is begun only when all members that are alive,
// and all that took part when the rotation began, have the step before on their disks. So
// the generations of any two of them are neighbours, whatever dies when, and whoever
// coordinates next finishes what it finds.
type rotor struct {
	busy chan struct{} // holds one while somebody uses the rest

	public map[uint64][]byte // of members, by instance, for sealing
	seen   map[uint64]stamp  // keyring that a member has, by instance
	last   map[string]stamp  // the same by name: of members that are gone, too

	mu   sync.Mutex // guards what follows
	wait string     // what an unfinished rotation waits for
}

func newRotor() *rotor {
	return &rotor{
		busy: make(chan struct{}, 1), public: make(map[uint64][]byte),
		seen: make(map[uint64]stamp), last: make(map[string]stamp),
	}
}

// waitsFor is a sentence about an unfinished rotation, for status; "" without one.
func (r *rotor) waitsFor() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.wait
}

func (r *rotor) setWait(s string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wait = s
}

// tendKeys finishes rotations that were left unfinished, and gives the keyring to members
// that lack it, as long as this member coordinates.
func (b backend) tendKeys(ctx context.Context) error {
	if !b.l.keys.secure() {
		return nil
	}
	tick := time.NewTicker(keysEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		select {
		case b.l.rotor.busy <- struct{}{}:
			err := b.settleKeys(ctx, false)
			if err != nil && !errors.Is(err, converge.ErrNotCoordinator) && ctx.Err() == nil {
				b.l.log.Debug("look after the cluster key", "error", err)
			}
			<-b.l.rotor.busy
		default: // an administrator changes the key just now
		}
	}
}

// settleKeys gives all members this one's keyring, or takes over a higher one, and finishes
// a rotation. force goes on without members that took part and are gone. The caller
// holds rotor.busy.
func (b backend) settleKeys(ctx context.Context, force bool) error {
	err := b.trySettleKeys(ctx, force)
	wait := ""
	if err != nil && !errors.Is(err, converge.ErrNotCoordinator) && b.l.keys.current().unfinished() {
		wait = fmt.Sprintf("the change of the cluster key is not finished, and the old one is accepted until it is: %v", err)
	}
	b.l.rotor.setWait(wait)
	return err
}

func (b backend) trySettleKeys(ctx context.Context, force bool) error {
	for {
		ring := b.l.keys.current()
		if higher, err := b.bring(ctx, ring); err != nil {
			return err
		} else if higher {
			continue
		}
		if !ring.unfinished() {
			return nil
		}
		if missing := b.missing(ring); len(missing) > 0 && !force {
			return fmt.Errorf("waits for %s: start nlbd there, or go on without with nlbctl key rotate --force", strings.Join(missing, ", "))
		}
		next := ring.next()
		if higher, err := b.bring(ctx, next); err != nil {
			return err
		} else if higher {
			continue
		}
		if err := b.l.takeKeys(next); err != nil {
			return err
		}
	}
}

// missing are the members that took part when the rotation began, and are not known to
// have the present step.
func (b backend) missing(r keyring) (names []string) {
	for _, m := range r.Members {
		if m != b.l.cfg.Member.Name && b.l.rotor.last[m] != r.stamp() {
			names = append(names, m)
		}
	}
	return names
}

// bring gives all others that are alive a keyring. It ends when all have it on their disks;
// with higher when one of them had a higher one, which this member has then, too.
func (b backend) bring(ctx context.Context, r keyring) (higher bool, err error) {
	t := b.l.rotor
	for {
		peers, err := b.keyPeers(ctx)
		if err != nil {
			return false, err
		}
		var unknown, lacking []peer
		for _, p := range peers {
			switch {
			case t.public[p.Instance] == nil:
				unknown = append(unknown, p)
			case t.seen[p.Instance] != r.stamp():
				lacking = append(lacking, p)
			}
		}
		if len(unknown)+len(lacking) == 0 {
			return false, nil
		}
		higher, err := b.hear(ctx, unknown, nil)
		if err == nil && !higher {
			higher, err = b.hear(ctx, lacking, &r)
		}
		if err != nil || higher {
			return higher, err
		}
	}
}

// hear asks members how they stand, and notes it; with a keyring, it gives them that.
func (b backend) hear(ctx context.Context, peers []peer, r *keyring) (higher bool, err error) {
	t := b.l.rotor
	stands, errs := b.askKeys(ctx, peers, r)
	for _, p := range peers {
		s, ok := stands[p.Name]
		if !ok {
			delete(t.public, p.Instance) // it may be another process by now
			continue
		}
		t.public[p.Instance], t.seen[p.Instance], t.last[p.Name] = s.Public, s.Stamp, s.Stamp
		if len(s.Sealed) == 0 {
			if r != nil && s.Stamp != r.stamp() {
				errs[p.Name] = errors.New("took another cluster key than it was given: do all members run the same version of nlbd?")
			}
			continue
		}
		theirs, err := b.l.keys.sealer.open(s.Sealed, s.Public)
		if err != nil {
			return false, err
		}
		if theirs.stamp().above(b.l.keys.current().stamp()) {
			higher = true
			if err := b.l.takeKeys(theirs); err != nil {
				return false, err
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(errs)) {
		err = errors.Join(err, fmt.Errorf("%s %w", name, errs[name]))
	}
	return higher, err
}

// keyPeers are the other members that are alive, if this one is the coordinator.
func (b backend) keyPeers(ctx context.Context) (peers []peer, err error) {
	l := b.l
	err = l.do(ctx, func() error {
		if l.machine.Committed() == nil || l.machine.Coordinator().Name != l.cfg.Member.Name {
			return converge.ErrNotCoordinator
		}
		for _, p := range l.peers {
			if p.Name != l.cfg.Member.Name {
				peers = append(peers, p)
			}
		}
		return nil
	})
	for instance := range b.l.rotor.public {
		if !slices.ContainsFunc(peers, func(p peer) bool { return p.Instance == instance }) {
			delete(b.l.rotor.public, instance)
			delete(b.l.rotor.seen, instance)
		}
	}
	return peers, err
}
