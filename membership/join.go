package membership

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

// enter makes this member one of the cluster, or its first. It returns an
// error when the cluster is there and will not have it.
func (m *Membership) enter(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, m.timing.Settle)
	defer cancel()
	var holder claim
	for round := 1; ; round++ {
		reached, err := m.introduce(ctx)
		if reached == 0 && (errors.Is(err, ErrWrongKey) || errors.Is(err, ErrWrongDetection) || errors.Is(err, ErrWrongCluster) && round >= 3) {
			return err
		}
		rival, found := m.roster.takeAgainst()
		if found {
			holder = rival
			if m.answers(ctx, rival) {
				return &DuplicateError{Self: m.opts.Self, Holder: rival.Peer}
			}
			m.log.Info("waiting for a silent member to be declared dead", "name", rival.Name, "address", rival.Address)
		} else if !errors.Is(err, ErrWrongCluster) || reached > 0 {
			m.log.Info("membership started", "reached", reached, "alone", reached == 0)
			return nil
		}
		select {
		case <-ctx.Done():
			if found {
				return &DuplicateError{Self: m.opts.Self, Holder: holder.Peer}
			}
			return errors.Join(ctx.Err(), err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// introduce exchanges states with the join addresses, then with all members
// that these know, so that all know this member when it returns. It returns
// how many were reached, and the errors of the others.
func (m *Membership) introduce(ctx context.Context) (int, error) {
	done := make(map[netip.AddrPort]bool)
	reached := 0
	var failed []error
	for targets := m.joinAddresses(); len(targets) > 0; {
		ok, err := m.contact(ctx, targets)
		reached += len(ok)
		failed = append(failed, err)
		for _, a := range targets {
			done[a] = true
		}
		targets = targets[:0]
		for a := range m.roster.endpoints() {
			if !done[a] {
				targets = append(targets, a)
			}
		}
	}
	return reached, errors.Join(failed...)
}

func (m *Membership) joinAddresses() []netip.AddrPort {
	self := m.roster.me().endpoint()
	var out []netip.AddrPort
	for _, a := range m.opts.Join {
		if ap := netip.AddrPortFrom(a.Unmap(), self.Port()); ap != self {
			out = append(out, ap)
		}
	}
	return out
}

// contact exchanges states with all addresses, a few at a time, and returns
// those that answered and the errors of the others.
func (m *Membership) contact(ctx context.Context, addrs []netip.AddrPort) ([]netip.AddrPort, error) {
	var (
		mu     sync.Mutex
		wg     sync.WaitGroup
		ok     []netip.AddrPort
		failed []error
		slots  = make(chan struct{}, 8)
	)
	for _, a := range addrs {
		slots <- struct{}{}
		if ctx.Err() != nil {
			break
		}
		wg.Go(func() {
			defer func() { <-slots }()
			_, err := m.list.Join([]string{a.String()})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = append(failed, explainJoin(a, err))
				return
			}
			ok = append(ok, a)
		})
	}
	wg.Wait()
	return ok, errors.Join(failed...)
}

// rejoin looks for members that are not alive until ctx is over, so that boot
// order does not matter and partitions heal by themselves.
func (m *Membership) rejoin(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(m.timing.Rejoin*3/4 + rand.N(m.timing.Rejoin/2)):
			m.lookAround(ctx)
		}
	}
}

// lookAround contacts up to 16 addresses, by lot, where a member is expected
// or was once seen and none is alive now.
func (m *Membership) lookAround(ctx context.Context) {
	answered, err := m.contact(ctx, m.absent(append(m.joinAddresses(), m.roster.missing()...)))
	if err != nil {
		m.log.Debug("look for absent members", "error", err)
		refused := errors.Is(err, ErrWrongKey) || errors.Is(err, ErrWrongCluster) || errors.Is(err, ErrWrongDetection)
		if refused && m.every.allow("rejoin") {
			m.log.Warn("a host that should be a member does not take this one", "error", err)
		}
	}
	// Two that hold each other for dead learn so in the first exchange and
	// object; only the second carries the objection.
	_, _ = m.contact(ctx, m.absent(answered))
}

// absent picks up to 16 of the addresses, those of live members and repeated
// ones left out.
func (m *Membership) absent(addrs []netip.AddrPort) []netip.AddrPort {
	skip := m.roster.endpoints()
	skip[m.roster.me().endpoint()] = true
	var out []netip.AddrPort
	for _, a := range addrs {
		if !skip[a] {
			skip[a] = true
			out = append(out, a)
		}
	}
	rand.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out[:min(len(out), 16)]
}
