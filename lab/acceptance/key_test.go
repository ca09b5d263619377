package acceptance

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/lab"
)

// TestKeyRotate changes the cluster key under load, twice: no request fails, no epoch is
// made, no beacon is refused. Who has only the old key is refused and says what to do;
// with what nlbctl key show prints it is a member again.
func TestKeyRotate(t *testing.T) {
	for _, kind := range []string{"auto", "tc", "afpacket"}[:trials(1, 3)] {
		t.Run(kind, func(t *testing.T) { testKeyRotate(t, kind) })
	}
}

func testKeyRotate(t *testing.T, kind string) {
	own := "" // key_file of the last member
	c := start(t, lab.Options{Members: 4, Clients: 220, Dataplane: kind, Edit: func(m *lab.Member) {
		if m.Priority == 4 && own != "" {
			m.Config["membership"].(map[string]any)["key_file"] = own
		}
	}})
	for _, m := range c.Members {
		c.ok(m.StartEcho(7))
	}
	held := c.hold(c.Client.Addrs[:80], echo)
	owner := c.owners(c.Client.Addrs[80:])
	probe := c.Client.StartProbe(lab.ProbeOptions{Target: web, Lanes: lanes(owner), Timeout: 1500 * time.Millisecond})
	before := c.status()
	if s := c.keys(1); s.UnderWay || s.Generation != 0 || !s.FileIsCurrent {
		t.Errorf("before: %+v", s)
	}
	c.sleep(500 * time.Millisecond)

	last := ""
	for i, via := range []*lab.Member{c.Members[2], c.Members[0]} {
		began := time.Now()
		var res control.KeyResult
		c.ok(c.fair(func() (err error) {
			res, err = via.Control().RotateKey(c.ctx, control.KeyRequest{})
			return err
		}))
		t.Logf("rotated from %s to %s after %s", res.Old, res.New, time.Since(began).Round(time.Millisecond))
		c.checkKeys(uint64(3*(i+1)), res.New)
		if last != "" && res.Old != last || res.New == res.Old {
			t.Errorf("changed from %s to %s, before it was %s", res.Old, res.New, last)
		}
		last = res.New
		c.sleep(1500 * time.Millisecond)
	}
	total := 0
	for name, lane := range probe.Stop() {
		total += len(lane.Attempts)
		c.unbroken("connections to "+name, lane)
	}
	t.Logf("%d new connections", total)
	held.stop()
	if s := c.keys(3); s.FileIsCurrent || !strings.Contains(s.By, "root") {
		t.Errorf("after: %+v", s)
	}
	if now := c.status(); now.Epoch != before.Epoch {
		c.judge(0)("epoch %d, was %d", now.Epoch, before.Epoch)
	}
	for _, m := range c.Members {
		s, err := m.Status(c.ctx)
		c.ok(err)
		if n := refusedBeacons(s); n > 0 {
			t.Errorf("%s refused %d beacons", m.Name, n)
		}
		for _, w := range s.Warnings {
			if strings.Contains(w, "key") {
				t.Errorf("%s warns: %s", m.Name, w)
			}
		}
		if text := m.Log(1 << 20); strings.Contains(text, "declared dead") || strings.Contains(text, "another cluster key") {
			t.Errorf("%s:\n%s", m.Name, text)
		}
	}

	// The last member comes back with the old key only, then with the one that is shown.
	four := c.Members[3]
	_, err := c.Members[1].Control().RotateKey(c.ctx, control.KeyRequest{})
	c.ok(err)
	c.ok(four.Stop())
	if _, err := c.Members[0].Control().RotateKey(c.ctx, control.KeyRequest{}); err == nil || !strings.Contains(err.Error(), "node4 is down") {
		t.Errorf("rotate without node4: %v", err)
	}
	c.ok(os.Remove(filepath.Join(c.state(four), "keyring.json")))
	c.ok(four.Start())
	c.until(5*time.Second, "node4 ends", func() bool { return !four.Running() })
	if text := four.Log(5); !strings.Contains(text, "nlbctl key show") {
		t.Errorf("node4 with the old key says:\n%s", text)
	}
	shown, err := c.Members[0].Control().ShowKey(c.ctx)
	c.ok(err)
	own = filepath.Join(c.Dir, "node4.key")
	c.ok(os.WriteFile(own, []byte(shown.Key+"\n"), 0o600))
	c.ok(four.Start())
	c.converged(4)
	c.until(3*time.Second, "node4 knows the generation, too", func() bool { return settled(c.keys(0), 4) })
	c.checkKeys(9, shown.Fingerprint)
	c.checkAudit(shown.Key)
}

// checkAudit wants changes and views of the key on record, and the key itself nowhere.
func (c *cluster) checkAudit(key string) {
	c.t.Helper()
	entries, err := c.Members[0].Control().Audit(c.ctx, 100)
	c.ok(err)
	text := fmt.Sprintf("%+v", entries)
	for _, want := range []string{"key rotate", "key show", "node4 is down"} {
		if !strings.Contains(text, want) {
			c.t.Errorf("the audit log has no %q: %s", want, text)
		}
	}
	for _, m := range c.Members {
		if strings.Contains(text+m.Log(1<<20), key) {
			c.t.Errorf("the key is in a log of %s", m.Name)
		}
	}
}

func refusedBeacons(s control.Status) (n uint64) {
	for _, k := range s.Dataplane.Counters {
		if k.Reason == "beacon-forged" {
			n += k.Packets
		}
	}
	return n
}

// TestKeyCrash kills members at many points of a rotation, then starts them in every order:
// they are one cluster again, with one key, without help.
func TestKeyCrash(t *testing.T) {
	c := start(t, lab.Options{Clients: 60, Edit: undampened})
	rng := rand.New(rand.NewPCG(3, 5))
	deaths := []struct {
		name    string
		victims []int
	}{{"all", []int{0, 1, 2}}, {"the coordinator", []int{0}}, {"all", []int{0, 1, 2}}, {"another", []int{1}}}
	found := make(map[string]int) // steps on the disks after the deaths
	var back []time.Duration
	began := time.Now()
	for n := range trials(3, 120) {
		if !soak() && time.Since(began) > 12*time.Second {
			break // a busy machine
		}
		d, order := deaths[n%len(deaths)], permutations[rng.IntN(6)]
		before := c.keys(0).Generation
		asked, via := make(chan error, 1), c.Members[rng.IntN(3)]
		go func() {
			_, err := via.Control().RotateKey(c.ctx, control.KeyRequest{})
			asked <- err
		}()
		c.sleep(time.Duration(rng.IntN(35_000)) * time.Microsecond)
		var victims []*lab.Member
		for _, i := range d.victims {
			victims = append(victims, c.Members[i])
		}
		c.all(victims, killed.die)
		<-asked
		steps := make([]uint64, 3)
		for i, m := range c.Members {
			steps[i] = c.ring(m).Generation - before
		}
		if slices.Max(steps)-slices.Min(steps) > 1 {
			t.Errorf("%s died: steps %d on the disks", d.name, steps)
		}
		found[fmt.Sprint(d.name, " ", steps)]++
		started := time.Now()
		for _, i := range order {
			if !c.Members[i].Running() {
				c.ok(c.Members[i].Start())
				c.sleep(time.Duration(rng.IntN(3)) * 400 * time.Millisecond)
			}
		}
		c.converged(3)
		c.until(5*time.Second, "all have one key", func() bool { return settled(c.keys(n%3), 3) })
		back = append(back, time.Since(started))
		after := c.keys(0)
		if after.Generation != before && after.Generation != before+3 {
			t.Errorf("%s died at steps %d: generation %d, was %d", d.name, steps, after.Generation, before)
		}
		if slices.Max(steps) > 0 && after.Generation == before {
			t.Errorf("%s died at steps %d, and nothing came of it", d.name, steps)
		}
		if after.Generation > 0 {
			c.checkKeys(after.Generation, after.Fingerprint)
		}
	}
	slices.Sort(back)
	t.Logf("settled after %s to %s, median %s; deaths found the members at %v", back[0], back[len(back)-1], back[len(back)/2], found)
}

// TestKeyDisks starts members that have neighbouring steps of a rotation on their disks, in
// every order: the rotation is finished. Then it ends one without a member, which
// has both keys and the old one in use: it is let in when it is back.
func TestKeyDisks(t *testing.T) {
	beside(t)
	c := start(t, lab.Options{Clients: 60, Edit: undampened})
	_, err := c.Members[0].Control().RotateKey(c.ctx, control.KeyRequest{})
	c.ok(err)
	c.checkKeys(3, c.keys(0).Fingerprint)
	for n := range trials(1, 6*3*6) {
		step, ahead, order := uint64(n/6%3), n/18+1, permutations[n%6]
		if !soak() {
			step, ahead, order = 1, 5, permutations[4]
		}
		old := c.ring(c.Members[0])
		fresh := bytes.Repeat([]byte{byte(n + 1)}, 32)
		steps := [][][]byte{{old.Keys[0]}, {old.Keys[0], fresh}, {fresh, old.Keys[0]}, {fresh}}
		c.all(c.Members, killed.die)
		for i, m := range c.Members {
			r := old
			at := step + uint64(ahead>>i&1) // one, two or all but one are a step ahead
			r.Generation, r.Keys, r.Members = old.Generation+at, steps[at], nil
			if len(r.Keys) == 2 {
				r.Members = []string{"node1", "node2", "node3"}
			}
			c.writeRing(m, r)
		}
		began := time.Now()
		for _, i := range order {
			c.ok(c.Members[i].Start())
			c.sleep(time.Duration(n%3) * 500 * time.Millisecond)
		}
		c.converged(3)
		c.until(5*time.Second, "all have one key", func() bool { return settled(c.keys(n%3), 3) })
		t.Logf("from step %d, %03b ahead, in order %d: settled after %s", step, ahead, order, time.Since(began).Round(time.Millisecond))
		c.checkKeys(old.Generation+3, c.keys(0).Fingerprint)
	}

	three, before := c.Members[2], c.ring(c.Members[0])
	c.ok(three.Kill())
	c.converged(2)
	_, err = c.Members[1].Control().RotateKey(c.ctx, control.KeyRequest{})
	if err == nil || !strings.Contains(err.Error(), "node3 is down") {
		t.Errorf("rotate without node3: %v", err)
	}
	_, err = c.Members[1].Control().RotateKey(c.ctx, control.KeyRequest{Force: true})
	c.ok(err)
	after := c.ring(c.Members[0])
	unfinished := before
	unfinished.Generation, unfinished.Keys = before.Generation+1, [][]byte{before.Keys[0], after.Keys[0]}
	c.writeRing(three, unfinished)
	c.ok(three.Start())
	c.converged(3)
	c.until(5*time.Second, "all have one key", func() bool { return settled(c.keys(2), 3) })
	c.checkKeys(after.Generation, c.keys(0).Fingerprint)

	// A member stays away while the others are in the middle: they wait, and say so.
	c.all(c.Members, killed.die)
	for _, m := range c.Members {
		r := after
		r.Generation, r.Keys, r.Members = after.Generation+1, [][]byte{after.Keys[0], before.Keys[0]}, []string{"node1", "node2", "node3"}
		c.writeRing(m, r)
	}
	c.ok(c.Members[0].Start())
	c.ok(c.Members[1].Start())
	c.converged(2)
	c.until(5*time.Second, "status says what the rotation waits for", func() bool {
		return strings.Contains(strings.Join(c.status().Warnings, " "), "waits for node3")
	})
	if s := c.keys(1); !s.UnderWay || !strings.Contains(s.Waits, "waits for node3") {
		t.Errorf("node2 says %+v", s)
	}
	_, err = c.Members[1].Control().RotateKey(c.ctx, control.KeyRequest{})
	if err == nil || !strings.Contains(err.Error(), "under way") {
		t.Errorf("rotate in the middle of another: %v", err)
	}
	_, err = c.Members[1].Control().RotateKey(c.ctx, control.KeyRequest{Force: true})
	c.ok(err)
	c.ok(three.Start())
	c.converged(3)
	c.until(5*time.Second, "all have one key", func() bool { return settled(c.keys(2), 3) })
	c.checkKeys(after.Generation+3, c.keys(0).Fingerprint)
}

var permutations = [6][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}}

// ring is what a member keeps in state_dir/keyring.json.
type ring struct {
	Version    int      `json:"version"`
	File       string   `json:"file"`
	Generation uint64   `json:"generation"`
	Keys       [][]byte `json:"keys"`
	Members    []string `json:"members,omitempty"`
}

func (c *cluster) ring(m *lab.Member) (r ring) {
	c.t.Helper()
	text, err := os.ReadFile(filepath.Join(c.state(m), "keyring.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return r
	}
	c.ok(err)
	c.ok(json.Unmarshal(text, &r))
	return r
}

func (c *cluster) writeRing(m *lab.Member, r ring) {
	c.t.Helper()
	text, err := json.Marshal(r)
	c.ok(err)
	c.ok(os.WriteFile(filepath.Join(c.state(m), "keyring.json"), text, 0o600))
}

// keys is what a member, by number, says of the cluster key.
func (c *cluster) keys(member int) control.KeyStatus {
	c.t.Helper()
	s, err := c.Members[member].Control().KeyStatus(c.ctx)
	c.ok(err)
	return s
}

// checkKeys wants all members to have one and the same key, also on their disks.
func (c *cluster) checkKeys(generation uint64, fingerprint string) {
	c.t.Helper()
	if s := c.keys(0); !settled(s, len(c.Members)) || s.Generation != generation || s.Fingerprint != fingerprint {
		c.t.Errorf("keys %+v, want all to have %s of generation %d", s, fingerprint, generation)
	}
	for _, m := range c.Members {
		kept := c.ring(m)
		if kept.Generation != generation || len(kept.Keys) != 1 {
			c.t.Errorf("%s has %d keys of generation %d on its disk", m.Name, len(kept.Keys), kept.Generation)
		}
	}
}

// settled reports whether so many members have one key, the same one.
func settled(s control.KeyStatus, members int) bool {
	for _, m := range s.Members {
		if m.Error != "" || m.Generation != s.Generation || len(m.Keys) != 1 || m.Keys[0] != s.Fingerprint {
			return false
		}
	}
	return !s.UnderWay && len(s.Members) == members
}

func (c *cluster) state(m *lab.Member) string { return m.Config["state_dir"].(string) }

func (c *cluster) until(limit time.Duration, what string, ok func() bool) {
	c.t.Helper()
	for began := time.Now(); !ok(); c.sleep(20 * time.Millisecond) {
		if time.Since(began) > limit {
			c.t.Fatalf("not within %s: %s", limit, what)
		}
	}
}
