package afpacket

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/opennlb/opennlb/dataplane"
	"github.com/opennlb/opennlb/dataplane/sockets"
	"github.com/opennlb/opennlb/nlbhash"
)

// Open attaches an engine to an interface of the calling thread's network
// namespace. It takes over the table of a dead predecessor, so that at no instant VIP
// traffic reaches the kernel unjudged. If Open goes wrong then, the table stays.
func Open(setup dataplane.Setup, log *slog.Logger) (*Engine, error) {
	e := &Engine{log: log, now: newClock()}
	takeover, err := e.open(setup)
	if err == nil {
		return e, nil
	}
	if takeover { // better nobody answers than everybody
		return nil, hint(errors.Join(err, e.undos.Leave()))
	}
	return nil, hint(errors.Join(err, e.undos.Release()))
}

func (e *Engine) open(setup dataplane.Setup) (takeover bool, err error) {
	if err := checkSetup(setup); err != nil {
		return false, err
	}
	dev, err := findDevice(setup.Interface)
	if err != nil {
		return false, err
	}
	name := tableName(setup.Cluster, setup.Member)
	unlock, err := lock(name)
	if err != nil {
		return false, err
	}
	e.undos.OnClose(unlock)
	diag, err := sockets.OpenLookup(dev.index)
	if err != nil {
		return false, err
	}
	e.undos.OnClose(diag.Close)

	way := passageOf(setup.Cluster, setup.Member)
	e.guard, takeover, err = openGuard(name, dev, way, setup.SourceMAC, setup.ClusterMAC)
	if err != nil {
		return takeover, err
	}
	e.undos.OnClose(e.guard.close)
	e.undos.OnRemove(e.guard.takeDown)

	e.undos.OnRemove(way.remove)
	if err := way.make(dev.index); err != nil {
		return takeover, err
	}
	if err := e.guard.seal(); err != nil {
		return takeover, err
	}
	if err := way.open(); err != nil {
		return takeover, err
	}
	if e.injector, err = openInjector(way, dev.mac); err != nil {
		return takeover, err
	}
	e.undos.OnClose(e.injector.close)
	if e.rejecter, err = openRejecter(dev, setup.SourceMAC); err != nil {
		return takeover, err
	}
	e.undos.OnClose(e.rejecter.socket.Close)

	filter, err := frameFilter(way.mark, nil)
	if err != nil {
		return takeover, err
	}
	if e.ring, err = openRing(dev.index, filter); err != nil {
		return takeover, err
	}
	e.undos.OnClose(e.ring.close)
	e.judge = newJudge(setup.Priority, setup.BeaconKey, diag.Has)
	ended := make(chan error, 1)
	go func() { ended <- e.read() }()
	e.undos.OnClose(func() error { return errors.Join(e.ring.stop(), <-ended) })
	stop, err := e.watchGuard()
	if err != nil {
		return takeover, err
	}
	e.undos.OnClose(stop)
	return takeover, nil
}

func checkSetup(setup dataplane.Setup) error {
	switch {
	case setup.Cluster == "" || setup.Member == "":
		return errors.New("cluster and member need a name: the nftables table is named after them")
	case len(setup.SourceMAC) != 6:
		return fmt.Errorf("source MAC %q is not 6 bytes long", setup.SourceMAC)
	case len(setup.ClusterMAC) != 6:
		return fmt.Errorf("cluster MAC %q is not 6 bytes long", setup.ClusterMAC)
	case setup.Priority > nlbhash.MaxPriority:
		return fmt.Errorf("priority %d is above %d", setup.Priority, nlbhash.MaxPriority)
	case setup.Kind != "auto" && setup.Kind != "afpacket":
		return fmt.Errorf("data plane %q is not of this kind: write auto or afpacket", setup.Kind)
	}
	return nil
}

// Remove removes what a dead agent left in the caller's network namespace. It refuses
// while the agent lives. There being nothing to remove is no error.
func Remove(cluster, member string) error {
	name := tableName(cluster, member)
	unlock, err := lock(name)
	if err != nil {
		return err
	}
	way := passageOf(cluster, member)
	return hint(errors.Join(removeGuard(name), way.remove(), unlock()))
}
