package control

import (
	"slices"
	"sync"
	"time"
)

// Event is something that happened to the cluster, as this member saw it.
type Event struct {
	Seq      uint64    `json:"seq"` // counts from 1 since the agent started
	Time     time.Time `json:"time"`
	Kind     string    `json:"kind"` // one word, such as joined, failed, converged
	Message  string    `json:"message"`
	Epoch    uint64    `json:"epoch"`
	Member   string    `json:"member,omitempty"` // that it is about
	Duration Duration  `json:"duration,omitempty"`
	Cause    string    `json:"cause,omitempty"` // of a convergence: what changed
	By       string    `json:"by,omitempty"`    // who asked for it, and at which member
	Moved    []Move    `json:"moved,omitempty"` // by a convergence: the largest [MaxMoves]
	Buckets  int       `json:"buckets,omitempty"`
}

// MaxMoves is how many moves an event lists at most; Event.Buckets counts all.
const MaxMoves = 16

// Move is buckets of a rule that changed their owner, of 4096.
type Move struct {
	Rule    string `json:"rule"` // "" for what no rule covers: the default host
	From    string `json:"from"` // "" for nobody
	To      string `json:"to"`   // "" for nobody
	Buckets int    `json:"buckets"`
}

// EventLog keeps the latest events. It may be used by several goroutines.
type EventLog struct {
	mu     sync.Mutex
	limit  int
	last   uint64
	events []Event
	more   chan struct{} // closed and replaced at each Add
}

// NewEventLog returns a log that keeps the latest limit events.
func NewEventLog(limit int) *EventLog {
	return &EventLog{limit: limit, more: make(chan struct{})}
}

// Add appends an event and returns it with its number.
func (l *EventLog) Add(e Event) Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	e.Seq = l.last
	if len(l.events) == l.limit {
		l.events = slices.Delete(l.events, 0, 1)
	}
	l.events = append(l.events, e)
	close(l.more)
	l.more = make(chan struct{})
	return e
}

// After returns the events that are kept with a number above seq, and a channel
// that is closed when another one is added. A number that was not given yet is of
// an earlier run of the agent: then all are returned.
func (l *EventLog) After(seq uint64) ([]Event, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if seq > l.last {
		seq = 0
	}
	from := len(l.events)
	for from > 0 && l.events[from-1].Seq > seq {
		from--
	}
	return slices.Clone(l.events[from:]), l.more
}
