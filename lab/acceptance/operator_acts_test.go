package acceptance

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/lab"
)

// What an operator does: each returns a verb and more, "" if it cannot be done now.

func (o *operator) member() string   { return o.Members[o.rng.IntN(len(o.Members))].Name }
func (o *operator) via() *lab.Member { return o.Members[o.rng.IntN(len(o.Members))] }

// spareable reports whether clients do without a member, or without its part in a rule.
func (o *operator) spareable(member string, rules ...string) bool {
	for _, rule := range rules {
		left := 0
		for _, m := range o.Members {
			if m.Name != member && o.state[m.Name] == control.Start && o.off[rule][m.Name] == "" {
				left++
			}
		}
		if left == 0 {
			return false
		}
	}
	return true
}

func (o *operator) setState(action, member string) {
	o.cluster.act(o.via(), control.StateRequest{Action: action, Members: []string{member}})
	o.state[member] = action
}

func (o *operator) drain() (string, string) {
	m := o.member()
	if o.state[m] != control.Start || !o.spareable(m, "web", "echo", "boss") {
		return "", ""
	}
	o.setState(control.Drain, m)
	return "drain", m
}

// stop is for a member that drains, whose sessions alone it breaks.
func (o *operator) stop() (string, string) {
	for _, m := range o.Members {
		if o.state[m.Name] == control.Drain {
			for _, s := range o.held {
				s.mayBreak(m.Name)
			}
			o.setState(control.Stop, m.Name)
			return "stop", m.Name + ", which drains"
		}
	}
	return "", ""
}

func (o *operator) start() (string, string) {
	for _, m := range o.Members {
		if o.state[m.Name] != control.Start {
			was := o.state[m.Name]
			o.setState(control.Start, m.Name)
			return "start", m.Name + " after " + was
		}
	}
	return "", ""
}

func (o *operator) setRule(r control.RuleRequest) {
	results, err := o.via().Control().SetRule(o.ctx, r)
	o.ok(err)
	for _, res := range results {
		if !res.OK {
			o.t.Fatalf("%s of %s: %s: %s", r.Action, r.Rule, res.Member, res.Error)
		}
	}
}

func (o *operator) weight() (string, string) {
	m, rule, weight := o.member(), []string{"web", "echo"}[o.rng.IntN(2)], uint8(1+o.rng.IntN(100))
	o.setRule(control.RuleRequest{Action: control.Weight, Rule: rule, Value: weight, Members: []string{m}})
	return "weight", fmt.Sprintf("%s of %s: %d", rule, m, weight)
}

func (o *operator) handling() (string, string) {
	m, priority := o.member(), uint8(1+o.rng.IntN(32))
	o.setRule(control.RuleRequest{Action: control.Handling, Rule: "boss", Value: priority, Members: []string{m}})
	return "handling priority", fmt.Sprintf("%s: %d", m, priority)
}

// ruleDrain also disables rules that have no connections there.
func (o *operator) ruleDrain() (string, string) {
	m, rule := o.member(), []string{"web", "echo", "boss"}[o.rng.IntN(3)]
	if o.off[rule][m] != "" || !o.spareable(m, rule) {
		return "", ""
	}
	o.setRule(control.RuleRequest{Action: control.Drain, Rule: rule, Members: []string{m}})
	o.off[rule][m] = control.Drain
	if rule != "web" {
		return "rule drain", rule + " of " + m
	}
	o.sleep(300 * time.Millisecond) // connections to it are short
	o.setRule(control.RuleRequest{Action: control.Disable, Rule: rule, Members: []string{m}})
	return "rule disable", rule + " of " + m + ", once drained"
}

func (o *operator) ruleEnable() (string, string) {
	for _, rule := range []string{"web", "echo", "boss"} {
		for _, m := range o.Members {
			if o.off[rule][m.Name] != "" {
				o.setRule(control.RuleRequest{Action: control.Enable, Rule: rule, Members: []string{m.Name}})
				delete(o.off[rule], m.Name)
				return "rule enable", rule + " of " + m.Name
			}
		}
	}
	return "", ""
}

// apply replaces a text in the configuration in force.
func (o *operator) apply(from, to string) string {
	o.counter++
	via := o.via()
	now, err := via.Control().Config(o.ctx, 0)
	o.ok(err)
	next := strings.Replace(now.YAML, from, to, 1)
	if next == now.YAML {
		o.t.Fatalf("no %q in\n%s", from, now.YAML)
	}
	res, err := via.Control().Apply(o.ctx, control.ApplyRequest{File: "operator", YAML: next, Version: now.Version})
	o.ok(err)
	for _, r := range res.Members {
		if !r.OK {
			o.t.Errorf("%s: %s", r.Member, r.Error)
		}
	}
	return fmt.Sprintf("%s, version %d", strings.Join(res.Changes, "; "), res.Version)
}

func (o *operator) addRule() (string, string) {
	name := fmt.Sprintf("spare%d", o.counter)
	o.spares = append(o.spares, name)
	return "rule added", o.apply("  rules:\n", fmt.Sprintf("  rules:\n    - {name: %s, ports: %d}\n", name, 1000+o.counter))
}

// spare is the text of a rule that nobody asks; "" if there is none.
func (o *operator) spare() (name, text string) {
	v, err := o.via().Control().Config(o.ctx, 0)
	o.ok(err)
	for _, name := range o.spares {
		for rule := range strings.SplitSeq(v.YAML[strings.Index(v.YAML, "  rules:\n")+9:], "    - ") {
			if strings.HasPrefix(rule, fmt.Sprintf("name: %q\n", name)) {
				return name, "    - " + rule
			}
		}
	}
	return "", ""
}

func (o *operator) removeRule() (string, string) {
	name, text := o.spare()
	if name == "" {
		return "", ""
	}
	return "rule removed", o.apply(text, "")
}

func (o *operator) changeAffinity() (string, string) {
	name, text := o.spare()
	if name == "" || !strings.Contains(text, "affinity: single") {
		return "", ""
	}
	return "affinity", o.apply(text, strings.Replace(text, "affinity: single", "affinity: none", 1))
}

func (o *operator) addVIP() (string, string) {
	if len(o.vips) >= 40 {
		return "", ""
	}
	vip := fmt.Sprintf("10.77.0.%d", 101+len(o.vips))
	o.vips = append(o.vips, vip)
	return "VIP added", o.apply("  partition:", "    - "+vip+"\n  partition:")
}

func (o *operator) removeVIP() (string, string) {
	v, err := o.via().Control().Config(o.ctx, 0)
	o.ok(err)
	i := slices.IndexFunc(o.vips, func(vip string) bool { return strings.Contains(v.YAML, vip) })
	if i < 0 {
		return "", ""
	}
	return "VIP removed", o.apply(fmt.Sprintf("    - %q\n", o.vips[i]), "")
}

func (o *operator) rollback() (string, string) {
	via := o.via()
	list, err := via.Control().ConfigHistory(o.ctx)
	o.ok(err)
	v := list[o.rng.IntN(len(list))].Version
	res, err := via.Control().Rollback(o.ctx, control.RollbackRequest{Version: v})
	o.ok(err)
	return "rollback", fmt.Sprintf("to %d: %s, version %d", v, strings.Join(res.Changes, "; "), res.Version)
}

// restore starts everything again.
func (o *operator) restore() {
	for verb := "all"; verb != ""; {
		verb, _ = o.start()
	}
	for verb := "all"; verb != ""; {
		verb, _ = o.ruleEnable()
	}
}
