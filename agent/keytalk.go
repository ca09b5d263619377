package agent

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/opennlb/opennlb/converge"
)

// keyOffer is what the coordinator asks about the cluster key: how do you stand? With
// Sealed it is a step to take.
type keyOffer struct {
	Stamp  stamp  `json:"stamp"`  // of the coordinator's keyring
	Public []byte `json:"public"` // for what is sealed
	Sealed []byte `json:"sealed,omitempty"`
}

// keyStand answers with the member's keyring, which is on its disk.
type keyStand struct {
	Stamp  stamp  `json:"stamp"`
	Public []byte `json:"public"`
	Sealed []byte `json:"sealed,omitempty"` // if it is above that of who asks
	Waits  string `json:"waits,omitempty"`  // for what, of an unfinished rotation; only a coordinator says so
}

// answerKeys is an answer to an offer. It waits for the disk.
func (l *loop) answerKeys(o keyOffer) (keyStand, error) {
	k := l.keys
	if !k.secure() {
		return keyStand{}, errInsecure
	}
	if len(o.Sealed) > 0 {
		r, err := k.sealer.open(o.Sealed, o.Public)
		if err != nil {
			return keyStand{}, err
		}
		if err := l.takeKeys(r); err != nil {
			return keyStand{}, err
		}
	}
	now := k.current()
	s := keyStand{Stamp: now.stamp(), Public: k.sealer.public(), Waits: l.rotor.waitsFor()}
	if now.stamp().above(o.Stamp) {
		var err error
		if s.Sealed, err = k.sealer.seal(now, o.Public); err != nil {
			return keyStand{}, err
		}
	}
	return s, nil
}

// takeKeys takes a step of a rotation, or several at once, and tells of it.
func (l *loop) takeKeys(r keyring) error {
	now, changed, err := l.keys.take(r)
	if err != nil || !changed {
		return err
	}
	text := "the cluster key was changed: the old one is refused from now on"
	switch now.Generation % 3 {
	case 1:
		text = "the cluster key is being changed: the new one is understood, too"
	case 2:
		text = "the cluster key is being changed: the new one is spoken"
	}
	e := converge.Event{Kind: "key", Text: fmt.Sprintf("%s (generation %d, fingerprint %s)", text, now.Generation, fingerprint(now.Keys[0]))}
	go func() { // the loop may be busy, or over
		_ = l.do(context.Background(), func() error { l.eventBy(e, clipAsker(now.By)); return nil })
	}()
	return nil
}

func clipAsker(by string) string { return strings.ToValidUTF8(by[:min(len(by), maxAsker)], "") }

// askKeys puts an offer to members at once, a keyring sealed for each if r is one. It
// returns what they answered, by name, and what kept others from it.
func (b backend) askKeys(ctx context.Context, peers []peer, r *keyring) (map[string]keyStand, map[string]error) {
	k := b.l.keys
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	stands, errs := make(map[string]keyStand), make(map[string]error)
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, p := range peers {
		o := keyOffer{Stamp: k.current().stamp(), Public: k.sealer.public()}
		var err error
		if r != nil {
			o.Sealed, err = k.sealer.seal(*r, b.l.rotor.public[p.Instance])
		}
		all.Go(func() {
			var a answer
			if err == nil {
				a, err = b.ask(ctx, p.Name, question{Keys: &o})
			}
			if err == nil && a.Keys == nil {
				err = fmt.Errorf("does not know how to change the cluster key: do all members run the same version of nlbd?")
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs[p.Name] = err
				return
			}
			stands[p.Name] = *a.Keys
		})
	}
	all.Wait()
	return stands, errs
}
