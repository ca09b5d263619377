package acceptance

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/opennlb/opennlb/lab"
)

// death is a way in which a member falls silent.
type death struct {
	name        string
	die, revive func(*cluster, *lab.Member) error
}

var (
	killed = death{
		"kill -9",
		func(_ *cluster, m *lab.Member) error { return m.Kill() },
		func(_ *cluster, m *lab.Member) error { return m.Start() },
	}
	cutOff = death{
		"cable cut",
		func(c *cluster, m *lab.Member) error { return c.Switch.CutCable(c.ctx, m.Host) },
		func(c *cluster, m *lab.Member) error { return c.Switch.PlugCable(c.ctx, m.Host) },
	}
	frozen = death{
		"SIGSTOP",
		func(_ *cluster, m *lab.Member) error { return m.Freeze() },
		func(_ *cluster, m *lab.Member) error { return m.Thaw() },
	}
)

// all does something to several members at the same time.
func (c *cluster) all(members []*lab.Member, do func(*cluster, *lab.Member) error) {
	c.t.Helper()
	errs := make([]error, len(members))
	var wg sync.WaitGroup
	for i, m := range members {
		wg.Go(func() { errs[i] = do(c, m) })
	}
	wg.Wait()
	for _, err := range errs {
		c.ok(err)
	}
}

// TestCrash measures how long the clients of members that die together are without
// an answer. Nobody else's clients may notice, and no dead member may answer beside
// its successors. Several deaths must not take three times as long as one.
func TestCrash(t *testing.T) {
	few := map[string][3]int{"kill -9": {1, 0, 1}, "cable cut": {0, 1, 0}, "SIGSTOP": {1, 0, 0}} // trials in every test run
	for _, how := range []death{killed, cutOff, frozen} {
		t.Run(how.name, func(t *testing.T) {
			var single time.Duration
			for i, size := range []struct{ dying, of int }{{1, 3}, {2, 4}, {4, 8}} {
				n := trials(few[how.name][i], 20)
				if n == 0 {
					continue
				}
				t.Run(fmt.Sprintf("%d of %d", size.dying, size.of), func(t *testing.T) {
					c := start(t, lab.Options{Members: size.of, Clients: 300, Edit: undampened})
					rng := rand.New(rand.NewPCG(uint64(size.of), 1))
					var silences []time.Duration
					for tries := 0; len(silences) < n*size.dying; tries++ {
						if tries > 2*n+3 {
							t.Fatalf("only %d of %d trials could be measured: this machine is too busy", len(silences)/size.dying, tries)
						}
						var victims []*lab.Member
						for _, i := range rng.Perm(size.of)[:size.dying] {
							victims = append(victims, c.Members[i])
						}
						if s, stall := c.crash(how, 2500*time.Millisecond, victims...); stall < lab.Pause {
							silences = append(silences, s...)
						} else {
							t.Logf("this process itself stood still for %s: the trial does not count", stall)
						}
						c.all(victims, how.revive)
						c.converged(size.of)
					}
					median, worst := middle(silences), slices.Max(silences)
					t.Logf("%d trials: silence median %s, worst %s: %s", n, median, worst, silences)
					// The middle of a few trials depends on the moment's load.
					if worst >= 2*time.Second || n >= 10 && median >= 800*time.Millisecond {
						t.Errorf("silence median %s, worst %s: want below 0.8 s and 2 s", median, worst)
					}
					switch {
					case size.dying == 1:
						single = median
					case single > 0 && median > 3*single:
						t.Errorf("%d deaths take %s, one takes %s", size.dying, median, single)
					}
				})
			}
		})
	}
}

func middle(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[len(d)/2]
}

// crash lets members die together under probes, leaves them dead, and returns the
// silence of the clients of each in the time in which it watches. After a stall the
// times mean nothing.
func (c *cluster) crash(how death, watch time.Duration, victims ...*lab.Member) (silences []time.Duration, stall time.Duration) {
	c.t.Helper()
	lease := time.Duration(c.status().LeaseTime)
	by := lanes(c.owners(c.Client.Addrs[:30*len(c.Members)]))
	probe := c.Client.StartProbe(lab.ProbeOptions{Target: web, Lanes: by, Every: time.Duration(4*len(c.Members)) * time.Millisecond})
	defer probe.Stop()
	c.sleep(200 * time.Millisecond)
	began := probe.Since()
	c.all(victims, how.die)
	dead := probe.Since()
	c.sleep(watch - 500*time.Millisecond)
	before := c.accepted(victims)
	c.sleep(500 * time.Millisecond)
	if after := c.accepted(victims); after != before {
		c.t.Errorf("the dead accepted %d SYNs long after their leases", after-before)
	}
	reports := probe.Stop()
	for _, r := range reports {
		stall = max(stall, r.Stall)
	}
	complain := c.judge(stall)
	for name, r := range reports {
		if slices.ContainsFunc(victims, func(m *lab.Member) bool { return m.Name == name }) {
			c.tookOver(complain, name, r, began, dead, lease)
			silences = append(silences, r.Silence)
			continue
		}
		if r.Failed() == 0 && len(r.Answers()) == 1 {
			continue
		}
		complain("clients of %s, who lives: %s, answers by %v", name, failures(r, began), r.Answers())
	}
	return silences, stall
}

// failures describes the attempts of a lane that nobody answered, by their time since an
// instant of the probe.
func failures(r lab.LaneReport, since time.Duration) string {
	first := slices.IndexFunc(r.Attempts, func(a lab.Attempt) bool { return a.Err != nil })
	if first < 0 {
		return "no attempt failed"
	}
	a := r.Attempts[first]
	return fmt.Sprintf("%d of %d attempts failed, the first at %s: %v",
		r.Failed(), len(r.Attempts), (a.At - since).Round(time.Millisecond), a.Err)
}

// tookOver checks the lane of a member that died between two instants.
func (c *cluster) tookOver(complain func(string, ...any), name string, r lab.LaneReport, began, dead, lease time.Duration) {
	c.t.Helper()
	last, others := began, time.Duration(0) // the last answer of its own, the first of another
	for _, a := range r.Attempts {
		switch {
		case a.Err != nil || a.At < began:
		case a.Member == name:
			last = max(last, a.At)
		case others == 0:
			others = a.At
		}
	}
	c.t.Logf("%s: last own answer %s after its death, first of another after %s, silence %s", name, last-began, others-began, r.Silence)
	switch {
	case others == 0 || r.Unended:
		complain("nobody took over from %s", name)
	case last > others:
		complain("%s answered %s after another had taken over", name, last-others)
	case last-dead > lease+100*time.Millisecond:
		complain("%s answered for %s after its death: its lease is %s", name, last-dead, lease)
	}
}

// accepted is the number of SYNs that some members' data planes accepted.
func (c *cluster) accepted(members []*lab.Member) (n uint64) {
	c.t.Helper()
	all, err := c.Accepted(c.ctx)
	c.ok(err)
	for _, m := range members {
		n += all[m.Name]
	}
	return n
}
