package agent

import (
	"strings"
	"testing"
	"time"

	"github.com/opennlb/opennlb/config"
)

// kernelTick is the step of the coarse clock that the data plane compares a lease with,
// at CONFIG_HZ=250; the engine takes one off every lease.
const kernelTick = 4 * time.Millisecond

func TestDetections(t *testing.T) {
	for _, preset := range []string{"fast", "normal", "relaxed"} {
		d, err := detect(preset)
		if err != nil {
			t.Errorf("%s: %v", preset, err)
			continue
		}
		// Whoever knows more members waits longer, never shorter.
		for n := 1; n <= 32; n++ {
			if death := d.membership.EarliestDeath(n); d.lease+50*time.Millisecond > death {
				t.Errorf("%s: of %d members, one may be dead after %s, the lease is %s", preset, n, death, d.lease)
			}
		}
		if d.lease-kernelTick < 6*d.tick {
			t.Errorf("%s: less than six ticks of %s in a lease of %s", preset, d.tick, d.lease)
		}
		if d.handOver() < 2*d.converge.GiveUp || d.handOver() > 20*time.Second { // TimeoutStopSec=30
			t.Errorf("%s: hands over within %s", preset, d.handOver())
		}
		t.Logf("%-7s lease %s, death after %s", preset, d.lease, d.membership.EarliestDeath(1))
	}
	if len(detections) != 3 {
		t.Errorf("%d presets", len(detections))
	}
	if d := detections["relaxed"]; d.lease-d.tick-kernelTick < 1500*time.Millisecond {
		t.Errorf("relaxed does not survive a pause of 1.5 s: lease %s", d.lease)
	}
	if _, err := detect("slow"); err == nil || !strings.Contains(err.Error(), "write fast, normal or relaxed") {
		t.Errorf("unknown preset: %v", err)
	}
}

// TestNormalStays: what a cluster has without cluster.detection.
func TestNormalStays(t *testing.T) {
	c, err := config.Parse("nlb.yaml", []byte("cluster: {name: web, vips: [192.0.2.10]}\n"+
		"member: {name: a, priority: 1, interface: eth0}\nmembership: {insecure: true}\n"))
	if err != nil {
		t.Fatal(err)
	}
	d, err := detect(c.Cluster.Detection)
	if err != nil || d.lease != 400*time.Millisecond || d.membership.EarliestDeath(1) != 500*time.Millisecond {
		t.Errorf("lease %s, death %s, %v", d.lease, d.membership.EarliestDeath(1), err)
	}
}

func TestBrokenDetections(t *testing.T) {
	for want, spoil := range map[string]func(*detection){
		"does not end before": func(d *detection) { d.lease = d.membership.EarliestDeath(1) },
		"before peers":        func(d *detection) { d.membership.SuspicionMult = 8 },
		"ticks":               func(d *detection) { d.tick = d.lease / 5 },
		"given up":            func(d *detection) { d.converge.GiveUp = d.lease },
		"listens":             func(d *detection) { d.converge.Alone = d.membership.EarliestDeath(1) },
		"rival":               func(d *detection) { d.converge.Rival = d.converge.Announce },
	} {
		for preset := range detections {
			d, err := detect(preset)
			if err != nil {
				t.Fatal(err)
			}
			spoil(&d)
			if err := d.check(); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), preset) {
				t.Errorf("%s, %s: %v", preset, want, err)
			}
		}
	}
}
