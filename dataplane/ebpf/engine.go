package ebpf

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

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
	tick   time.Duration
	undos  []undo // of what Open did, in that order

	beacons <-chan converge.Beacon

	mu        sync.Mutex // guards what follows
	objects   *objects
	control   *control
	names     numbering
	installed []portrules.Rule // of the active policy
	ready     bool             // a policy has been installed
	closed    bool
}

var errClosed = errors.New("the engine is closed")

// Install compiles a policy into a new array of pages, puts that into the slot that
// no program looks at, and then points the programs to it. It may take some
// milliseconds, in which the old policy decides.
func (e *Engine) Install(p *portrules.Policy) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return errClosed
	}
	names, numbers, fresh := e.names.assign(e.installed, p.Rules)
	pages, err := compile(p, numbers)
	if err != nil {
		return fmt.Errorf("compile policy of epoch %d: %w", p.Epoch, err)
	}
	for _, number := range fresh {
		if err := e.objects.nameCounter(number, names[number]); err != nil {
			return err
		}
	}
	e.names = names

	idle := 1 - e.control.active()
	if err := e.putPolicy(idle, pages); err != nil {
		return err
	}
	e.control.activate(idle)
	e.installed = slices.Clone(p.Rules)
	e.ready = true
	return nil
}

// Renew lets the engine answer until an instant; it may stop one kernel tick (10 ms
// at most) early, never late, because the programs read a coarse clock. Before the
// first Install it has no effect: there is nothing to answer for, except in the
// policy of a dead predecessor.
func (e *Engine) Renew(until dataplane.Instant) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return errClosed
	}
	if !e.ready {
		until = 0
	}
	e.control.setLease(uint64(max(0, until.Add(-e.tick))))
	return nil
}

// Counters reads the packets counted since the engine was opened. Exits that no
// packet took are left out.
func (e *Engine) Counters() ([]dataplane.Counter, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, errClosed
	}
	return readCounters(e.objects.counters, &e.names)
}

// Kind is "xdp" where an XDP program stands in front of tc, else "tc".
func (e *Engine) Kind() string { return e.kind }

// Close silences the engine, takes its programs off the interface and removes its
// pins. From then on the kernel sees all frames: remove the VIPs from it before.
func (e *Engine) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil
	}
	e.closed = true
	e.control.setLease(0)
	return e.release()
}

// undo is how to release something that Open acquired.
type undo struct {
	run    func() error
	shared bool // outlives the process: programs on hooks, pins
}

func (e *Engine) onClose(run func() error)  { e.undos = append(e.undos, undo{run, false}) }
func (e *Engine) onDetach(run func() error) { e.undos = append(e.undos, undo{run, true}) }

// release runs the undos, last first.
func (e *Engine) release() error {
	var errs []error
	for _, u := range slices.Backward(e.undos) {
		errs = append(errs, u.run())
	}
	e.undos = nil
	return errors.Join(errs...)
}

// leave releases what belongs to this process only: the programs stay, silent.
func (e *Engine) leave() error {
	e.undos = slices.DeleteFunc(e.undos, func(u undo) bool { return u.shared })
	return e.release()
}

// objects are the programs and maps of one engine in the kernel.
type objects struct {
	collection                       *ebpf.Collection
	agent, counters, names, policies *ebpf.Map
	fragments, heard, beacons        *ebpf.Map
	page                             *ebpf.MapSpec
}

// putPolicy stores a policy in a slot, and pins it for a successor. Its pages are
// complete before a program can see any of them.
func (e *Engine) putPolicy(slot uint32, pages []page) error {
	spec := e.objects.page.Copy()
	spec.MaxEntries = uint32(len(pages))
	m, err := ebpf.NewMap(spec)
	if err != nil {
		return fmt.Errorf("create map of %d pages for policy: %w", len(pages), err)
	}
	defer m.Close() // the slot holds it
	for i := range pages {
		if err := m.Put(uint32(i), pages[i][:]); err != nil {
			return fmt.Errorf("write page of policy: %w", err)
		}
	}
	if err := e.objects.policies.Put(slot, m); err != nil {
		return fmt.Errorf("store policy: %w", err)
	}
	return e.pins.put(pinPolicy, m)
}

func (o *objects) nameCounter(number uint16, name string) error {
	return errors.Join(zeroCounter(o.counters, number), writeName(o.names, number, name))
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
