package converge

import (
	"testing"

	"github.com/opennlb/opennlb/nlbhash"
	"github.com/opennlb/opennlb/portrules"
)

// TestKeep follows the owner of a rule in mode single while members come and go; n1 is
// the best, then n2.
func TestKeep(t *testing.T) {
	stopped := info(2)
	stopped.State = Stopped
	draining := info(2)
	draining.State = Draining
	for _, c := range []struct {
		name           string
		rule           Rule
		base, members  []Info
		want, wantHeld uint8
	}{
		{"the best returns", Rule{Mode: portrules.Single}, infos(2, 3), infos(1, 2, 3), 1, 2},
		{"the best returns and waits", Rule{Mode: portrules.Single, Keep: true}, infos(2, 3), infos(1, 2, 3), 2, 0},
		{"the owner dies", Rule{Mode: portrules.Single, Keep: true}, infos(2, 3), infos(1, 3), 1, 0},
		{"the owner stops", Rule{Mode: portrules.Single, Keep: true}, infos(2, 3), []Info{info(1), stopped, info(3)}, 1, 0},
		{"the owner drains", Rule{Mode: portrules.Single, Keep: true}, infos(2, 3), []Info{info(1), draining, info(3)}, 1, 2},
		{"nobody owned it", Rule{Mode: portrules.Single, Keep: true}, []Info{stopped}, infos(2, 3), 2, 0},
		{"several owned it", Rule{Mode: portrules.Single, Keep: true}, nil, infos(2, 3), 2, 0},
	} {
		plan := planOf(c.rule)
		base := build(nil, c.base, plan)
		if c.base == nil {
			base = build(nil, infos(3, 4), planOf(Rule{Mode: portrules.Multiple}))
		}
		next := build(base, c.members, plan).Slot(0)
		if next.Targets[c.want] != 1 || next.sole() != c.want {
			t.Errorf("%s: targets %v, owner %d, want %d", c.name, next.Targets, next.sole(), c.want)
		}
		if c.wantHeld != 0 && next.holding(c.wantHeld) == nil {
			t.Errorf("%s: n%d does not keep its connections", c.name, c.wantHeld)
		}
	}
}

// TestKeepShares: a rule that stays where it is does not drag others along.
func TestKeepShares(t *testing.T) {
	plan := planOf(Rule{Match: "0", Mode: portrules.Single, Keep: true}, Rule{Match: "1", Mode: portrules.Single}, Rule{Match: "2", Mode: portrules.Single, Keep: true})
	a := build(build(nil, infos(2, 3), plan), infos(1, 2, 3), plan)
	for slot, want := range []uint8{2, 1, 2, 1} { // the last is the default host's
		if got := a.Slot(slot).sole(); got != want {
			t.Errorf("slot %d: owner %d, want %d", slot, got, want)
		}
	}
	if n := (*nlbhash.Table)(&a.Slot(0).Owner).Counts()[2]; n != nlbhash.Buckets {
		t.Errorf("%d buckets", n)
	}
	if a.SlotTable[0] != a.SlotTable[2] || a.SlotTable[1] != a.SlotTable[3] {
		t.Errorf("equal slots do not share a table: %v", a.SlotTable)
	}
}
