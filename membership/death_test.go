package membership

import (
	"cmp"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"
)

// TestDeath measures how long until all survivors know of k simultaneous
// deaths, and holds the worst to 1.5 s. MEMBERSHIP_RUNS=10 makes ten times as
// many runs.
func TestDeath(t *testing.T) {
	factor, err := strconv.Atoi(cmp.Or(os.Getenv("MEMBERSHIP_RUNS"), "1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		n, k, runs int
		loss       float64
	}{
		{n: 2, k: 1, runs: 5},
		{n: 3, k: 1, runs: 5},
		{n: 4, k: 1, runs: 5},
		{n: 4, k: 2, runs: 5},
		{n: 4, k: 3, runs: 5},
		{n: 8, k: 1, runs: 3},
		{n: 8, k: 4, runs: 3},
		{n: 8, k: 7, runs: 3},
		{n: 12, k: 9, runs: 2}, // too few survivors to confirm each other's suspicion
		{n: 32, k: 16, runs: 1},
		{n: 8, k: 4, runs: 3, loss: 0.05},
	} {
		c.runs *= factor
		var took []time.Duration
		for range c.runs {
			bubble(t, func(t *testing.T, seg *segment) {
				all := cluster(t, seg, c.n)
				time.Sleep(2 * time.Second)
				seg.lose(c.loss)
				for i := c.n - c.k + 1; i <= c.n; i++ {
					seg.isolate(testAddr(i))
				}
				took = append(took, eventually(t, 1500*time.Millisecond, "survivors know", func() bool { return agree(all[:c.n-c.k]) }))
			})
		}
		slices.Sort(took)
		t.Logf("n=%2d k=%2d loss=%v: min %v median %v max %v", c.n, c.k, c.loss, took[0], took[len(took)/2], took[len(took)-1])
		if earliest := (Timing{}).EarliestDeath(c.n); took[0] < earliest {
			t.Errorf("n=%d: all knew after %v, before EarliestDeath %v", c.n, took[0], earliest)
		}
	}
}
