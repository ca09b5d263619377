package ebpf

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/opennlb/opennlb/dataplane"
	"github.com/opennlb/opennlb/dataplane/enginetest"
	"github.com/opennlb/opennlb/portrules"
	"github.com/opennlb/opennlb/portrules/frames"
)

// The programs and portrules.Decide agree about random frames: verdict, reason,
// rule, bytes, fragment table and table of clients. In a soak there are more than a million.
func TestRandom(t *testing.T) {
	enterNamespace(t)
	enginetest.OwnEverything(t)
	e := openEngine(t, "auto", options{})
	policies, perPolicy := 100, 3000
	switch {
	case testing.Short():
		policies = 10
	case os.Getenv("NLB_SOAK") != "":
		policies = 400
	}
	seed := uint64(1)
	rng := rand.New(rand.NewPCG(seed, 2))
	reasons, compared := make(map[portrules.Reason]int), 0
	listener := &portrules.Listener{Self: frames.Self, Key: frames.BeaconKey}
	for n := range policies {
		p := frames.RandomPolicy(rng)
		p.Epoch = uint64(n+1)<<31 - 1 // above the fence that the one before left
		install(t, e, p)
		setFragments(t, e, nil)
		batch := make([][]byte, 0, perPolicy)
		for range perPolicy {
			if frame := frames.Random(rng, p); testable(frame) {
				if rng.IntN(32) == 0 {
					frame = frames.Tagged(rng, frame)
				}
				batch = append(batch, frame)
				if later, ok := followUp(frame); ok {
					batch = append(batch, later)
				}
			}
		}
		c := comparison{e: e, policy: p, fragments: make(map[portrules.FragmentKey]bool), reasons: reasons, listener: listener}
		end := c.connectSome(t, batch)
		c.rememberSome(t, rng, batch)
		c.leaseOver = n%10 == 9
		c.run(t, batch)
		end()
		compared += len(batch)
		if t.Failed() {
			t.Fatalf("policy %d of seed %d", n, seed)
		}
	}
	for r := portrules.NotVIP; r < portrules.NumReasons; r++ {
		if reasons[r] < 20 && !testing.Short() {
			t.Errorf("reason %v only %d times", r, reasons[r])
		}
	}
	t.Logf("%d frames through Go, XDP and tc: %v", compared, reasons)
	if os.Getenv("NLB_SOAK") != "" && compared < 1_000_000 {
		t.Errorf("only %d frames, want a million", compared)
	}
}

// comparison is one policy in both engines, with the state that the Go side needs.
type comparison struct {
	e         *Engine
	policy    *portrules.Policy
	leaseOver bool
	sockets   map[portrules.Flow]bool
	nat       map[portrules.Flow]bool
	fragments map[portrules.FragmentKey]bool // whether the first was accepted
	reasons   map[portrules.Reason]int
	listener  *portrules.Listener
	clients   portrules.Clients
}

// connectSome makes sockets for a few frames whose verdict depends on them, and
// connections behind NAT for some of them.
func (c *comparison) connectSome(t *testing.T, batch [][]byte) (end func()) {
	c.sockets, c.nat = make(map[portrules.Flow]bool), make(map[portrules.Flow]bool)
	var ends []func()
	for _, frame := range batch {
		pkt := portrules.Parse(frame)
		asked := false
		c.policy.Decide(&pkt, portrules.Env{HasSocket: func(portrules.Flow) bool { asked = true; return false }})
		if !asked || c.sockets[pkt.Flow()] || c.nat[pkt.Flow()] || len(ends) == 20 {
			continue
		}
		if len(ends)%3 == 2 {
			c.nat[pkt.Flow()] = true
			ends = append(ends, enterEntry(t, pkt.Flow(), entry{}))
			continue
		}
		if end, ok := connect(t, pkt.Flow()); ok {
			c.sockets[pkt.Flow()] = true
			ends = append(ends, end)
		}
	}
	return func() {
		for _, end := range ends {
			end()
		}
	}
}

// rememberSome enters some clients of the batch: of this member and of others, heard
// a moment or hours ago.
func (c *comparison) rememberSome(t *testing.T, rng *rand.Rand, batch [][]byte) {
	var known []dataplane.Client
	for _, frame := range batch {
		pkt := portrules.Parse(frame)
		var key portrules.ClientKey
		asked := false
		c.policy.Decide(&pkt, portrules.Env{Client: func(k portrules.ClientKey) (portrules.Client, bool) {
			key, asked = k, true
			return portrules.Client{}, false
		}})
		if !asked || rng.IntN(2) == 0 {
			continue
		}
		silent := time.Second
		if rng.IntN(3) == 0 {
			silent = 3 * time.Hour
		}
		known = append(known, dataplane.Client{Key: key, Client: portrules.Client{
			Addr: netip.AddrPortFrom(pkt.Src, pkt.SrcPort), Mine: rng.IntN(2) == 0, Silent: silent,
		}})
	}
	now := int64(dataplane.Now())
	for _, k := range known {
		note := portrules.NoteOther
		if k.Mine {
			note = portrules.NoteMine
		}
		c.clients.Note(note, k.Key, k.Addr, now-int64(k.Silent))
	}
	setClients(t, c.e, known...)
}

// compareClients checks that both remember the same clients.
func (c *comparison) compareClients(t *testing.T) {
	got, n := clientsOf(t, c.e), 0
	for key, want := range c.clients.All(int64(dataplane.Now())) {
		n++
		if g, ok := got[key]; !ok || g.Mine != want.Mine || (g.Silent-want.Silent).Abs() > time.Minute {
			t.Errorf("client %+v is remembered as %+v (%t), want %+v", key, g, ok, want)
		}
	}
	if len(got) != n {
		t.Errorf("%d clients remembered, want %d", len(got), n)
	}
}

func (c *comparison) run(t *testing.T, batch [][]byte) {
	lease := dataplane.Now().Add(longLease)
	if c.leaseOver {
		lease = 0
	}
	if err := c.e.Renew(lease); err != nil {
		t.Fatal(err)
	}
	env := portrules.Env{
		LeaseOver:        c.leaseOver,
		Beacon:           func(b [portrules.BeaconSize]byte) portrules.Reason { return c.listener.Hear(b, c.policy.Epoch) },
		HasSocket:        func(f portrules.Flow) bool { return c.sockets[f] },
		HasNAT:           func(f portrules.Flow) bool { return c.nat[f] },
		FragmentAccepted: func(k portrules.FragmentKey) bool { return c.fragments[k] },
		FragmentRefused: func(k portrules.FragmentKey) bool {
			accepted, known := c.fragments[k]
			return known && !accepted
		},
		Client: func(k portrules.ClientKey) (portrules.Client, bool) {
			return c.clients.Get(k, int64(dataplane.Now()))
		},
	}
	decide := func(pkt *portrules.Packet) portrules.Decision {
		env.Fence = c.listener.Fence
		d := c.policy.Decide(pkt, env)
		c.clients.Note(d.Note, d.Client, netip.AddrPortFrom(pkt.Src, pkt.SrcPort), int64(dataplane.Now()))
		return d
	}
	const step = 500 // frames between looks at the counters
	for len(batch) > 0 {
		c.listener.Fence = 0 // or beacons would soon have silenced it for good
		setListener(t, c.e, c.listener)
		before := counters(t, c.e)
		want := make(tally)
		some := batch[:min(step, len(batch))]
		batch = batch[len(some):]
		for i, frame := range some {
			pkt := portrules.Parse(frame)
			runTC := func() {
				d := decide(&pkt)
				c.reasons[d.Reason]++
				if d.RecordFragment || d.RecordRefusal {
					c.fragments[pkt.Fragment.Key] = d.RecordFragment
				}
				if d.Verdict != portrules.Pass {
					want.add(c.policy, d)
				}
				if err := c.e.runTC(frame, d.Verdict); err != nil {
					t.Errorf("%+v: %v\n%+v", d, err, pkt)
				}
			}
			runXDP := func() {
				d := decide(&pkt)
				if xdpDrops(d) {
					want.add(c.policy, d)
				}
				if err := c.e.runXDP(frame, d); err != nil {
					t.Errorf("%v: %v\n%+v", d.Reason, err, pkt)
				}
			}
			// A beacon is a good one only where it is heard first.
			if i%2 == 0 {
				runTC()
				runXDP()
			} else {
				runXDP()
				runTC()
			}
		}
		if err := want.compare(before, counters(t, c.e)); err != nil {
			t.Error(err)
		}
		if got := listenerOf(t, c.e); got != *c.listener {
			t.Errorf("the programs know\n%+v, want\n%+v", got, *c.listener)
		}
	}
	c.compareClients(t)
	for k, accepted := range c.fragments {
		if !hasFragment(c.e, k, accepted) {
			t.Errorf("fragment %v not recorded", k)
		}
	}
}

// followUp returns a later fragment of the datagram that an IPv4 frame starts.
func followUp(frame []byte) (later []byte, ok bool) {
	pkt := portrules.Parse(frame)
	if !pkt.Fragment.First || !pkt.Dst.Is4() {
		return nil, false
	}
	later = bytes.Clone(frame)
	later[20], later[21] = 0, 9
	return later, true
}
