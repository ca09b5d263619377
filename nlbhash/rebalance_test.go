package nlbhash

import (
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestShares(t *testing.T) {
	for _, tt := range []struct {
		name    string
		targets Targets
		want    map[int]int
	}{
		{"nobody", Targets{}, nil},
		{"index 0 is no host", Targets{7}, nil},
		{"one", Targets{5: 1}, map[int]int{5: 4096}},
		{"equal, no remainder", Targets{1: 50, 2: 50}, map[int]int{1: 2048, 2: 2048}},
		{"equal, remainder to the lowest", Targets{2: 50, 5: 50, 9: 50}, map[int]int{2: 1366, 5: 1365, 9: 1365}},
		{"weighted", Targets{1: 100, 2: 50, 3: 0}, map[int]int{1: 2731, 2: 1365}},
		{"largest remainder before lowest number", Targets{1: 1, 2: 2}, map[int]int{1: 1365, 2: 2731}},
		{"full range of weights", Targets{1: 1<<32 - 1, 32: 1}, map[int]int{1: 4096}},
	} {
		var want [MaxPriority + 1]int
		for p, n := range tt.want {
			want[p] = n
		}
		if got := Shares(tt.targets); got != want {
			t.Errorf("%s: got %v, want %v", tt.name, got, want)
		}
	}
}

// Every share is the exact quota rounded down or up, rounded up only where the
// fraction is no smaller than that of any host that was rounded down.
func TestSharesAreLargestRemainder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		targets := drawTargets(t)
		shares, total := Shares(targets), sum(targets)
		if total == 0 {
			return
		}
		got := 0
		var up, down []fraction
		for p := 1; p <= MaxPriority; p++ {
			got += shares[p]
			exact := new(big.Rat).SetFrac64(int64(targets[p])*Buckets, total)
			rest := exact.Sub(exact, new(big.Rat).SetInt64(int64(shares[p])))
			switch {
			case rest.Sign() < 0:
				up = append(up, fraction{p, rest.Add(rest, big.NewRat(1, 1))})
			default:
				down = append(down, fraction{p, rest})
			}
		}
		if got != Buckets {
			t.Fatalf("shares add up to %d, want %d", got, Buckets)
		}
		for _, d := range down {
			if d.rest.Cmp(big.NewRat(1, 1)) >= 0 {
				t.Fatalf("host %d is short of its quota by %v", d.host, d.rest)
			}
			for _, u := range up {
				if u.rest.Sign() <= 0 {
					t.Fatalf("host %d has more than its quota rounded up", u.host)
				}
				if c := u.rest.Cmp(d.rest); c < 0 || c == 0 && u.host > d.host {
					t.Fatalf("host %d (%v) was rounded up, host %d (%v) down", u.host, u.rest, d.host, d.rest)
				}
			}
		}
	})
}

type fraction struct {
	host int
	rest *big.Rat
}

func TestRebalance(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		prev, targets := drawTable(t), drawTargets(t)
		before := *prev
		next := Rebalance(prev, targets)

		if *prev != before {
			t.Fatal("prev was modified")
		}
		if *Rebalance(prev, targets) != *next {
			t.Fatal("two calls with the same arguments differ")
		}
		if *Rebalance(next, targets) != *next {
			t.Fatal("a balanced table was changed")
		}
		if sum(targets) == 0 {
			if *next != (Table{}) {
				t.Fatal("owners without a weight")
			}
			return
		}
		want, have := Shares(targets), prev.Counts()
		if got := next.Counts(); got != want {
			t.Fatalf("counts %v, want %v", got, want)
		}
		fewest := 0
		for p := 1; p <= MaxPriority; p++ {
			fewest += max(0, want[p]-have[p])
		}
		if got := moves(prev, next); got != fewest {
			t.Fatalf("%d buckets moved, want %d", got, fewest)
		}
	})
}

func TestRebalanceFromNothing(t *testing.T) {
	targets := Targets{1: 50, 2: 50}
	if *Rebalance(nil, targets) != *Rebalance(new(Table), targets) {
		t.Error("a nil table differs from one without owners")
	}
}

// A table that names owners who cannot exist is repaired, not indexed with.
func TestRebalanceOfUnknownOwners(t *testing.T) {
	prev := new(Table)
	for i := range prev {
		prev[i] = 255
	}
	if got := Rebalance(prev, Targets{3: 1}).Counts()[3]; got != Buckets {
		t.Errorf("host 3 owns %d buckets, want all", got)
	}
}

// What a newcomer takes, and what a leaver leaves to each of the others, is spread
// over the table: no member serves a long run of buckets moved to it.
func TestRebalanceSpreads(t *testing.T) {
	three := Rebalance(nil, Targets{1: 50, 2: 50, 3: 50})
	four := Rebalance(three, Targets{1: 50, 2: 50, 3: 50, 4: 50})
	back := Rebalance(four, Targets{1: 50, 3: 50, 4: 50})
	for _, step := range []struct {
		name       string
		prev, next *Table
	}{{"start", new(Table), three}, {"join", three, four}, {"leave", four, back}} {
		run, longest := 0, 0
		moved := [MaxPriority + 1][8]int{}
		for b := range Buckets {
			if step.prev[b] == step.next[b] {
				run = 0
				continue
			}
			moved[step.next[b]][b/(Buckets/8)]++
			if b > 0 && step.next[b] != step.next[b-1] {
				run = 0
			}
			run++
			longest = max(longest, run)
		}
		if longest > 16 {
			t.Errorf("%s: %d neighbouring buckets moved to one member", step.name, longest)
		}
		for p, eighths := range moved {
			low, high := slices.Min(eighths[:]), slices.Max(eighths[:])
			if high > 2*low+2 {
				t.Errorf("%s: member %d took %v buckets of the eighths of the table", step.name, p, eighths)
			}
		}
	}
}

// Whoever joins takes its share, which is exact to within one bucket, and nothing else
// moves; whoever leaves gives away what it has, and nothing else moves. With some unequal
// weights a bucket moves between two others, too: the fractions are ranked anew, and
// the exact shares want it (the method's new states paradox). Of random weights that is
// one change in some hundred, and two of 4096 buckets at most.
func TestMovesOfOneMember(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, tt := range []struct {
		name   string
		weight func(p int) uint32
		rounds int
		limit  int // buckets that may move between others
	}{
		{"equal", func(int) uint32 { return 50 }, 1, 0},
		{"rising", func(p int) uint32 { return uint32(p) }, 1, 0},
		{"1 to 100", func(p int) uint32 { return uint32(1 + p*37%100) }, 1, 0},
		{"some idle", func(p int) uint32 { return uint32(p%7) * 10 }, 1, 0},
		{"random", func(int) uint32 { return 1 + rng.Uint32N(100) }, 5, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			changes, unclean := 0, 0
			check := func(what string, n, strays int) {
				changes++
				if strays > 0 {
					unclean++
				}
				if strays > tt.limit {
					t.Errorf("%s of %d members: %d buckets moved between others, want at most %d", what, n, strays, tt.limit)
				}
			}
			for round := range tt.rounds * 31 {
				n := 1 + round%31
				var without Targets
				for p := 1; p <= n; p++ {
					without[p] = tt.weight(p)
				}
				with := without
				with[n+1] = tt.weight(n + 1)
				if sum(without) == 0 {
					continue
				}
				before := Rebalance(nil, without)
				after := Rebalance(before, with)
				took, exact := after.Counts()[n+1], float64(Buckets)*float64(with[n+1])/float64(sum(with))
				if math.Abs(float64(took)-exact) >= 1 {
					t.Errorf("newcomer to %d: %d buckets, want %.1f", n, took, exact)
				}
				check("join", n, strays(before, after, func(_, to uint8) bool { return to == uint8(n+1) }))
				for gone := 1; gone <= n+1; gone++ {
					rest := with
					rest[gone] = 0
					if sum(rest) > 0 {
						check("leave", n+1, strays(after, Rebalance(after, rest), func(from, _ uint8) bool { return from == uint8(gone) }))
					}
				}
			}
			t.Logf("%d of %d changes moved a bucket between others", unclean, changes)
			if unclean*100 > changes {
				t.Error("that is more than rounding explains")
			}
		})
	}
}

// strays counts the buckets that moved although they had no reason to.
func strays(before, after *Table, reason func(from, to uint8) bool) (n int) {
	for b := range before {
		if before[b] != after[b] && !reason(before[b], after[b]) {
			n++
		}
	}
	return n
}

func moves(a, b *Table) int {
	n := 0
	for i := range a {
		if a[i] != b[i] {
			n++
		}
	}
	return n
}

func sum(targets Targets) (total int64) {
	for _, w := range targets[1:] {
		total += int64(w)
	}
	return total
}

func drawTargets(t *rapid.T) (targets Targets) {
	hosts := rapid.IntRange(0, MaxPriority).Draw(t, "hosts")
	weight := rapid.OneOf(rapid.Just(uint32(50)), rapid.Uint32Range(0, 100), rapid.Uint32())
	for range hosts {
		targets[rapid.IntRange(1, MaxPriority).Draw(t, "host")] = weight.Draw(t, "weight")
	}
	return targets
}

// drawTable returns one that a history of changes led to, or an arbitrary one.
func drawTable(t *rapid.T) *Table {
	table := new(Table)
	if rapid.Bool().Draw(t, "arbitrary") {
		// A few random bytes, repeated, are as good as 4096 of them and quicker to shrink.
		owners := rapid.SliceOfN(rapid.Uint8Range(0, MaxPriority), 1, 64).Draw(t, "owners")
		for i := range table {
			table[i] = owners[i*i%len(owners)]
		}
	}
	for range rapid.IntRange(0, 3).Draw(t, "changes") {
		table = Rebalance(table, drawTargets(t))
	}
	return table
}

func BenchmarkRebalance(b *testing.B) {
	var all, without Targets
	for p := 1; p <= MaxPriority; p++ {
		all[p], without[p] = 50, 50
	}
	without[7] = 0
	table := Rebalance(nil, all)
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			Rebalance(nil, all)
		}
	})
	b.Run("lost", func(b *testing.B) {
		for b.Loop() {
			Rebalance(table, without)
		}
	})
}
