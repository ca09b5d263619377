package agent

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/opennlb/opennlb/config"
	"github.com/opennlb/opennlb/converge"
	"github.com/opennlb/opennlb/l2"
	"github.com/opennlb/opennlb/nlbhash"
	"github.com/opennlb/opennlb/portrules"
)

// cluster is one version of the configuration that is the same on all members.
type cluster struct {
	config.Cluster
	plan *converge.Plan
	mac  net.HardwareAddr // that its members share
	document
}

// document is what a [converge.Plan] carries for the agents.
type document struct {
	Text    string    `json:"yaml"`     // the section cluster, as config.Cluster.YAML writes it
	HashKey string    `json:"hash_key"` // hexadecimal; it stays, lest clients move
	IDs     []uint16  `json:"ids"`      // of the rules, in their order
	By      string    `json:"by"`       // who made this version
	At      time.Time `json:"at"`
	Note    string    `json:"note,omitempty"`
}

// newCluster makes a version of the configuration.
func newCluster(version uint64, c config.Cluster, d document) (*cluster, error) {
	d.Text, d.IDs = c.YAML(), make([]uint16, len(c.Rules))
	for i := range c.Rules {
		d.IDs[i] = c.Rules[i].ID
	}
	text, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("encode configuration: %w", err)
	}
	sum := sha256.Sum256(text)
	p := &converge.Plan{
		Version:  version,
		Digest:   hex.EncodeToString(sum[:16]),
		Document: string(text),
		Majority: c.Partition == "majority",
		Dampen:   c.Dampening,
	}
	for i := range c.Rules {
		p.Rules = append(p.Rules, planRule(&c.Rules[i]))
	}
	return &cluster{Cluster: c, plan: p, mac: l2.ClusterMAC(c.Mode, l2.ClusterAddr(c.VIPs)), document: d}, nil
}

func planRule(r *portrules.Rule) converge.Rule {
	vip := "all"
	if r.VIP.IsValid() {
		vip = r.VIP.String()
	}
	return converge.Rule{
		Name:    r.Name,
		Match:   fmt.Sprintf("%s %d-%d %s", r.Protocol, r.First, r.Last, vip),
		Hash:    fmt.Sprintf("%s %d %d", r.Affinity, r.PrefixV4, r.PrefixV6),
		Mode:    r.Mode,
		Keep:    r.Keep,
		Clients: keepTime(r) > 0,
	}
}

// keepTime is how long a rule keeps clients without a connection, 0: not at all.
func keepTime(r *portrules.Rule) time.Duration {
	return max(r.KeepClients(portrules.TCP), r.KeepClients(portrules.UDP), r.KeepClients(portrules.SCTP))
}

// parsePlan reads a plan that came from another member or from the disk.
func parsePlan(p *converge.Plan) (*cluster, error) {
	sum := sha256.Sum256([]byte(p.Document))
	if hex.EncodeToString(sum[:16]) != p.Digest {
		return nil, errors.New("it is damaged: its digest is another")
	}
	var d document
	if err := json.Unmarshal([]byte(p.Document), &d); err != nil {
		return nil, fmt.Errorf("it cannot be decoded: %w: do all members run the same version of nlbd?", err)
	}
	c, err := config.ParseCluster(fmt.Sprintf("configuration %d", p.Version), []byte(d.Text))
	if err != nil {
		return nil, fmt.Errorf("%w: do all members run the same version of nlbd?", err)
	}
	if _, err := d.hashKey(); err != nil {
		return nil, err
	}
	if len(d.IDs) != len(c.Rules) {
		return nil, errors.New("it does not number its rules")
	}
	for i := range c.Rules {
		c.Rules[i].ID = d.IDs[i]
	}
	if err := (&portrules.Policy{Rules: c.Rules}).CheckIDs(); err != nil {
		return nil, err
	}
	made, err := newCluster(p.Version, *c, d)
	if err != nil {
		return nil, err
	}
	if made.plan.Majority != p.Majority || made.plan.Dampen != p.Dampen || !slices.Equal(made.plan.Rules, p.Rules) {
		return nil, errors.New("it means something else here: do all members run the same version of nlbd?")
	}
	made.plan = p
	return made, nil
}

func (d document) hashKey() (nlbhash.Key, error) {
	b, err := hex.DecodeString(d.HashKey)
	if err != nil || len(b) != len(nlbhash.Key{}) {
		return nlbhash.Key{}, errors.New("it has no key for the hash of clients")
	}
	return nlbhash.Key(b), nil
}

// successor makes the version that follows c. A rule keeps its ID, and with it counters
// and clients, as long as it has the same name and tells clients apart alike.
func (c *cluster) successor(next config.Cluster, by, note string) (*cluster, error) {
	used := make(map[uint16]bool)
	for i := range c.Rules {
		used[c.Rules[i].ID] = true
	}
	next.Rules = slices.Clone(next.Rules)
	for i := range next.Rules {
		r := &next.Rules[i]
		j := slices.IndexFunc(c.Rules, func(o portrules.Rule) bool {
			return o.Name == r.Name && planRule(&o).Hash == planRule(r).Hash && o.ByFlow() == r.ByFlow()
		})
		if j >= 0 {
			r.ID = c.Rules[j].ID
			continue
		}
		for r.ID = 0; used[r.ID]; r.ID++ {
		}
		used[r.ID] = true
	}
	return newCluster(c.plan.Version+1, next, document{HashKey: c.HashKey, By: by, At: time.Now().UTC().Truncate(time.Second), Note: note})
}

// ownCluster is the configuration in a member's own file, which counts until the members
// have agreed on one.
func ownCluster(cfg *config.Config, key []byte) (*cluster, error) {
	hash := deriveKey("client hash", cfg.Cluster.Name, key)
	return newCluster(0, cfg.Cluster, document{HashKey: hex.EncodeToString(hash[:]), By: cfg.Member.Name, At: time.Now().UTC().Truncate(time.Second)})
}

// catalog remembers how plans parse, for the agreement asks often.
type catalog struct {
	member  *config.Config
	entries map[converge.Stamp]entry
}

type entry struct {
	cluster *cluster
	err     error
}

// catalogSize is more than the plans that can be on their way at a time.
const catalogSize = 64

// find returns what a plan says; the error tells why this member cannot act on it.
func (c *catalog) find(p *converge.Plan) (*cluster, error) {
	e, ok := c.entries[p.Stamp()]
	if !ok {
		e.cluster, e.err = parsePlan(p)
		if e.err == nil {
			e.err = fits(c.member, &e.cluster.Cluster)
		}
		if len(c.entries) >= catalogSize {
			clear(c.entries)
		}
		c.entries[p.Stamp()] = e
	}
	return e.cluster, e.err
}

// take is [converge.Config.Take].
func (c *catalog) take(p *converge.Plan) error {
	_, err := c.find(p)
	return err
}

// otherMAC is [converge.Config.Anew] of a member that has begun with a cluster MAC.
func (c *catalog) otherMAC(mac net.HardwareAddr) func(*converge.Plan) bool {
	return func(p *converge.Plan) bool {
		next, err := c.find(p)
		return err == nil && !bytes.Equal(next.mac, mac)
	}
}

// fits reports why a member cannot act on a configuration.
func fits(cfg *config.Config, c *config.Cluster) error {
	switch {
	case c.Name != cfg.Cluster.Name:
		return fmt.Errorf("it is of cluster %s, not %s: the name of a cluster cannot change", c.Name, cfg.Cluster.Name)
	case slices.Contains(c.VIPs, cfg.Member.Address):
		return fmt.Errorf("VIP %s is the dedicated IP of %s", cfg.Member.Address, cfg.Member.Name)
	}
	return nil
}
