package agent

import (
	"errors"
	"log/slog"

	"github.com/opennlb/opennlb/dataplane"
	"github.com/opennlb/opennlb/dataplane/afpacket"
	"github.com/opennlb/opennlb/dataplane/ebpf"
	"github.com/opennlb/opennlb/portrules"
)

// openEngine opens the data plane that the configuration names, and installs a policy,
// before the kernel knows the VIPs. "auto" takes the one in user space where eBPF is not
// to be had, and says why.
//
// A predecessor that died may have used the other one, and left the VIPs on this host. What
// it left keeps them silent until the new engine knows them, and must go then, for it would
// silence that too.
func openEngine(setup dataplane.Setup, first *portrules.Policy, log *slog.Logger) (dataplane.Engine, error) {
	if setup.Kind != "afpacket" {
		engine, err := ebpf.Open(setup, log)
		if err == nil {
			return ready(engine, first, afpacket.Remove, setup)
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
	return ready(engine, first, ebpf.Remove, setup)
}

// ready closes an engine that must not run beside what could not be removed.
func ready(engine dataplane.Engine, first *portrules.Policy, remove func(cluster, member string) error, setup dataplane.Setup) (dataplane.Engine, error) {
	err := engine.Install(first, nil)
	if err == nil {
		err = remove(setup.Cluster, setup.Member)
	}
	if err != nil {
		return nil, errors.Join(err, engine.Close())
	}
	return engine, nil
}
