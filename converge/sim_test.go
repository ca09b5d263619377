package converge

import (
	"cmp"
	"container/heap"
	"flag"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/opennlb/opennlb/nlbhash"
	"github.com/opennlb/opennlb/portrules"
)

var (
	simSchedules = flag.Int("sim.n", 500, "random schedules to simulate")
	simSeed      = flag.Uint64("sim.seed", 0, "simulate only this seed, verbosely")
)

// The simulated agent renews a lease of simLease at every tick; membership
// declares a silent member dead no sooner than simDetect, as at run time.
const (
	simTick   = 50 * time.Millisecond
	simLease  = 250 * time.Millisecond
	simDetect = 600 * time.Millisecond
	simHeal   = 2 * time.Second
	simSlots  = 4
)

var simRules = []portrules.Mode{portrules.Multiple, portrules.Single, portrules.Multiple}

// node is one simulated member with its agent, data plane and membership view.
type node struct {
	id     uint8
	m      *Machine
	up     bool
	frozen bool
	life   uint64
	lease  time.Duration // simulated instant at which it ends
	inbox  []Message     // arrived while frozen
	peers  []Peer
	silent time.Duration // since when it is frozen or down
	side   int           // of a partitioned segment
	own    [simSlots][nlbhash.Buckets / 64]uint64
}

type sim struct {
	rng   *rand.Rand
	now   time.Duration
	queue events
	seq   int
	nodes []*node
	loss  float64
	cut   time.Duration // when the segment was partitioned
	heal  time.Duration // when it was joined again
	log   func(format string, args ...any)
	fault fault
}

// fault is what a deliberately broken run gets wrong; the zero value is sound.
type fault struct {
	lease     time.Duration             // added to the lease
	onMessage func(*node, Message) bool // true: swallowed
	onOutput  func(*node, *Output)      // before it is carried out
	mend      func(s *sim, n *node)     // after every step of n
	thaw      bool                      // a thawed agent does not look at its lease
}

type event struct {
	at  time.Duration
	seq int
	run func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(e[i].at, e[j].at), e[i].seq-e[j].seq) < 0
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	x := old[len(old)-1]
	*e = old[:len(old)-1]
	return x
}

func (s *sim) after(d time.Duration, run func()) {
	s.seq++
	heap.Push(&s.queue, event{s.now + d, s.seq, run})
}

func (s *sim) clock() time.Time { return time.Unix(1000, 0).Add(s.now) }

func (s *sim) jitter(d time.Duration) time.Duration { return time.Duration(s.rng.Int64N(int64(d))) }

// boot starts a member's agent afresh: nothing is remembered.
func (s *sim) boot(n *node) {
	n.up, n.frozen, n.inbox = true, false, nil
	n.life++
	n.lease = 0
	n.own = [simSlots][nlbhash.Buckets / 64]uint64{}
	shares := make([]Share, len(simRules))
	for i := range shares {
		shares[i] = Share{Weight: 50, Priority: n.id}
	}
	info := Info{Name: fmt.Sprintf("n%d", n.id), Priority: n.id, Instance: uint64(n.id)<<32 | n.life, Shares: shares}
	lease := simLease
	if s.fault.thaw {
		lease = time.Hour
	}
	n.m = New(Config{Rules: simRules, Digest: "d", Timing: DefaultTiming, Lease: lease}, info, s.clock())
	life := n.life
	var tick func()
	tick = func() {
		if !n.up || n.life != life {
			return
		}
		if !n.frozen {
			s.carry(n, func() Output { return n.m.Tick(s.clock()) })
		}
		s.after(simTick, tick)
	}
	s.after(s.jitter(simTick), tick)
	s.membership(0)
}

// carry runs one input of the agent's loop: notice a lapse, step, install, send, renew.
func (s *sim) carry(n *node, input func() Output) {
	s.do(n, input())
	if s.fault.mend != nil {
		s.fault.mend(s, n)
	}
	if n.m.Serving() {
		n.lease = s.now + simLease + s.fault.lease
	} else {
		n.lease = 0
	}
	s.check()
}

func (s *sim) do(n *node, out Output) {
	if s.fault.onOutput != nil {
		s.fault.onOutput(n, &out)
	}
	if in := out.Install; in != nil {
		for slot, t := range in.SlotTable {
			for w := range n.own[slot] {
				n.own[slot][w] = 0
			}
			for b, f := range in.Tables[t] {
				if f&portrules.Own != 0 {
					n.own[slot][b/64] |= 1 << (b % 64)
				}
			}
		}
	}
	for _, e := range out.Events {
		s.log("%8s n%d %s: %s", s.now, n.id, e.Kind, e.Text)
	}
	for _, e := range out.Send {
		s.transmit(n, s.nodes[e.To.Priority-1], e)
	}
}

func (s *sim) transmit(from, to *node, e Envelope) {
	msg := e.Message.clone()
	copies := 1
	if s.rng.Float64() < 0.02 {
		copies = 2
	}
	for range copies {
		if s.rng.Float64() < s.loss && !msg.Reliable() {
			continue
		}
		delay := 200*time.Microsecond + s.jitter(2*time.Millisecond)
		if s.rng.Float64() < 0.03 {
			delay += s.jitter(400 * time.Millisecond)
		}
		life := to.life
		s.after(delay, func() {
			if from.side != to.side || !to.up || to.life != life {
				return
			}
			s.deliver(to, msg.clone())
		})
	}
}

func (s *sim) deliver(to *node, msg Message) {
	if to.frozen {
		if len(to.inbox) < 256 {
			to.inbox = append(to.inbox, msg)
		}
		return
	}
	if s.fault.onMessage != nil && s.fault.onMessage(to, msg) {
		return
	}
	s.carry(to, func() Output { return to.m.Receive(s.clock(), msg) })
}

// membership lets every running member learn, a while from now, what is the case then.
func (s *sim) membership(min time.Duration) {
	for _, n := range s.nodes {
		s.after(min+s.jitter(150*time.Millisecond), func() {
			if !n.up || n.frozen {
				return
			}
			var peers []Peer
			for _, o := range s.nodes {
				if s.seesAlive(n, o) {
					peers = append(peers, o.m.self.peer())
				}
			}
			s.carry(n, func() Output { return n.m.Peers(s.clock(), peers) })
		})
	}
}

// seesAlive is what n's membership holds of o: silence is death only after a while.
func (s *sim) seesAlive(n, o *node) bool {
	switch {
	case o.m == nil:
		return false
	case !o.up || o.frozen:
		return s.now < o.silent+simDetect
	case o.side != n.side:
		return s.now < s.cut+simDetect
	}
	return true
}

func (s *sim) crash(n *node) {
	s.log("%8s n%d crashes", s.now, n.id)
	if !n.frozen {
		n.silent = s.now
	}
	n.up = false
	s.membership(simDetect)
}

func (s *sim) freeze(n *node, d time.Duration) {
	s.log("%8s n%d freezes for %s", s.now, n.id, d)
	n.frozen, n.silent = true, s.now
	life := n.life
	s.membership(simDetect)
	s.after(d, func() {
		if !n.up || n.life != life {
			return
		}
		s.log("%8s n%d thaws", s.now, n.id)
		n.frozen = false
		inbox := n.inbox
		n.inbox = nil
		for _, msg := range inbox {
			s.deliver(n, msg)
		}
		s.membership(0)
	})
}

type violation string

// check is invariant 1: among members that hear the same segment no bucket has two that accept new flows.
// Two halves of a healed segment need a moment to hear of each other.
func (s *sim) check() {
	if s.heal != 0 && s.now < s.heal+simHeal {
		return
	}
	for side := range 2 {
		var seen [simSlots][nlbhash.Buckets / 64]uint64
		for _, n := range s.nodes {
			if n.side != side || s.now >= n.lease { // a crashed agent's lease runs on
				continue
			}
			for slot := range seen {
				for w := range seen[slot] {
					if twice := seen[slot][w] & n.own[slot][w]; twice != 0 {
						panic(violation(fmt.Sprintf("%s: slot %d bucket %d is answered by n%d and another",
							s.now, slot, w*64+bits.TrailingZeros64(twice), n.id)))
					}
					seen[slot][w] |= n.own[slot][w]
				}
			}
		}
	}
}

func (s *sim) runUntil(t time.Duration) {
	for len(s.queue) > 0 && s.queue[0].at <= t {
		e := heap.Pop(&s.queue).(event)
		s.now = e.at
		e.run()
	}
	s.now = t
}

// quiet checks what must hold when nothing has happened for a while.
func (s *sim) quiet() {
	var ref *Assignment
	total := [simSlots]int{}
	serving, weight := 0, 0
	for _, n := range s.nodes {
		if !n.up {
			continue
		}
		if !n.m.Converged() {
			panic(violation(fmt.Sprintf("%s: n%d is not converged: %+v", s.now, n.id, n.m.prepared != nil)))
		}
		a := n.m.Committed()
		if ref == nil {
			ref = a
		}
		if a.Epoch != ref.Epoch || !slices.EqualFunc(a.Tables, ref.Tables, func(x, y Table) bool { return x.Owner == y.Owner }) {
			panic(violation(fmt.Sprintf("%s: n%d is at epoch %v, another at %v", s.now, n.id, a.Epoch, ref.Epoch)))
		}
		if n.m.self.State == Started {
			serving++
			weight += int(n.m.self.Shares[0].Weight)
		}
		for slot := range total {
			for _, w := range n.own[slot] {
				total[slot] += bits.OnesCount64(w)
			}
		}
	}
	for slot, n := range total {
		if serving > 0 && (slot > 0 || weight > 0) && n != nlbhash.Buckets {
			panic(violation(fmt.Sprintf("%s: slot %d: %d buckets have an owner", s.now, slot, n)))
		}
	}
}

// simulate plays one random schedule and returns what went wrong, or "".
func simulate(seed uint64, f fault, log func(string, ...any)) (bad violation) {
	defer func() {
		if r := recover(); r != nil {
			v, ok := r.(violation)
			if !ok {
				panic(r)
			}
			bad = v
		}
	}()
	s := &sim{rng: rand.New(rand.NewPCG(seed, 1)), log: log, fault: f}
	count := 2 + s.rng.IntN(5)
	if s.rng.IntN(50) == 0 {
		count = nlbhash.MaxPriority
	}
	if s.rng.IntN(2) == 0 {
		s.loss = 0.1
	}
	for i := range count {
		s.nodes = append(s.nodes, &node{id: uint8(i + 1)})
	}
	for _, n := range s.nodes {
		if s.rng.IntN(4) > 0 {
			s.boot(n)
		}
	}
	s.runUntil(1500 * time.Millisecond)
	for range 4 + s.rng.IntN(8) {
		s.disturb(s.nodes[s.rng.IntN(count)])
		s.runUntil(s.now + s.jitter(900*time.Millisecond))
	}
	if slices.ContainsFunc(s.nodes, func(n *node) bool { return n.side != 0 }) {
		s.heal = s.now
	}
	for _, n := range s.nodes {
		n.side = 0
	}
	s.loss = 0
	s.membership(0)
	s.membership(simDetect)
	s.runUntil(s.now + 8*time.Second)
	s.quiet()
	return ""
}

func (s *sim) disturb(n *node) {
	switch k := s.rng.IntN(10); {
	case !n.up:
		// Detection of the crash precedes the new life's admission, or its instance tells.
		s.log("%8s n%d boots", s.now, n.id)
		s.boot(n)
	case n.frozen:
	case k < 3:
		s.crash(n)
	case k < 5:
		s.freeze(n, s.jitter(2*time.Second))
	case k < 8:
		state := State(s.rng.IntN(4))
		s.log("%8s n%d is told to be %s", s.now, n.id, state)
		s.carry(n, func() Output { return n.m.SetState(s.clock(), state) })
	case k < 9:
		shares := slices.Clone(n.m.self.Shares)
		shares[0].Weight = uint8(s.rng.IntN(101))
		s.carry(n, func() Output { return n.m.SetShares(s.clock(), shares) })
	default:
		s.partition()
	}
}

// partition splits the segment in two for a while: neither messages nor client
// frames cross, and a member changes sides only when its old peers know.
func (s *sim) partition() {
	if slices.ContainsFunc(s.nodes, func(n *node) bool { return n.side != 0 }) {
		return
	}
	s.log("%8s the segment is cut", s.now)
	s.cut = s.now
	for _, n := range s.nodes {
		n.side = s.rng.IntN(2)
	}
	s.membership(simDetect)
}

func TestSimulation(t *testing.T) {
	if *simSeed != 0 {
		if bad := simulate(*simSeed, fault{}, t.Logf); bad != "" {
			t.Fatalf("seed %d: %s", *simSeed, bad)
		}
		return
	}
	for seed := uint64(1); seed <= uint64(*simSchedules); seed++ {
		if bad := simulate(seed, fault{}, func(string, ...any) {}); bad != "" {
			t.Fatalf("seed %d: %s\nreplay: go test ./converge -run Simulation -v -sim.seed=%d", seed, bad, seed)
		}
	}
}
