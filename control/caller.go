package control

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/user"
	"strconv"
	"strings"
)

// Role is what a caller may do.
type Role int

const (
	Nobody Role = iota // nothing
	Reader             // look
	Admin              // look, and change
)

func (r Role) String() string {
	switch r {
	case Reader:
		return "reader"
	case Admin:
		return "admin"
	}
	return "nobody"
}

// Caller is who asks: a process at the unix socket, or the holder of a certificate.
type Caller struct {
	Name    string // of the user, or of the certificate
	Role    Role
	UID     uint32         // unix socket only, as the next two
	PID     int32          // 0 if not known
	Process string         // its name
	Login   string         // the user who logged in and then became Name, by sudo for one
	Remote  netip.AddrPort // the other end of a TLS connection; invalid: the unix socket

	again func() error // whether the certificate is still good; nil: there is none
}

// still returns an error when a caller's certificate is not good any more.
func (c Caller) still() error {
	if c.again == nil {
		return nil
	}
	return c.again()
}

// From says where the caller is.
func (c Caller) From() string {
	switch {
	case c.Remote.IsValid():
		return c.Remote.String()
	case c.Process != "":
		return fmt.Sprintf("unix, pid %d (%s)", c.PID, c.Process)
	case c.PID != 0:
		return fmt.Sprintf("unix, pid %d", c.PID)
	}
	return "unix"
}

// Who names the person as well as it is known.
func (c Caller) Who() string {
	if c.Login != "" {
		return c.Login + " as " + c.Name
	}
	return c.Name
}

func (c Caller) String() string { return c.Who() + " from " + c.From() }

// key is what limits are counted by: a person, not one of its connections.
func (c Caller) key() string {
	if c.Remote.IsValid() {
		return "tls " + c.Name
	}
	return "uid " + strconv.FormatUint(uint64(c.UID), 10)
}

// named fills in what the system knows of the process. It reads files, so it is left
// to requests that need it; the process waits for the answer, so it is still there.
func (c Caller) named() Caller {
	if c.Remote.IsValid() {
		return c
	}
	c.Name = userName(c.UID)
	if c.PID == 0 {
		return c
	}
	proc := fmt.Sprintf("/proc/%d/", c.PID)
	comm, _ := os.ReadFile(proc + "comm") // see proc(5)
	c.Process = strings.TrimSpace(string(comm))
	login, _ := os.ReadFile(proc + "loginuid")
	uid, err := strconv.ParseUint(strings.TrimSpace(string(login)), 10, 32)
	if err == nil && uid != noLogin && uint32(uid) != c.UID {
		c.Login = userName(uint32(uid))
	}
	return c
}

// noLogin is the loginuid of processes that nobody logged in for, such as services.
const noLogin = 1<<32 - 1

func userName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return "uid " + id
}

type callerKey struct{}

// WithCaller returns a context of a request by c.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerOf returns who asks; Nobody if the context is not of a request. Name and
// process are filled in for requests that change something.
func CallerOf(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}
