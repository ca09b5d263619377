package afpacket

import (
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/opennlb/opennlb/converge"
	"github.com/opennlb/opennlb/dataplane"
	"github.com/opennlb/opennlb/nlbhash"
	"github.com/opennlb/opennlb/portrules"
)

// Engine judges the frames of one interface in this process. Its methods may be
// called from any goroutine.
type Engine struct {
	log   *slog.Logger
	judge *judge
	undos dataplane.Undos // of what Open did

	mu     sync.Mutex // guards what follows
	guard  *guard
	ring   *ring
	vips   []netip.Addr // of the policy in force
	closed bool
	bared  bool // the guard is gone, and could not be restored

	now      func() dataplane.Instant // these belong to the goroutine that reads the ring
	injector *injector
	rejecter *rejecter
	taken    int
	lost     losses
}

var errClosed = errors.New("the engine is closed")

// Install puts a policy in force for all frames that arrive from now on. Frames that
// wait in the ring are judged by the policy of their time. What is next needs no
// preparation, and no beacon switches to it: that is the agent's part here.
func (e *Engine) Install(p *portrules.Policy, next *dataplane.Next) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return errClosed
	}
	if err := p.CheckIDs(); err != nil {
		return err
	}
	var following *portrules.Policy
	if next != nil {
		following = next.Policy
	}
	same := e.vips != nil && slices.Equal(p.VIPs, e.vips)
	if !same { // first keep new VIPs from the kernel
		if err := e.guard.add(p.VIPs); err != nil {
			return err
		}
		filter, err := frameFilter(e.guard.way.mark, p.VIPs)
		if err != nil {
			return err
		}
		if err := e.ring.setFilter(filter); err != nil {
			return err
		}
	}
	e.judge.install(p, following, present())
	if same {
		return nil
	}
	e.vips = slices.Clone(p.VIPs)
	return e.guard.keep(p.VIPs)
}

// FollowsNAT is false: connections are looked up among sockets only.
func (e *Engine) FollowsNAT() bool { return false }

// Renew lets the engine answer until an instant, with which each frame is compared.
func (e *Engine) Renew(until dataplane.Instant) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return errClosed
	}
	e.judge.lease.Store(int64(until))
	return nil
}

// Beacons delivers what was heard, see dataplane.Engine.
func (e *Engine) Beacons() <-chan converge.Beacon { return e.judge.beacons }

// SetBeaconKeys changes the keys of beacons from the next one on, see dataplane.Engine.
func (e *Engine) SetBeaconKeys(keys []nlbhash.Key) error {
	if err := dataplane.CheckBeaconKeys(keys); err != nil {
		return err
	}
	keys = slices.Clone(keys)
	e.judge.keys.Store(&keys)
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
	return e.judge.counters.read(), nil
}

// Kind is "afpacket".
func (e *Engine) Kind() string { return "afpacket" }

// Close silences the engine and removes what it put on the host. From then on the
// kernel sees all frames: remove the VIPs from it before.
func (e *Engine) Close() error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil
	}
	e.closed = true
	e.judge.lease.Store(0)
	e.mu.Unlock() // who watches the guard may need it to end
	return e.undos.Release()
}

// read takes frames from the ring until it is stopped.
func (e *Engine) read() error {
	defer close(e.judge.beacons)
	return e.ring.run(e.take)
}

// take judges one frame and hands it on if it is accepted. What needs no decision,
// answers to the kernel's own ARP and NDP, the guard has let in already.
func (e *Engine) take(c captured) {
	if e.taken++; e.taken%slotCount == 0 { // so often that a full ring is noticed
		e.lost.full += int(e.ring.lost())
		e.lost.tell(e.log, time.Now())
	}
	d := e.judge.decide(c.frame(), c.arrived, e.now())
	if d.Reason == portrules.Rejected {
		e.rejecter.reject(c.frame(), time.Now())
	}
	if d.Verdict != portrules.Accept || d.Reason == portrules.NeighborReply {
		return
	}
	// IP packets to one host in a frame to all: to be discarded (RFC 1122, 3.3.6).
	if isBroadcast(c.frame()) {
		return
	}
	if !c.whole { // there was room for its beginning only
		e.lost.full++
		e.lost.tell(e.log, time.Now())
		return
	}
	if err := e.injector.put(c); err != nil {
		e.lost.refused++
		e.lost.why = err
		e.lost.tell(e.log, time.Now())
	}
}

func isBroadcast(frame []byte) bool {
	return [6]byte(frame) == [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
}

// hint tells the operator what to do about a missing permission.
func hint(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return errors.Join(err, errors.New("data plane afpacket needs CAP_NET_ADMIN and CAP_NET_RAW: run as root"))
	}
	return err
}
