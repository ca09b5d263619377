package ebpf

import (
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/opennlb/opennlb/dataplane"
	"github.com/opennlb/opennlb/nlbhash"
)

// ErrUnavailable is wrapped by errors of Open that say that this kernel, or the
// container around this process, does not let it use eBPF; nothing is left behind.
var ErrUnavailable = errors.New("eBPF is not available")

// options are for tests.
type options struct {
	clsact bool // as on a kernel without tcx
}

// Open attaches an engine to an interface of the calling thread's network
// namespace. It takes over from a dead predecessor, whose policy it keeps, silent,
// until the first Install: at no instant does VIP traffic reach the kernel
// unfiltered. If Open goes wrong then, the programs stay, and silent.
//
// Setup.Kind "xdp" insists on native XDP; "auto" does without where there is none,
// and logs why.
func Open(setup dataplane.Setup, log *slog.Logger) (*Engine, error) {
	return open(setup, log, options{})
}

func open(setup dataplane.Setup, log *slog.Logger, opts options) (*Engine, error) {
	e := &Engine{log: log, kind: "tc", names: make(names), pins: pinsOf(setup.Cluster, setup.Member)}
	takeover, err := e.open(setup, opts)
	if err == nil {
		return e, nil
	}
	if takeover { // better nobody answers than everybody
		return nil, hint(errors.Join(err, e.undos.Leave()))
	}
	return nil, hint(errors.Join(err, e.undos.Release()))
}

func (e *Engine) open(setup dataplane.Setup, opts options) (takeover bool, err error) {
	if err := checkSetup(setup); err != nil {
		return false, err
	}
	if e.device, err = findDevice(setup.Interface); err != nil {
		return false, err
	}
	if err := mountBPFFS(e.log); err != nil {
		return false, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if err := os.MkdirAll(string(e.pins), 0o700); err != nil {
		return false, fmt.Errorf("%w: make directory for pins: %w", ErrUnavailable, err)
	}
	lock, err := e.pins.lock()
	if err != nil {
		return false, err
	}
	e.undos.OnClose(lock.Close)
	e.undos.OnRemove(e.pins.removeMaps)

	old, err := e.pins.silence()
	if err != nil {
		return true, err
	}
	takeover = old != nil
	if e.objects, err = e.load(setup); err != nil {
		if !takeover { // with a predecessor's programs around it is some other trouble
			err = fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		return takeover, err
	}
	e.undos.OnClose(e.objects.close)
	var stop func() error
	if e.beacons, stop, err = listen(e.objects.beacons); err != nil {
		return takeover, err
	}
	e.undos.OnClose(stop)
	stop, err = answerRejected(e.objects.rejected, e.device, [6]byte(setup.SourceMAC), e.log)
	if err != nil {
		return takeover, err
	}
	e.undos.OnClose(stop)
	if e.control, err = mapControl(e.objects.agent); err != nil {
		return takeover, err
	}
	e.undos.OnClose(e.control.close)
	words := e.control.words()
	words.Layout, words.Ifindex = layout, uint32(e.device.index)
	e.control.setBeaconKeys([]nlbhash.Key{setup.BeaconKey})
	if e.slots, err = newSlots(e.objects, e.pins, e.control); err != nil {
		return takeover, err
	}
	e.undos.OnClose(e.slots.close)
	if takeover {
		words.Clsact = old.Clsact
		if err := e.slots.takeOver(old); err != nil {
			return takeover, err
		}
	}
	// Pins first: whenever this process dies, a successor finds all there is.
	if err := e.pinMaps(); err != nil {
		return takeover, err
	}
	return takeover, e.attach(setup.Kind, opts)
}

func checkSetup(setup dataplane.Setup) error {
	switch {
	case setup.Cluster == "" || setup.Member == "":
		return errors.New("cluster and member need a name: the pins are named after them")
	case len(setup.SourceMAC) != 6:
		return fmt.Errorf("source MAC %q is not 6 bytes long", setup.SourceMAC)
	case len(setup.ClusterMAC) != 6:
		return fmt.Errorf("cluster MAC %q is not 6 bytes long", setup.ClusterMAC)
	case setup.Priority > nlbhash.MaxPriority:
		return fmt.Errorf("priority %d is above %d", setup.Priority, nlbhash.MaxPriority)
	}
	switch setup.Kind {
	case "auto", "xdp", "tc":
		return nil
	}
	return fmt.Errorf("data plane %q is unknown: write auto, xdp or tc", setup.Kind)
}

// load loads the programs. Where XDP is wanted but not insisted on, a kernel that
// refuses that program (before 5.18) still gets the others.
func (e *Engine) load(setup dataplane.Setup) (*objects, error) {
	spec, err := loadNlb()
	if err != nil {
		return nil, err
	}
	for name, value := range map[string]any{
		nlbVarOwnMac:      [6]byte(e.device.mac),
		nlbVarSourceMac:   [6]byte(setup.SourceMAC),
		nlbVarClusterMac:  [6]byte(setup.ClusterMAC),
		nlbVarOwnPriority: setup.Priority,
	} {
		if err := spec.Variables[name].Set(value); err != nil {
			return nil, fmt.Errorf("set %s: %w", name, err)
		}
	}
	spec.Maps[nlbMapBeacons].MaxEntries = uint32(os.Getpagesize())      // bytes; the least there is
	spec.Maps[nlbMapRejected].MaxEntries = uint32(4 * os.Getpagesize()) // some 50 samples
	if setup.Kind == "tc" {
		delete(spec.Programs, xdp.name)
	}
	collection, err := e.collection(spec)
	if err != nil && setup.Kind == "auto" && !errors.Is(err, os.ErrPermission) {
		e.log.Info("load without XDP", "reason", err)
		delete(spec.Programs, xdp.name)
		collection, err = e.collection(spec)
	}
	if err != nil {
		return nil, fmt.Errorf("load eBPF programs: %w", err)
	}
	return &objects{
		collection: collection,
		agent:      collection.Maps[".data.agent"],
		counters:   collection.Maps[nlbMapCounters],
		names:      collection.Maps[nlbMapNames],
		policies:   collection.Maps[nlbMapPolicies],
		fragments:  collection.Maps[nlbMapFragments],
		clients:    collection.Maps[nlbMapClients],
		heard:      collection.Maps[nlbMapHeard],
		beacons:    collection.Maps[nlbMapBeacons],
		tracing:    collection.Maps[".data.tracing"],
		traces:     collection.Maps[nlbMapTraces],
		rejected:   collection.Maps[nlbMapRejected],
		page:       spec.Maps[nlbMapPolicies].InnerMap,
	}, nil
}

// pinMaps lets others read the counters of this engine, and a successor take over.
func (e *Engine) pinMaps() error {
	return errors.Join(
		e.pins.put(pinNames, e.objects.names),
		e.pins.put(pinCounters, e.objects.counters),
		e.pins.put(pinAgent, e.objects.agent))
}
