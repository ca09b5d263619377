package acceptance

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/opennlb/opennlb/lab"
)

var stoodStill = regexp.MustCompile(`stood still for (\S+)`)

// TestManyTables: members with weights of their own in each of 256 rules agree on tables of
// several megabytes, and nobody leaves the view for the time that takes.
func TestManyTables(t *testing.T) {
	const members = 4
	c := start(t, lab.Options{Members: members, Clients: 60, Edit: func(m *lab.Member) {
		own := make(map[string]any)
		var rules []any
		for i := range 253 {
			name := fmt.Sprintf("many%d", i)
			rules = append(rules, map[string]any{"name": name, "ports": 1000 + i})
			own[name] = map[string]any{"weight": 1 + (i*7+m.Priority*(i/100+1)*13)%100}
		}
		cluster := m.Config["cluster"].(map[string]any)
		if was := cluster["rules"].([]any); len(was) < 100 {
			cluster["rules"] = append(was, rules...)
		}
		m.Config["member"].(map[string]any)["rules"] = own
	}})
	c.agreed()
	for _, step := range []struct {
		name string
		do   func() error
		left int
	}{
		{"a crash", c.Members[2].Kill, members - 1},
		{"its return", c.Members[2].Start, members},
		{"an orderly stop", c.Members[0].Stop, members - 1},
		{"its return", c.Members[0].Start, members},
	} {
		began := time.Now()
		c.ok(step.do())
		c.converged(step.left)
		t.Logf("%s: agreed after %s", step.name, time.Since(began).Round(time.Millisecond))
		c.sleep(2 * time.Second) // for connections to be counted
	}
	c.converged(members)
	longest := machine.Paused(c.began)
	for _, m := range c.Members {
		log := m.Log(1 << 20)
		for _, sign := range []string{"does not answer although", "larger than members take"} {
			if strings.Contains(log, sign) {
				t.Errorf("%s: %s:\n%s", m.Name, sign, log)
			}
		}
		for _, pause := range stoodStill.FindAllStringSubmatch(log, -1) {
			d, err := time.ParseDuration(pause[1])
			c.ok(err)
			t.Logf("%s stood still for %s", m.Name, d)
			if d > max(time.Second, 2*longest) { // less is for four members on the processors of one machine
				t.Errorf("%s stood still for %s, this process for %s:\n%s", m.Name, d, longest, log)
			}
		}
	}
	c.everybodyAnswers(members)
}
