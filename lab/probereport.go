package lab

import (
	"slices"
	"time"
)

// LaneReport sums up one lane of a [Probe].
type LaneReport struct {
	Attempts []Attempt // by start
	Answered int
	Silence  time.Duration // the longest time between two answered attempts with failed ones between them
	SilentAt time.Duration // when it began, on the probe's clock
	Stall    time.Duration // the longest time between two attempts: the probe's own inaccuracy
	Unended  bool          // the last attempt failed: the silence may last longer
}

// newLaneReport measures by the start of attempts: an attempt tells whether the
// cluster answered at the moment of its SYN. Silence counts from the last answered
// attempt before a failed one to the first answered after it, or to the last attempt.
func newLaneReport(attempts []Attempt) LaneReport {
	slices.SortFunc(attempts, func(a, b Attempt) int { return int(a.At - b.At) })
	r := LaneReport{Attempts: attempts}
	var answered time.Duration // start of the last answered attempt
	failed := false            // since then
	for i, a := range attempts {
		if i > 0 {
			r.Stall = max(r.Stall, a.At-attempts[i-1].At)
		}
		if a.Err != nil {
			failed = true
			r.noteSilence(answered, a.At)
			continue
		}
		if failed {
			r.noteSilence(answered, a.At)
		}
		r.Answered++
		answered, failed = a.At, false
	}
	r.Unended = failed
	return r
}

func (r *LaneReport) noteSilence(from, to time.Duration) {
	if to-from > r.Silence {
		r.Silence, r.SilentAt = to-from, from
	}
}

// Failed is the number of attempts that nobody answered.
func (r LaneReport) Failed() int { return len(r.Attempts) - r.Answered }

// Answers counts the answered attempts by member.
func (r LaneReport) Answers() map[string]int {
	count := map[string]int{}
	for _, a := range r.Attempts {
		if a.Err == nil {
			count[a.Member]++
		}
	}
	return count
}
