package acceptance

import (
	"fmt"
	"testing"
	"time"

	"github.com/opennlb/opennlb/lab"
)

// TestPowerOff kills all members while a change of the configuration is on its way, and
// starts them in every order, so slowly that the first may found a cluster by itself: they
// agree again, and what was acknowledged is not lost.
func TestPowerOff(t *testing.T) {
	beside(t)
	c := start(t, lab.Options{Clients: 60, Edit: undampened})
	orders := [][]int{{0, 1, 2}, {2, 1, 0}, {1, 2, 0}, {0, 2, 1}, {2, 0, 1}, {1, 0, 2}}
	points := []time.Duration{25 * time.Millisecond, -1, 8 * time.Millisecond, 45 * time.Millisecond, 15 * time.Millisecond, 2 * time.Millisecond, 35 * time.Millisecond}
	gaps := []time.Duration{300 * time.Millisecond, 2500 * time.Millisecond, 1200 * time.Millisecond, 700 * time.Millisecond}
	for i := range trials(3, 42) {
		order, after, gap := orders[i%len(orders)], points[i%len(points)], gaps[i%len(gaps)]
		a := c.begin(c.Members[i%3], c.agreed(), fmt.Sprintf("power%d", i), 1000+i)
		var res applied
		if after < 0 { // at once when it is acknowledged
			res = <-a.result
			c.ok(res.err)
			after = 0
		} else {
			c.sleep(after)
		}
		c.all(c.Members, killed.die)
		if res.Version == 0 {
			res = <-a.result
		}
		for k, m := range order {
			if k > 0 {
				c.sleep(gap)
			}
			c.ok(c.Members[m].Start())
		}
		now := c.agreed()
		when := fmt.Sprintf("all off %s after the request (%s), started in the order %v every %s", after, res.outcome(), order, gap)
		a.ended(c, when, res, now)
		t.Logf("%s: version %d became %d", when, a.was.Version, now.Version)
	}
}
