package acceptance

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/lab"
)

// agreed waits until all members that run are one cluster with one configuration, the
// same text in the same version, and returns it.
func (c *cluster) agreed() control.ConfigVersion {
	c.t.Helper()
	running := c.running()
	c.converged(len(running))
	var said []string
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); c.sleep(20 * time.Millisecond) {
		var all []control.ConfigVersion
		said = nil
		for _, m := range running {
			v, err := m.Control().Config(c.ctx, 0)
			c.ok(err)
			v.InForce, v.At = true, v.At.UTC()
			all = append(all, v)
			said = append(said, fmt.Sprintf("%s: version %d, %s, by %s", m.Name, v.Version, v.Digest, v.By))
		}
		if !slices.ContainsFunc(all, func(v control.ConfigVersion) bool {
			return v.Version != all[0].Version || v.Digest != all[0].Digest || v.YAML != all[0].YAML
		}) {
			return all[0]
		}
	}
	c.t.Fatalf("the members keep different configurations:\n%s", strings.Join(said, "\n"))
	return control.ConfigVersion{}
}

func (c *cluster) running() (list []*lab.Member) {
	for _, m := range c.Members {
		if m.Running() {
			list = append(list, m)
		}
	}
	return list
}

// moreRule adds a rule to a configuration, in front of the others.
func moreRule(yaml, name string, port int) string {
	return strings.Replace(yaml, "  rules:\n", fmt.Sprintf("  rules:\n    - {name: %s, ports: %d}\n", name, port), 1)
}

// applying is a change of the configuration on its way.
type applying struct {
	was    control.ConfigVersion
	rule   string // that the new configuration has more
	result chan applied
}

type applied struct {
	control.ApplyResult
	err  error
	took time.Duration
}

// begin asks a member for a rule more than was, and does not wait.
func (c *cluster) begin(via *lab.Member, was control.ConfigVersion, rule string, port int) *applying {
	a := &applying{was: was, rule: rule, result: make(chan applied, 1)}
	go func() {
		began := time.Now()
		res, err := via.Control().Apply(c.ctx, control.ApplyRequest{File: rule, YAML: moreRule(was.YAML, rule, port), Version: was.Version})
		a.result <- applied{res, err, time.Since(began)}
	}()
	return a
}

// ended wants a configuration to be wholly the old one or wholly the new one: the new one
// if the change was acknowledged, the old one if it was told that nothing was changed.
func (a *applying) ended(c *cluster, when string, res applied, now control.ConfigVersion) {
	c.t.Helper()
	old := now.Version == a.was.Version && now.Digest == a.was.Digest && now.YAML == a.was.YAML
	renewed := now.Version == a.was.Version+1 && strings.Contains(now.YAML, fmt.Sprintf("name: %q", a.rule))
	switch {
	case !old && !renewed:
		c.t.Errorf("%s: neither the old configuration nor the new one, but version %d, by %s:\n%s", when, now.Version, now.By, now.YAML)
	case res.err == nil && !renewed:
		c.t.Errorf("%s: version %d was acknowledged, and is lost: version %d is in force", when, res.Version, now.Version)
	case res.err != nil && strings.Contains(res.err.Error(), "nothing was changed") && !old:
		c.t.Errorf("%s: was told %q, but version %d is in force", when, res.err, now.Version)
	}
}

// outcome says in a few words how a change ended.
func (r applied) outcome() string {
	if r.err == nil {
		return "acknowledged"
	}
	text, _, _ := strings.Cut(r.err.Error(), "\n")
	return text[:min(len(text), 90)]
}
