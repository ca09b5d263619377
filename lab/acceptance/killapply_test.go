package acceptance

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/opennlb/opennlb/lab"
)

// killedWhile is a member that dies while a change of the configuration is on its way.
type killedWhile struct {
	victim, via int // coordinator is member 0
	after       time.Duration
	frozen      time.Duration // stands still for so long before it dies
}

func (k killedWhile) String() string {
	role := "another"
	switch {
	case k.victim == 0 && k.via == 0:
		role = "the coordinator, who was asked,"
	case k.victim == 0:
		role = "the coordinator"
	case k.victim == k.via:
		role = "the one asked"
	}
	how := "is killed"
	if k.frozen > 0 {
		how = fmt.Sprintf("is frozen for %s and killed", k.frozen)
	}
	return fmt.Sprintf("%s %s after %s", role, how, k.after)
}

// answerWithin is when who asks for a change must know what became of it: a member that does
// not answer costs 3 s when all are asked, and as much when all are to have it.
const answerWithin = 8 * time.Second

// TestKillDuringApply kills a member at many points of a change of the configuration: the
// members that are left, and all when it is back, have the old configuration or the new
// one, and the new one if that was acknowledged.
func TestKillDuringApply(t *testing.T) {
	c := start(t, lab.Options{Clients: 60, Edit: undampened})
	n := trials(6, 40)
	roles := [][2]int{{0, 1}, {1, 1}, {2, 1}, {0, 0}}
	renewed := 0
	for i := range n {
		k := killedWhile{victim: roles[i%4][0], via: roles[i%4][1], after: time.Duration(i) * 60 * time.Millisecond / time.Duration(n)}
		if i%5 == 4 {
			k.frozen = 50*time.Millisecond + rand.N(1500*time.Millisecond)
		}
		victim, via := c.Members[k.victim], c.Members[k.via]
		a := c.begin(via, c.agreed(), fmt.Sprintf("kill%d", i), 1000+i)
		c.sleep(k.after)
		if k.frozen > 0 {
			c.ok(victim.Freeze())
			c.sleep(k.frozen)
		}
		c.ok(victim.Kill())
		res := <-a.result
		if res.took > answerWithin+k.frozen {
			t.Errorf("%s: who asked has his answer only after %s: %s", k, res.took, res.outcome())
		}
		left := c.agreed()
		a.ended(c, k.String(), res, left)
		c.ok(victim.Start())
		all := c.agreed()
		a.ended(c, k.String()+", and started again", res, all)
		t.Logf("%s: %s after %s; version %d became %d, and %d with all", k, res.outcome(), res.took.Round(time.Millisecond), a.was.Version, left.Version, all.Version)
		if all.Version > a.was.Version {
			renewed++
		}
	}
	t.Logf("%d changes met a death; %d of them were made", n, renewed)
}
