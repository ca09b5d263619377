package converge

import (
	"errors"
	"fmt"
	"slices"

	"github.com/opennlb/opennlb/nlbhash"
	"github.com/opennlb/opennlb/portrules"
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
	Weight   uint8 `json:"weight"`          // 0 to 100, mode multiple
	Priority uint8 `json:"priority"`        // handling priority, mode single; 1 is first
	State    State `json:"state,omitempty"` // started, draining or stopped: for this rule only
}

// DefaultShare is the part of a member with a priority in rules of which it says nothing.
func DefaultShare(priority uint8) Share { return Share{Weight: 50, Priority: priority} }

// Info is what a member says about itself.
type Info struct {
	Name     string `json:"name"`
	Priority uint8  `json:"priority"`
	Instance uint64 `json:"instance"` // random for each start of the agent
	Version  uint64 `json:"version"`  // raised with every change of what follows
	State    State  `json:"state"`
	Newcomer bool   `json:"newcomer,omitempty"` // does not know yet of the others' clients

	Shares map[string]Share `json:"shares,omitempty"` // by rule, where they are not DefaultShare; not changed
}

// Share is the member's part in a rule.
func (i Info) Share(rule string) Share {
	if s, ok := i.Shares[rule]; ok {
		return s
	}
	return DefaultShare(i.Priority)
}

// takes reports whether the member takes new flows of a rule.
func (i Info) takes(r *Rule) bool { return i.State == Started && i.Share(r.Name).State == Started }

// holds reports whether it goes on serving connections of a slot.
func (i Info) holds(p *Plan, slot int) bool {
	return i.State.holds() && (slot == len(p.Rules) || i.Share(p.Rules[slot].Name).State.holds())
}

func (i Info) weight(r *Rule) uint8 {
	if i.Newcomer && r.Clients {
		return 0
	}
	return i.Share(r.Name).Weight
}

// handling is the handling priority: of a newcomer, after all others.
func (i Info) handling(r *Rule) int {
	if i.Newcomer && r.Clients {
		return 1 << 8
	}
	return int(i.Share(r.Name).Priority)
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

func (i Info) valid() error {
	if i.Priority < 1 || i.Priority > nlbhash.MaxPriority {
		return fmt.Errorf("priority %d is not 1 to %d", i.Priority, nlbhash.MaxPriority)
	}
	if len(i.Shares) > 2*portrules.MaxRules {
		return fmt.Errorf("%s has shares in %d rules", i.Name, len(i.Shares))
	}
	for rule, s := range i.Shares {
		if len(rule) > maxText || s.State > Suspended {
			return fmt.Errorf("%s has a share that makes no sense", i.Name)
		}
	}
	if i.State > Suspended {
		return errors.New(i.State.String())
	}
	return nil
}
