package nlbhash

// stride visits all buckets in an order in which every run is spread evenly over
// the table: Buckets divided by the golden ratio, and odd, so that it reaches each
// bucket once.
const stride = 2531

// Rebalance returns a table in which every host owns exactly its share of the
// buckets (see Shares), with the fewest buckets moved from prev. It depends on its
// arguments alone and leaves prev as it is; a nil prev is a table without owners.
// Without any weight no bucket has an owner.
func Rebalance(prev *Table, targets Targets) *Table {
	next := new(Table)
	if prev != nil {
		*next = *prev
	}
	quota := Shares(targets)
	for i := range Buckets {
		// The first buckets on the walk stay until the quota of their owner is used up.
		b := i * stride % Buckets
		owner := next[b]
		if owner > MaxPriority || quota[owner] == 0 {
			next[b] = 0
			continue
		}
		quota[owner]--
	}
	taker := 1
	for i := range Buckets {
		b := i * stride % Buckets
		if next[b] != 0 {
			continue
		}
		for taker <= MaxPriority && quota[taker] == 0 {
			taker++
		}
		if taker > MaxPriority {
			break
		}
		next[b] = uint8(taker)
		quota[taker]--
	}
	return next
}

// Shares returns the number of buckets that each host owns, by host priority:
// Buckets divided in proportion to the weights by the method of largest remainder,
// equal remainders in favour of the lower priority number. They add up to Buckets,
// or to zero where no host has a weight. They do not depend on an earlier table, so
// the same weights lead to the same shares by whatever way they were reached.
func Shares(targets Targets) [MaxPriority + 1]int {
	var shares [MaxPriority + 1]int
	var total uint64
	for _, w := range targets[1:] {
		total += uint64(w)
	}
	if total == 0 {
		return shares
	}
	var remainders [MaxPriority + 1]uint64
	left := Buckets
	for p := 1; p <= MaxPriority; p++ {
		exact := uint64(targets[p]) * Buckets
		shares[p] = int(exact / total)
		remainders[p] = exact % total
		left -= shares[p]
	}
	for ; left > 0; left-- {
		best := 1
		for p := range remainders {
			if remainders[p] > remainders[best] {
				best = p
			}
		}
		shares[best]++
		remainders[best] = 0
	}
	return shares
}

// Counts returns the number of buckets of each owner, by host priority; index 0
// counts the buckets without an owner.
func (t *Table) Counts() [MaxPriority + 1]int {
	var counts [MaxPriority + 1]int
	for _, owner := range t {
		if owner > MaxPriority {
			owner = 0
		}
		counts[owner]++
	}
	return counts
}
