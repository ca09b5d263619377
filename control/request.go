package control

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Duration is written as text, such as "5m0s".
type Duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = Duration(v)
	return err
}

// Actions of a StateRequest.
const (
	Start   = "start"
	Stop    = "stop"
	Drain   = "drain"
	Suspend = "suspend"
	Resume  = "resume"
)

// MaxDrain is the longest time that a drain may take.
const MaxDrain = 24 * time.Hour

// StateRequest asks members to change their state. Neither Members nor All means
// the member asked.
type StateRequest struct {
	Action  string   `json:"action"`
	Members []string `json:"members,omitempty"`
	All     bool     `json:"all,omitempty"`
	Timeout Duration `json:"timeout,omitempty"` // drain only: connections left then are dropped; 0 = wait for ever
}

func (r *StateRequest) validate() error {
	actions := []string{Start, Stop, Drain, Suspend, Resume}
	switch {
	case !slices.Contains(actions, r.Action):
		return Refuse("unknown action %.64q: write one of %s", r.Action, strings.Join(actions, ", "))
	case r.All && len(r.Members) > 0:
		return Refuse("all and a list of members contradict: give one of them")
	case len(r.Members) > 32:
		return Refuse("%d members are too many: a cluster has at most 32", len(r.Members))
	case r.Timeout != 0 && r.Action != Drain:
		return Refuse("only drain takes a timeout")
	case r.Timeout < 0 || time.Duration(r.Timeout) > MaxDrain:
		return Refuse("timeout %v is out of range: give 0s (wait for ever) to 24h", time.Duration(r.Timeout))
	}
	for i, m := range r.Members {
		if m == "" || len(m) > 63 {
			return Refuse("member name %.64q is not usable", m)
		}
		if slices.Contains(r.Members[:i], m) {
			return Refuse("member %q is named twice", m)
		}
	}
	return nil
}

// Result says what became of a request at one member.
type Result struct {
	Member string `json:"member"`
	OK     bool   `json:"ok"`
	Error  string `json:"error,omitempty"`
	Old    string `json:"old,omitempty"` // what was changed, before and after
	New    string `json:"new,omitempty"`
}

// Error is a refusal that the caller can act on. Any other error of a Backend is
// reported as an internal one.
type Error struct {
	Status  int    `json:"-"` // of HTTP
	Message string `json:"error"`
}

func (e *Error) Error() string { return e.Message }

// Refuse makes an error that blames the request.
func Refuse(format string, args ...any) error {
	return &Error{Status: 400, Message: fmt.Sprintf(format, args...)}
}
