package control

import (
	"fmt"
	"net/http"
)

// reads makes a handler of one that changes nothing.
func (a *api) reads(h handler) handler { return admitted(Reader, h) }

// restricted makes a handler of one that shows what readers need not see.
func (a *api) restricted(h handler) handler { return admitted(Admin, h) }

func admitted(least Role, h handler) handler {
	return func(w http.ResponseWriter, r *http.Request) (any, error) {
		if err := need(least, CallerOf(r.Context())); err != nil {
			return nil, err
		}
		return h(w, r)
	}
}

// need refuses a caller whose role is too low, and says what to write.
func need(least Role, c Caller) error {
	switch {
	case c.Role >= least:
		return nil
	case c.Role == Reader:
		return &Error{http.StatusForbidden, fmt.Sprintf("%q may only look: write that name into control.remote.admins of this member to allow it more", c.Name)}
	}
	return &Error{http.StatusForbidden, fmt.Sprintf("%q is neither an administrator nor a reader: write that name into control.remote.admins or control.remote.readers of this member", c.Name)}
}

// paced refuses who asks too often.
func (a *api) paced(h handler) handler {
	return func(w http.ResponseWriter, r *http.Request) (any, error) {
		if !a.readLimits.allow(CallerOf(r.Context()).key()) {
			w.Header().Set("Retry-After", "1")
			return nil, &Error{http.StatusTooManyRequests, fmt.Sprintf("too many requests: %g a second are answered", readRate.perSecond)}
		}
		return h(w, r)
	}
}
