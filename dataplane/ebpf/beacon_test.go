package ebpf

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/opennlb/opennlb/converge"
	"github.com/opennlb/opennlb/dataplane"
	"github.com/opennlb/opennlb/nlbhash"
	"github.com/opennlb/opennlb/portrules"
	"github.com/opennlb/opennlb/portrules/frames"
)

const (
	withMe    = 1 | 1<<(frames.Self-1) // views
	withoutMe = 1
)

// beacon returns the frame of a beacon as the agent of member 1 sends it.
func beacon(b converge.Beacon) []byte {
	return frames.Ethernet(converge.BeaconEtherType, converge.AppendBeacon(nil, frames.BeaconKey, b))
}

func saying(epoch uint64, view uint32, seq uint64) converge.Beacon {
	return converge.Beacon{Epoch: converge.Epoch{N: epoch, By: 1, Instance: 1 << 40}, View: view, Seq: seq}
}

// hear waits for the next beacon that the engine tells of.
func hear(t *testing.T, e *Engine) converge.Beacon {
	t.Helper()
	select {
	case b, ok := <-e.Beacons():
		if !ok {
			t.Fatal("the channel of beacons is closed")
		}
		return b
	case <-time.After(5 * time.Second):
		t.Fatal("never heard")
	}
	panic("unreachable")
}

// A member that a beacon leaves out of a higher epoch is silent from the next frame
// on, whatever its agent does, until it has a policy of that epoch; and every beacon
// is counted once.
func TestFenceOnTheWire(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			enterNamespace(t)
			w := newWire(t)
			e := openEngine(t, k.kind, k.opts)
			p := frames.Policy(own)
			serve(t, e, p)
			say := func(b converge.Beacon) {
				t.Helper()
				w.put(beacon(b))
				if got := hear(t, e); got != b {
					t.Errorf("the agent heard %+v, want %+v", got, b)
				}
			}
			want := make(tally)
			expect := func(fence uint64, answers bool, what string) {
				t.Helper()
				if got := e.Fence(); got != fence {
					t.Errorf("%s: fence %d, want %d", what, got, fence)
				}
				if got := w.answers(); got != answers {
					t.Errorf("%s: answers: %t", what, got)
				}
				if answers {
					want[dataplane.Counter{Rule: p.RuleID(frames.DNS), Reason: portrules.Owner}]++
				} else {
					want[uncovered(portrules.Fenced)]++
				}
			}

			expect(0, true, "no beacon")
			say(saying(p.Epoch, withMe, 1))
			expect(0, true, "epoch in force")
			say(saying(p.Epoch+1, withMe, 2))
			expect(0, true, "higher epoch with me")
			say(saying(p.Epoch-1, withoutMe, 3))
			expect(0, true, "lower epoch without me")

			forged := beacon(saying(p.Epoch+1, withoutMe, 4))
			forged[len(forged)-1] ^= 1
			w.put(forged)
			w.put(beacon(saying(p.Epoch+1, withoutMe, 3)))
			expect(0, true, "forged and replayed")

			say(saying(p.Epoch+1, withoutMe, 4))
			expect(p.Epoch+1, false, "higher epoch without me")
			serve(t, e, p)
			expect(p.Epoch+1, false, "policy and lease renewed")
			say(saying(p.Epoch+1, withMe, 5))
			expect(p.Epoch+1, false, "contradiction")
			p.Epoch++
			install(t, e, p)
			expect(p.Epoch, false, "policy of that epoch: of a rival group")
			p.Epoch++
			install(t, e, p)
			expect(p.Epoch-1, true, "policy of a higher epoch")

			want[uncovered(portrules.BeaconHeard)] = 5
			want[uncovered(portrules.BeaconForged)] = 1
			want[uncovered(portrules.BeaconReplayed)] = 1
			if err := want.compare(nil, ipv4Only(counters(t, e))); err != nil {
				t.Error(err)
			}
		})
	}
}

// ipv4Only leaves out what kernels say to each other unasked.
func ipv4Only(all []dataplane.Counter) (out []dataplane.Counter) {
	for _, c := range all {
		if c.Reason != portrules.Neighbor && c.Reason != portrules.NeighborReply {
			out = append(out, c)
		}
	}
	return out
}

// The beacon of exactly the epoch that is prepared switches to it, whatever the agent
// does; no other does, and none when the agent has changed its mind.
func TestCommitOnTheWire(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			enterNamespace(t)
			w := newWire(t)
			e := openEngine(t, k.kind, k.opts)
			now, next := frames.Policy(nil), frames.Policy(own) // answers nobody, everybody
			next.Epoch = now.Epoch + 1
			commit := saying(next.Epoch, withMe, 0).Epoch
			prepare := func(commit converge.Epoch) {
				t.Helper()
				if err := e.Install(now, &dataplane.Next{Policy: next, Commit: commit}); err != nil {
					t.Fatal(err)
				}
			}
			serve(t, e, now)
			seq := uint64(0)
			say := func(epoch converge.Epoch, inForce bool) {
				seq++
				w.put(beacon(converge.Beacon{Epoch: epoch, View: withMe, Seq: seq, InForce: inForce}))
				hear(t, e)
			}
			expect := func(answers bool, what string) {
				t.Helper()
				if got := w.answers(); got != answers {
					t.Errorf("%s: answers: %t", what, got)
				}
			}

			prepare(commit)
			expect(false, "prepared")
			say(converge.Epoch{N: commit.N + 1, By: commit.By, Instance: commit.Instance}, true)
			say(converge.Epoch{N: commit.N, By: commit.By + 1, Instance: commit.Instance}, true)
			expect(false, "beacons of other epochs")
			prepare(converge.Epoch{})
			say(commit, true)
			expect(false, "prepared, but not for a beacon")
			prepare(commit)
			if err := e.Install(now, nil); err != nil {
				t.Fatal(err)
			}
			say(commit, true)
			expect(false, "forgotten")
			prepare(commit)
			say(commit, false)
			expect(false, "a beacon that fences others")
			say(commit, true)
			expect(true, "the beacon of the epoch")
			if err := e.Install(next, nil); err != nil {
				t.Fatal(err)
			}
			expect(true, "the agent follows")
			say(commit, true)
			expect(true, "the beacon again")
		})
	}
}

// Beacons are heard before there is a policy: as if its epoch were zero.
func TestBeaconBeforeInstall(t *testing.T) {
	enterNamespace(t)
	e := openEngine(t, "auto", options{})
	p := frames.Policy(own)
	for seq, hook := range []string{tcIn.name, xdp.name} {
		b := saying(p.Epoch, withoutMe, uint64(seq+1))
		if _, _, err := e.run(hook, beacon(b)); err != nil {
			t.Fatal(err)
		}
		if got := hear(t, e); got != b || e.Fence() != p.Epoch {
			t.Errorf("%s: heard %+v, fence %d; want %+v, fence %d", hook, got, e.Fence(), b, p.Epoch)
		}
	}
	p.Epoch++ // above the fence
	serve(t, e, p)
	if err := e.runTC(frames.TCPFrame(testClient, vipPort(22), frames.SYN), portrules.Accept); err != nil {
		t.Error(err)
	}
}

// A member without a priority takes beacons for frames like any other.
func TestBeaconsNotWanted(t *testing.T) {
	enterNamespace(t)
	setup := testSetup(t, "auto")
	setup.Priority = 0
	e := openSetup(t, setup, options{})
	p := frames.Policy(own)
	serve(t, e, p)
	before := counters(t, e)
	for _, frame := range [][]byte{beacon(saying(p.Epoch+1, withoutMe, 1)), beacon(saying(p.Epoch+1, withoutMe, 1))[:30]} {
		if err := e.runTC(frame, portrules.Pass); err != nil {
			t.Error(err)
		}
		if err := e.runXDP(frame, portrules.Decision{}); err != nil {
			t.Error(err)
		}
	}
	if err := (tally{}).compare(before, counters(t, e)); err != nil || e.Fence() != 0 {
		t.Errorf("%v, fence %d", err, e.Fence())
	}
}

// The programs never wait for an agent that is frozen.
func TestBeaconsUnread(t *testing.T) {
	enterNamespace(t)
	e := openEngine(t, "auto", options{})
	frozen, err := e.load(testSetup(t, "auto")) // nobody reads its ring
	if err != nil {
		t.Fatal(err)
	}
	defer frozen.close()
	words, err := mapControl(frozen.agent)
	if err != nil {
		t.Fatal(err)
	}
	defer words.close()
	words.setBeaconKeys([]nlbhash.Key{frames.BeaconKey})
	const many = 500 // more than the ring holds
	for seq := range uint64(many) {
		code, err := frozen.collection.Programs[xdp.name].Run(&ebpf.RunOptions{Data: beacon(saying(1, withMe, seq+1))})
		if err != nil || code != xdpDrop {
			t.Fatalf("beacon %d: %d, %v", seq, code, err)
		}
	}
	got, err := readCounters(frozen.counters, names{}.counted())
	if err != nil {
		t.Fatal(err)
	}
	if err := (tally{uncovered(portrules.BeaconHeard): many}).compare(nil, got); err != nil {
		t.Error(err)
	}
}

// The fence is the highest of all epochs, though beacons arrive on several CPUs.
func TestFenceIsMonotonic(t *testing.T) {
	enterNamespace(t)
	e := openEngine(t, "auto", options{})
	rng := rand.New(rand.NewPCG(5, 6))
	var wg sync.WaitGroup
	highest, total := uint64(0), 0
	for by := range 4 {
		var batch [][]byte
		for seq := range uint64(500) {
			b := saying(rng.Uint64(), withoutMe, seq+1)
			b.Epoch.By = uint8(by + 4)
			highest = max(highest, b.Epoch.N)
			batch = append(batch, beacon(b))
			total++
		}
		wg.Go(func() {
			before := uint64(0)
			for _, frame := range batch {
				if _, _, err := e.run(xdp.name, frame); err != nil {
					t.Error(err)
				}
				now := e.Fence()
				if now < before {
					t.Errorf("fence %d after %d", now, before)
				}
				before = now
			}
		})
	}
	wg.Wait()
	if e.Fence() != highest {
		t.Errorf("fence %d, want %d", e.Fence(), highest)
	}
	want := tally{uncovered(portrules.BeaconHeard): uint64(total)}
	if err := want.compare(nil, counters(t, e)); err != nil {
		t.Error(err)
	}
}

// What portrules knows of beacons, and what the frames of tests hold, is what
// converge writes.
func TestBeaconFormat(t *testing.T) {
	if converge.BeaconEtherType != portrules.EtherTypeBeacon || converge.BeaconSize != portrules.BeaconSize {
		t.Error("EtherType or size differs")
	}
	rng := rand.New(rand.NewPCG(7, 8))
	good := 0
	for range 20_000 {
		frame := frames.Random(rng, frames.Policy(nil))
		pkt := portrules.Parse(frame)
		if pkt.Kind != portrules.Beacon {
			continue
		}
		l := portrules.Listener{Self: frames.Self, Key: frames.BeaconKey}
		heard := !pkt.Malformed && l.Hear(pkt.Beacon, 0) != portrules.BeaconForged
		b, err := converge.ParseBeacon(frame[14:], frames.BeaconKey)
		if heard != (err == nil) {
			t.Errorf("portrules takes it: %t, converge: %v\n% x", heard, err, frame)
		}
		if err != nil {
			continue
		}
		good++
		place := portrules.Sequence{Instance: b.Epoch.Instance, Seq: b.Seq}
		if place.Instance != 0 && l.Last[b.Epoch.By] != place {
			t.Errorf("portrules reads %+v, converge %+v", l.Last[b.Epoch.By], b)
		}
	}
	if good < 100 {
		t.Errorf("only %d good beacons", good)
	}
}
