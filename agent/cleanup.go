package agent

import (
	"errors"

	"github.com/opennlb/opennlb/config"
	"github.com/opennlb/opennlb/dataplane/afpacket"
	"github.com/opennlb/opennlb/dataplane/ebpf"
	"github.com/opennlb/opennlb/l2"
)

// Cleanup removes what an agent that died left on the host: the VIPs and the
// cluster MAC first, the data plane that keeps them silent last. It needs the interface
// no more. It refuses while an agent runs.
func Cleanup(cfg *config.Config) error {
	if err := checkCapabilities(); err != nil {
		return err
	}
	unlock, err := lockState(cfg.StateDir)
	if err != nil {
		return err
	}
	iface, err := l2.OpenLeftovers(cfg.Member.Interface)
	if err != nil {
		return errors.Join(err, unlock())
	}
	var errs []error
	shared := &cfg.Cluster // unless the members have agreed on another
	if _, c, _, err := openHistory(cfg.StateDir); err == nil && c != nil {
		shared = &c.Cluster
	}
	for _, vip := range shared.VIPs {
		errs = append(errs, iface.RemoveVIP(vip))
	}
	mac := l2.ClusterMAC(shared.Mode, l2.ClusterAddr(shared.VIPs))
	errs = append(errs, iface.RemoveMAC(mac), iface.Close())
	if errors.Join(errs...) == nil { // else the data plane must stay: it keeps the VIPs silent
		errs = append(errs, ebpf.Remove(cfg.Cluster.Name, cfg.Member.Name), afpacket.Remove(cfg.Cluster.Name, cfg.Member.Name))
	}
	return errors.Join(append(errs, unlock())...)
}
