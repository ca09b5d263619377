package portrules_test

import (
	"testing"

	"github.com/opennlb/opennlb/portrules"
	"github.com/opennlb/opennlb/portrules/frames"
)

func TestDecideVectors(t *testing.T) {
	seen := make(map[string]bool)
	var reasons [portrules.NumReasons]int
	for _, v := range frames.Vectors() {
		if seen[v.Name] {
			t.Errorf("two vectors are named %q", v.Name)
		}
		seen[v.Name] = true
		pkt := portrules.Parse(v.Frame)
		d := v.Policy.Decide(&pkt, v.Env())
		if d.Verdict != v.Verdict || d.Reason != v.Reason || d.Rule != v.Rule {
			t.Errorf("%s: got %v %v, rule %d; want %v %v, rule %d", v.Name, d.Verdict, d.Reason, d.Rule, v.Verdict, v.Reason, v.Rule)
		}
		if d.RecordFragment != v.Records {
			t.Errorf("%s: fragment recorded: %v, want %v", v.Name, d.RecordFragment, v.Records)
		}
		reasons[v.Reason]++
	}
	for r, n := range reasons {
		if n == 0 {
			t.Errorf("no vector leaves with reason %v", portrules.Reason(r))
		}
	}
}
