package ebpf

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"github.com/cilium/ebpf"

	"github.com/opennlb/opennlb/converge"
	"github.com/opennlb/opennlb/dataplane"
	"github.com/opennlb/opennlb/portrules"
)

// Engine is the decision in the kernel, on one interface. Its methods may be
// called from any goroutine.
type Engine struct {
	log    *slog.Logger
	pins   pins
	device device
	kind   string
	nat    bool            // the programs know connections behind NAT
	undos  dataplane.Undos // of what Open did

	beacons <-chan converge.Beacon

	mu      sync.Mutex // guards what follows
	objects *objects
	control *control
	slots   *slots
	names   names // of rules that may have counters or clients
	active  placed
	next    placed
	closed  bool
	bared   bool // a filter is gone, and could not be put back

	stopTrace func() // nil while no trace runs
	traces    sync.WaitGroup
}

// placed is a policy that lies in a slot.
type placed struct {
	policy *portrules.Policy // nil: none
	commit converge.Epoch
	slot   uint32
}

var errClosed = errors.New("the engine is closed")

// Install writes the policies that are not there yet into slots that no program looks
// at, and then points the programs to them, see dataplane.Engine. Where now is the
// policy that was next, that is all in microseconds; a new one takes about a millisecond.
func (e *Engine) Install(now *portrules.Policy, next *dataplane.Next) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return errClosed
	}
	var err error
	active, prepared := placed{policy: now}, placed{slot: noSlot}
	switch now {
	case e.active.policy:
		active = e.active
	case e.next.policy:
		active = e.next
	default:
		if active, err = e.place(active, noSlot); err != nil {
			return err
		}
	}
	switch {
	case next == nil:
	case next.Policy == e.next.policy && next.Commit == e.next.commit:
		prepared = e.next
	default:
		if prepared, err = e.place(placed{policy: next.Policy, commit: next.Commit}, active.slot); err != nil {
			return err
		}
	}
	e.control.setSlots(active.slot, prepared.slot)
	e.active, e.next = active, prepared
	return e.retire()
}

// place writes a policy into a slot other than except.
func (e *Engine) place(p placed, except uint32) (placed, error) {
	pages, err := compile(p.policy, p.commit)
	if err != nil {
		return p, fmt.Errorf("compile policy of epoch %d: %w", p.policy.Epoch, err)
	}
	if err := e.nameRules(p.policy.Rules); err != nil {
		return p, err
	}
	p.slot, err = e.slots.write(pages, except)
	return p, err
}

func (p placed) rules() []portrules.Rule {
	if p.policy == nil {
		return nil
	}
	return p.policy.Rules
}

// Renew lets the engine answer until an instant. Before the first Install it has no
// effect: there is nothing to answer for, except in the policy of a dead predecessor.
func (e *Engine) Renew(until dataplane.Instant) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return errClosed
	}
	if e.active.policy == nil {
		until = 0
	}
	e.control.setLease(uint64(max(0, until)))
	return nil
}

// Counters reads the packets counted since the engine was opened, under the rules that
// there still are. Exits that no packet took are left out.
func (e *Engine) Counters() ([]dataplane.Counter, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, errClosed
	}
	return readCounters(e.objects.counters, e.names.counted())
}

// Kind is "xdp" where an XDP program stands in front of tc, else "tc".
func (e *Engine) Kind() string { return e.kind }

// FollowsNAT reports whether the programs know connections behind NAT: see Forwarded.
func (e *Engine) FollowsNAT() bool { return e.nat }

// Close silences the engine, takes its programs off the interface and removes its
// pins. From then on the kernel sees all frames: remove the VIPs from it before.
func (e *Engine) Close() error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil
	}
	e.closed = true
	e.control.setLease(0)
	if e.stopTrace != nil {
		e.stopTrace()
	}
	e.mu.Unlock()
	e.traces.Wait() // it needs the lock to end
	return e.undos.Release()
}

// objects are the programs and maps of one engine in the kernel.
type objects struct {
	collection                       *ebpf.Collection
	agent, counters, names, policies *ebpf.Map
	fragments, heard, clients        *ebpf.Map
	beacons, rejected                *ebpf.Map
	tracing, traces                  *ebpf.Map
	page                             *ebpf.MapSpec
}

func (o *objects) close() error {
	o.collection.Close()
	return nil
}

// hint tells the operator what to do about a missing permission. A program that the
// verifier rejects looks like one.
func hint(err error) error {
	var rejected *ebpf.VerifierError
	if errors.Is(err, os.ErrPermission) && !errors.As(err, &rejected) {
		return fmt.Errorf("%w: needs CAP_NET_ADMIN, CAP_BPF and CAP_PERFMON: run as root", err)
	}
	return err
}
