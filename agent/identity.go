package agent

import (
	"crypto/sha256"
	"fmt"
	"net"
	"net/netip"

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
}

func identify(cfg *config.Config, c *cluster, iface *l2.Interface) (identity, error) {
	addr := l2.ClusterAddr(c.VIPs)
	source, err := l2.SourceMAC(c.Mode, cfg.Member.SourceMAC, cfg.Member.Priority, addr, iface.MAC)
	if err != nil {
		return identity{}, err
	}
	return identity{
		instance:   instance(),
		clusterMAC: c.mac,
		sourceMAC:  source,
	}, nil
}

// deriveKey makes the keys of the client hash, so that nobody can aim his addresses
// at one member, and of the beacons: the same on all members and unknown to others.
// Without a cluster key they are known to everybody who knows the cluster's name.
func deriveKey(purpose, cluster string, key []byte) nlbhash.Key {
	sum := sha256.Sum256(fmt.Appendf(nil, "opennlb %s\x00%s\x00%s", purpose, cluster, key))
	return nlbhash.Key(sum[:16])
}

func (id identity) peer(cfg *config.Config) membership.Peer {
	return membership.Peer{
		Name: cfg.Member.Name, Priority: cfg.Member.Priority, Instance: id.instance, Address: cfg.Member.Address,
	}
}

// silent is the policy of a member that owns nothing.
func (c *cluster) silent() *portrules.Policy {
	return c.policy(&converge.Part{
		Plan:      c.plan,
		Tables:    make([]portrules.Buckets, 1),
		SlotTable: make([]int, len(c.Rules)+1),
	}, c.VIPs)
}

// policy is what the data plane needs to act on a part of this configuration.
func (c *cluster) policy(p *converge.Part, vips []netip.Addr) *portrules.Policy {
	hash, _ := c.hashKey() // parsePlan has seen to it
	rules := len(c.Rules)
	return &portrules.Policy{
		Epoch:        p.Epoch,
		HashKey:      hash,
		VIPs:         vips,
		Rules:        c.Rules,
		RuleTable:    p.SlotTable[:rules],
		DefaultTable: p.SlotTable[rules],
		Tables:       p.Tables,
	}
}

// shares is this member's part in the rules, as its file has it.
func shares(m *config.Member) map[string]converge.Share {
	out := make(map[string]converge.Share)
	for name, r := range m.Rules {
		s := converge.Share{Weight: r.Weight, Priority: r.Priority}
		if s != converge.DefaultShare(m.Priority) {
			out[name] = s
		}
	}
	return out
}
