package agent

import (
	"errors"
	"log/slog"

	"github.com/opennlb/opennlb/dataplane"
	"github.com/opennlb/opennlb/dataplane/afpacket"
	"github.com/opennlb/opennlb/dataplane/ebpf"
)

// openEngine opens the data plane that the configuration names. "auto" takes the one
// in user space where eBPF is not to be had, and says why.
//
// A predecessor that died may have used the other one. What it left keeps the VIPs
// silent until the new engine does, and must go then, for it would silence that too.
func openEngine(setup dataplane.Setup, log *slog.Logger) (dataplane.Engine, error) {
	if setup.Kind != "afpacket" {
		engine, err := ebpf.Open(setup, log)
		if err == nil {
			return ready(engine, afpacket.Remove(setup.Cluster, setup.Member))
		}
		if setup.Kind != "auto" || !errors.Is(err, ebpf.ErrUnavailable) {
			return nil, err
		}
		log.Warn("use data plane afpacket, which is slower, for want of eBPF", "reason", err)
	}
	engine, err := afpacket.Open(setup, log)
	if err != nil {
		return nil, err
	}
	return ready(engine, ebpf.Remove(setup.Cluster, setup.Member))
}

// ready closes an engine that must not run beside what could not be removed.
func ready(engine dataplane.Engine, err error) (dataplane.Engine, error) {
	if err != nil {
		return nil, errors.Join(err, engine.Close())
	}
	return engine, nil
}
