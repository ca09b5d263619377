package agent

import (
	"context"
	"slices"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/converge"
)

// Config implements control.Backend.
func (b backend) Config(ctx context.Context, version uint64) (control.ConfigVersion, error) {
	var now *cluster
	if err := b.l.do(ctx, func() error { now = b.l.cluster; return nil }); err != nil {
		return control.ConfigVersion{}, err
	}
	if version == 0 || version == now.plan.Version {
		v := configVersion(now)
		v.InForce, v.YAML = true, now.Text
		return v, nil
	}
	c, err := b.version(version)
	if err != nil {
		return control.ConfigVersion{}, err
	}
	v := configVersion(c)
	v.YAML = c.Text
	return v, nil
}

// ConfigHistory implements control.Backend.
func (b backend) ConfigHistory(ctx context.Context) ([]control.ConfigVersion, error) {
	var now converge.Stamp
	if err := b.l.do(ctx, func() error { now = b.l.cluster.plan.Stamp(); return nil }); err != nil {
		return nil, err
	}
	all, err := b.l.history.list()
	if err != nil {
		return nil, err
	}
	list := make([]control.ConfigVersion, len(all))
	for i, k := range all {
		list[i] = configVersion(k.cluster)
		list[i].InForce = k.plan.Stamp() == now
		list[i].Changes = k.changes
	}
	return list, nil
}

func configVersion(c *cluster) control.ConfigVersion {
	return control.ConfigVersion{Version: c.plan.Version, Digest: c.plan.Digest, Cluster: c.Name, By: c.By, At: c.At, Note: c.Note}
}

// version finds an earlier configuration in this member's history.
func (b backend) version(n uint64) (*cluster, error) {
	all, err := b.l.history.list()
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(k kept) bool { return k.plan.Version == n })
	if i < 0 {
		return nil, control.Refuse("%s keeps no version %d: nlbctl config history lists those that it keeps; another member may have it", b.l.cfg.Member.Name, n)
	}
	return all[i].cluster, nil
}
