package agent

import (
	"crypto/sha256"
	"fmt"
	"net"

	"github.com/opennlb/opennlb/config"
	"github.com/opennlb/opennlb/converge"
	"github.com/opennlb/opennlb/l2"
	"github.com/opennlb/opennlb/membership"
	"github.com/opennlb/opennlb/nlbhash"
	"github.com/opennlb/opennlb/portrules"
)

// identity is what follows from the configuration for this start of the agent.
type identity struct {
	instance   uint64
	clusterMAC net.HardwareAddr
	sourceMAC  net.HardwareAddr
	hashKey    nlbhash.Key
	beaconKey  nlbhash.Key
	digest     string // of the part of the configuration that all members must have alike
}

func identify(cfg *config.Config, key []byte, iface *l2.Interface) (identity, error) {
	addr := l2.ClusterAddr(cfg.Cluster.VIPs)
	source, err := l2.SourceMAC(cfg.Cluster.Mode, cfg.Member.SourceMAC, cfg.Member.Priority, addr, iface.MAC)
	if err != nil {
		return identity{}, err
	}
	return identity{
		instance:   instance(),
		clusterMAC: l2.ClusterMAC(cfg.Cluster.Mode, addr),
		sourceMAC:  source,
		hashKey:    deriveKey("client hash", cfg.Cluster.Name, key),
		beaconKey:  deriveKey("beacon", cfg.Cluster.Name, key),
		digest:     digest(&cfg.Cluster),
	}, nil
}

// deriveKey makes the keys of the client hash, so that nobody can aim his addresses
// at one member, and of the beacons: the same on all members and unknown to others.
// Without a cluster key they are known to everybody who knows the cluster's name.
func deriveKey(purpose, cluster string, key []byte) nlbhash.Key {
	sum := sha256.Sum256(fmt.Appendf(nil, "opennlb %s\x00%s\x00%s", purpose, cluster, key))
	return nlbhash.Key(sum[:16])
}

// digest tells apart configurations under which members would decide differently.
func digest(c *config.Cluster) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%v\x00%s\x00%s\x00%t\x00%+v",
		c.Name, c.Mode, c.VIPs, c.Partition, c.Detection, c.Dampening, c.Rules))
	return fmt.Sprintf("%x", sum[:16])
}

func (id identity) peer(cfg *config.Config) membership.Peer {
	return membership.Peer{
		Name: cfg.Member.Name, Priority: cfg.Member.Priority, Instance: id.instance, Address: cfg.Member.Address,
	}
}

// silent is the policy of a member that owns nothing.
func (id identity) silent(cfg *config.Config) *portrules.Policy {
	return id.policy(cfg, &converge.Part{
		Tables:    make([]portrules.Buckets, 1),
		SlotTable: make([]int, len(cfg.Cluster.Rules)+1),
	})
}

// policy is what the data plane needs to act on a part.
func (id identity) policy(cfg *config.Config, p *converge.Part) *portrules.Policy {
	rules := len(cfg.Cluster.Rules)
	return &portrules.Policy{
		Epoch:        p.Epoch,
		HashKey:      id.hashKey,
		VIPs:         cfg.Cluster.VIPs,
		Rules:        cfg.Cluster.Rules,
		RuleTable:    p.SlotTable[:rules],
		DefaultTable: p.SlotTable[rules],
		Tables:       p.Tables,
	}
}

// shares is this member's part in each rule, defaults filled in.
func shares(cfg *config.Config) []converge.Share {
	out := make([]converge.Share, len(cfg.Cluster.Rules))
	for i, r := range cfg.Cluster.Rules {
		out[i] = converge.Share{Weight: 50, Priority: cfg.Member.Priority}
		if m, ok := cfg.Member.Rules[r.Name]; ok {
			out[i] = converge.Share{Weight: m.Weight, Priority: m.Priority}
		}
	}
	return out
}
