package acceptance

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opennlb/opennlb/lab"
)

// detecting sets cluster.detection on a member; "" is the default.
func detecting(preset string) func(*lab.Member) {
	return func(m *lab.Member) {
		if preset != "" {
			m.Config["cluster"].(map[string]any)["detection"] = preset
		}
	}
}

// TestDetection measures, per preset, the silence of the clients of a member whose
// cable is cut, and holds it to what docs/INSTALL.md promises.
func TestDetection(t *testing.T) {
	for _, c := range []struct {
		preset        string
		median, worst time.Duration
		watch         time.Duration
		trials        int
	}{
		{"fast", 500 * time.Millisecond, time.Second, 2 * time.Second, trials(1, 12)},
		{"normal", time.Second, 2 * time.Second, 2500 * time.Millisecond, trials(0, 12)}, // TestCrash has it, too
		{"relaxed", 4 * time.Second, 6 * time.Second, 7 * time.Second, trials(1, 12)},
	} {
		if c.trials == 0 {
			continue
		}
		t.Run(c.preset, func(t *testing.T) {
			watch, wantMedian, wantWorst, n := c.watch, c.median, c.worst, c.trials
			preset := detecting(c.preset)
			c := start(t, lab.Options{Clients: 300, Edit: func(m *lab.Member) { preset(m); undampened(m) }})
			var silences []time.Duration
			for i := 0; len(silences) < n && i < 2*n+2; i++ {
				victim := c.Members[i%len(c.Members)]
				silence, stall := c.crash(cutOff, watch, victim)
				if stall < lab.Pause || i >= 2*n { // else again, on a machine that keeps pace
					silences = append(silences, silence[0]-stall)
				}
				c.ok(cutOff.revive(c, victim))
				c.converged(len(c.Members))
			}
			slices.Sort(silences)
			median, worst := silences[len(silences)/2], silences[len(silences)-1]
			s := c.status()
			t.Logf("%s, lease %s: silence median %s, worst %s: %s", s.Detection, time.Duration(s.LeaseTime), median, worst, silences)
			if median >= wantMedian || worst >= wantWorst {
				t.Errorf("silence median %s, worst %s: want below %s and %s", median, worst, wantMedian, wantWorst)
			}
		})
	}
}

// TestRelaxedSurvivesPauses stops agents for 1.5 s: nobody is left out, and the clients
// do not notice.
func TestRelaxedSurvivesPauses(t *testing.T) {
	c := start(t, lab.Options{Clients: 300, Edit: detecting("relaxed")})
	epoch := c.status().Epoch
	probe := c.Client.StartProbe(lab.ProbeOptions{Target: web, Lanes: lanes(c.owners(c.Client.Addrs[:90]))})
	for _, m := range c.Members[:trials(1, 3)] {
		c.ok(m.Freeze())
		c.sleep(1500 * time.Millisecond)
		c.ok(m.Thaw())
		c.sleep(time.Second)
	}
	stall := time.Duration(0)
	for name, r := range probe.Stop() {
		c.unbroken("the clients of "+name, r)
		stall = max(stall, r.Stall)
	}
	if now := c.status().Epoch; now != epoch {
		c.judge(stall)("pauses of 1.5 s moved the epoch from %d to %d", epoch, now)
	}
}

// TestFastMemberFallsSilentInTime: the shorter the detection, the earlier a frozen
// member's data plane must end its answers.
func TestFastMemberFallsSilentInTime(t *testing.T) {
	c := start(t, lab.Options{Clients: 300, Edit: detecting("fast")})
	for _, frozen := range c.Members {
		probe := c.Client.StartProbe(lab.ProbeOptions{Target: web, Lanes: lanes(c.owners(c.Client.Addrs[:90]))})
		c.sleep(200 * time.Millisecond)
		c.ok(frozen.Freeze())
		at := probe.Since()
		c.sleep(1200 * time.Millisecond)
		own := probe.Stop()[frozen.Name]
		c.ok(frozen.Thaw())
		c.converged(len(c.Members))
		last, first := time.Duration(0), time.Duration(0)
		for _, a := range own.Attempts {
			switch {
			case a.Err != nil || a.At < at:
			case a.Member == frozen.Name:
				last = max(last, a.At-at)
			case first == 0:
				first = a.At - at
			}
		}
		t.Logf("%s froze: last own answer after %s, first of another after %s, longest pause %s", frozen.Name, last, first, own.Stall)
		if first == 0 || last > first || last > 250*time.Millisecond {
			c.judge(own.Stall)("%s answered for %s, another took over after %s; the lease is 180 ms", frozen.Name, last, first)
		}
	}
}

// TestOtherDetectionIsAdopted: a member whose file has another preset does not get in with
// it, says so, and takes over that of the others.
func TestOtherDetectionIsAdopted(t *testing.T) {
	c := start(t, lab.Options{Clients: 300, Edit: func(m *lab.Member) {
		if m.Priority == 3 && m.Process() != nil {
			detecting("fast")(m)
		}
	}})
	odd := c.Members[2]
	c.ok(odd.Stop())
	c.converged(2)
	c.waitEvent(c.Members[0], "leave")
	c.ok(os.RemoveAll(stateDir(odd))) // it knows only its file
	probe := c.Client.StartProbe(lab.ProbeOptions{Target: web, Lanes: lanes(c.owners(c.Client.Addrs[:60])), Timeout: 3 * time.Second})
	c.ok(odd.Start())
	c.agreed()
	s, err := odd.Status(c.ctx)
	c.ok(err)
	if log := c.log(odd); s.Detection != "normal" || !strings.Contains(log, "the others have another detection") {
		t.Errorf("%s has detection %s and says:\n%s", odd.Name, s.Detection, odd.Log(10))
	}
	for name, r := range probe.Stop() {
		c.unbroken("the clients of "+name, r)
	}
	if s := c.status(); !slices.ContainsFunc(s.Warnings, func(w string) bool { return strings.Contains(w, "cluster.detection") }) {
		t.Errorf("no warning: %q", s.Warnings)
	}
}
