package converge

import (
	"errors"
	"fmt"
	"slices"

	"github.com/opennlb/opennlb/nlbhash"
)

// State is what a member is meant to do.
type State uint8

const (
	Started   State = iota // answers its share
	Draining               // keeps its connections, gets no new ones
	Stopped                // answers nothing
	Suspended              // stopped, and ignores start until resumed
)

var stateNames = [...]string{"started", "draining", "stopped", "suspended"}

func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// MarshalText implements encoding.TextMarshaler.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *State) UnmarshalText(text []byte) error {
	i := slices.Index(stateNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("unknown state %q: use started, draining, stopped or suspended", text)
	}
	*s = State(i)
	return nil
}

// holds reports whether a member in this state may have connections worth keeping.
func (s State) holds() bool { return s == Started || s == Draining }

// Share is a member's part in one port rule.
type Share struct {
	Weight   uint8 `json:"weight"`   // 0 to 100, mode multiple
	Priority uint8 `json:"priority"` // handling priority, mode single; 1 is first
}

// Info is what a member says about itself.
type Info struct {
	Name     string  `json:"name"`
	Priority uint8   `json:"priority"`
	Instance uint64  `json:"instance"` // random for each start of the agent
	Version  uint64  `json:"version"`  // raised with every change of what follows
	State    State   `json:"state"`
	Shares   []Share `json:"shares"` // one per rule
}

// Peer is a live member as membership sees it.
type Peer struct {
	Name     string
	Priority uint8
	Instance uint64
}

// bit is the member's place in a view mask.
func (i Info) bit() uint32 { return 1 << (i.Priority - 1) }

func (i Info) peer() Peer { return Peer{i.Name, i.Priority, i.Instance} }

// newer reports whether i replaces old: another start of the agent, or a later word of the same.
func (i Info) newer(old Info) bool {
	return i.Instance != old.Instance || i.Version > old.Version
}

func (i Info) valid(rules int) error {
	if i.Priority < 1 || i.Priority > nlbhash.MaxPriority {
		return fmt.Errorf("priority %d is not 1 to %d", i.Priority, nlbhash.MaxPriority)
	}
	if len(i.Shares) != rules {
		return fmt.Errorf("%s has %d shares for %d rules", i.Name, len(i.Shares), rules)
	}
	if i.State > Suspended {
		return errors.New(i.State.String())
	}
	return nil
}
