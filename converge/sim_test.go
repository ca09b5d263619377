package converge

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opennlb/opennlb/nlbhash"
)

var (
	simSchedules = flag.Int("sim.n", 300, "random schedules to simulate")
	simSeed      = flag.Uint64("sim.seed", 0, "simulate only this seed, and tell what happens")
)

// sim is a cluster in a random schedule: loss, delay, reordering, duplicates,
// crashes, freezes, restarts, partitions, clocks that differ. One seed gives one
// schedule. True time is known to nobody inside.
//
// What is simulated beside the Machine, and where:
//
//	sim_node_test.go     the agent, its lease, its data plane and its connections
//	sim_wire_test.go     messages, membership, who hears whom
//	sim_trouble_test.go  what befalls the members
//	sim_check_test.go    the invariants
//	sim_fault_test.go    deliberate breaks, to test the checks
type sim struct {
	rng   *rand.Rand
	now   time.Duration
	queue queue
	nodes []*node
	loss  float64 // of datagrams; a fifth of it for messages over TCP

	majority  bool      // partition: majority
	strangers bool      // some agents were not of one view when the segment was split
	dampening Dampening // the same on all members
	newcomer  bool      // in every third schedule who left its view is let in as it is now, not as it was
	picky     bool      // some members refuse some plans

	plans   int // made so far
	layouts map[*Plan]*simLayout
	inForce map[string]bool // by digest of the plan: somebody committed it

	split    split
	trouble  time.Duration // when anything last went wrong
	agreed   map[Epoch]*Assignment
	settling time.Duration // from the end of all trouble to convergence, once known

	fault *fault
	log   func(format string, args ...any) // nil: nobody listens
}

// simulate plays the schedule of a seed and returns what went wrong, or nil.
func simulate(seed uint64, f *fault, log func(string, ...any)) (s *sim, bad *violation) {
	defer func() {
		if r := recover(); r != nil {
			v, ok := r.(*violation)
			if !ok {
				panic(fmt.Sprintf("seed %d: %v", seed, r))
			}
			bad = v
		}
	}()
	s = newSim(seed)
	s.fault, s.log = f, log
	if seed%2 == 0 {
		s.dampening = simDampening
	}
	s.newcomer, s.picky = seed%3 == 0, seed%5 == 0
	count := 2 + s.rng.IntN(5)
	if s.rng.IntN(100) == 0 {
		count = 2 + s.rng.IntN(nlbhash.MaxPriority-1)
	}
	if s.rng.IntN(2) == 0 {
		s.loss = 0.1
	}
	s.majority = s.rng.IntN(5) == 0
	for i := range count {
		s.nodes = append(s.nodes, s.newNode(uint8(i+1)))
	}
	same := planOf(simRules...)
	same.Majority = s.majority
	for _, n := range s.nodes {
		n.file = same
		if seed%4 == 0 {
			n.file = s.newPlan(0)
		}
	}
	for _, n := range s.nodes {
		if s.rng.IntN(4) > 0 {
			s.boot(n)
		}
	}
	s.runUntil(s.jitter(1500 * time.Millisecond))
	for range 4 + s.rng.IntN(10) {
		s.disturb(s.nodes[s.rng.IntN(count)])
		pause := 900 * time.Millisecond
		if s.rng.IntN(3) == 0 {
			pause = 20 * time.Millisecond
		}
		s.runUntil(s.now + s.jitter(pause))
	}
	s.calm()
	return s, nil
}

func newSim(seed uint64) *sim {
	return &sim{
		rng: rand.New(rand.NewPCG(seed, 1)), agreed: make(map[Epoch]*Assignment),
		layouts: make(map[*Plan]*simLayout), inForce: make(map[string]bool),
	}
}

// fault is a deliberate break of one thing; sim_fault_test.go lists them.
type fault struct {
	name      string   //nolint:unused // in sim_fault_test.go, which has a build tag
	caught    []string //nolint:unused // likewise: the checks that may notice it
	config    func(*Config)
	boot      func(*node) bool // true: the data plane keeps what it had
	before    func(*sim, *node)
	after     func(*sim, *node, *Output)
	receive   func(*sim, *node, *Message) bool // false: lost
	renew     func(*sim, *node, time.Duration) time.Duration
	oldCensus bool // connections counted under an earlier epoch are told all the same
	deaf      bool // nobody hears beacons: the fence would make up for the break
	unfenced  bool // the kernel does not heed beacons
	blind     bool // plans do not tell that a rule hashes otherwise than before
	eager     bool // any beacon switches the kernel to what is prepared
}

// event is something that happens at a moment of true time.
type event struct {
	at  time.Duration
	seq int // of equals the first planned comes first
	run func()
}

func (e *event) before(o *event) bool { return e.at < o.at || e.at == o.at && e.seq < o.seq }

// queue is a binary heap of events; container/heap would box every one.
type queue struct {
	heap []event
	seq  int
}

func (q *queue) push(at time.Duration, run func()) {
	q.seq++
	h := append(q.heap, event{at, q.seq, run})
	for i := len(h) - 1; i > 0; {
		up := (i - 1) / 2
		if !h[i].before(&h[up]) {
			break
		}
		h[i], h[up] = h[up], h[i]
		i = up
	}
	q.heap = h
}

func (q *queue) pop() event {
	h := q.heap
	first, last := h[0], len(h)-1
	h[0], h[last] = h[last], event{}
	h = h[:last]
	for i := 0; ; {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < last; c++ {
			if h[c].before(&h[least]) {
				least = c
			}
		}
		if least == i {
			break
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
	q.heap = h
	return first
}

func (s *sim) after(d time.Duration, run func()) { s.queue.push(s.now+d, run) }

// jitter is a random duration below d.
func (s *sim) jitter(d time.Duration) time.Duration { return time.Duration(s.rng.Int64N(int64(d))) }

func (s *sim) runUntil(t time.Duration) {
	for len(s.queue.heap) > 0 && s.queue.heap[0].at <= t {
		e := s.queue.pop()
		s.now = e.at
		e.run()
	}
	s.now = t
}

func (s *sim) note(n *node, format string, args ...any) {
	if s.log != nil {
		s.log("%10s n%-2d %s", s.now, n.id, fmt.Sprintf(format, args...))
	}
}

// TestSimulation plays schedules on all cores; a failure names the seed.
func TestSimulation(t *testing.T) {
	if *simSeed != 0 {
		if _, bad := simulate(*simSeed, nil, t.Logf); bad != nil {
			t.Fatalf("seed %d: %s", *simSeed, bad)
		}
		return
	}
	defer debug.SetGCPercent(debug.SetGCPercent(2000)) // much litter, little memory
	var (
		next, slowest atomic.Int64
		failed        sync.Map
		workers       sync.WaitGroup
	)
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for !t.Failed() {
				seed := next.Add(1)
				if seed > int64(*simSchedules) {
					return
				}
				s, bad := simulate(uint64(seed), nil, nil)
				if bad != nil {
					failed.Store(seed, bad)
					t.Errorf("seed %d: %s\nreplay: go test %s./converge -run '^TestSimulation$' -v -sim.seed=%d", seed, bad, simTags(), seed)
				}
				for old := slowest.Load(); bad == nil && int64(s.settling) > old && !slowest.CompareAndSwap(old, int64(s.settling)); {
					old = slowest.Load()
				}
			}
		})
	}
	workers.Wait()
	t.Logf("%d schedules; slowest to converge after the last trouble: %s", *simSchedules, time.Duration(slowest.Load()))
}

// TestReplay: a seed is worth its name only if it plays the same schedule again.
func TestReplay(t *testing.T) {
	play := func(seed uint64) (log []string) {
		if _, bad := simulate(seed, nil, func(format string, args ...any) { log = append(log, fmt.Sprintf(format, args...)) }); bad != nil {
			t.Fatalf("seed %d: %s", seed, bad)
		}
		return log
	}
	for seed := uint64(1); seed <= 20; seed++ {
		if first, second := play(seed), play(seed); !slices.Equal(first, second) {
			t.Errorf("seed %d: two runs of %d and %d lines differ", seed, len(first), len(second))
		}
	}
}

// simTags is what to tell the go command so that it plays the same schedules.
func simTags() string {
	if nlbhash.Buckets == 64 {
		return "-tags sim "
	}
	return ""
}
