package membership

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Kinds of refusal, for errors.Is.
var (
	ErrDuplicatePriority = errors.New("priority is taken")
	ErrDuplicateName     = errors.New("name is taken")
	ErrWrongKey          = errors.New("cluster keys differ")
	ErrWrongCluster      = errors.New("belongs to another cluster")
	ErrWrongDetection    = errors.New("detection differs")
)

// DuplicateError says that this member cannot be in the cluster beside
// Holder. It is an ErrDuplicatePriority or an ErrDuplicateName.
type DuplicateError struct {
	Self   Peer
	Holder Peer
}

func (e *DuplicateError) Error() string {
	if e.Self.Name == e.Holder.Name {
		return fmt.Sprintf("member name %q is already used by the member at %s: set another member.name here (%s), or stop that member",
			e.Self.Name, e.Holder.Address, e.Self.Address)
	}
	return fmt.Sprintf("priority %d is already held by member %q at %s: set a free member.priority on %q, or stop that member",
		e.Self.Priority, e.Holder.Name, e.Holder.Address, e.Self.Name)
}

// Is reports which of the two kinds e is.
func (e *DuplicateError) Is(target error) bool {
	if e.Self.Name == e.Holder.Name {
		return target == ErrDuplicateName
	}
	return target == ErrDuplicatePriority
}

// explainJoin turns the error of a failed join into one that an operator can
// act on. memberlist has no typed errors: these are its texts (net.go and
// security.go, v0.7.0), and TestWrongKey holds them to it.
func explainJoin(to netip.AddrPort, err error) error {
	text := err.Error()
	has := func(s string) bool { return strings.Contains(text, s) }
	switch {
	case has(differText): // ours, of NotifyMerge
		_, why, _ := strings.Cut(text, differText)
		return fmt.Errorf("join %s: %s %s: %w", to, differText, strings.TrimSpace(why), ErrWrongDetection)
	case has("no installed keys could decrypt"):
		return fmt.Errorf("join %s: it uses another cluster key: compare membership.key_file; if the key was changed, write into it what `nlbctl key show` prints there: %w", to, ErrWrongKey)
	case has("encryption is configured but remote state is not encrypted"):
		return fmt.Errorf("join %s: it runs without a cluster key (membership.key_file or insecure), this member has one: %w", to, ErrWrongKey)
	case has("remote state is encrypted and encryption is not configured"):
		return fmt.Errorf("join %s: it uses a cluster key (membership.key_file), this member runs without: %w", to, ErrWrongKey)
	case has("EOF"), has("connection reset"), has("broken pipe"), has("closed pipe"):
		return fmt.Errorf("join %s: it hung up; it has another cluster.name, or it is stopping: %w", to, ErrWrongCluster)
	}
	return fmt.Errorf("join %s: %w", to, err)
}
