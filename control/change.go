package control

import (
	"context"
	"errors"
	"net/http"
	"slices"
)

// change is a request that was understood: what it would do, for the audit log, and
// how it is done.
type change struct {
	verb     string   // as nlbctl has it
	targets  []string // members, rules and the like
	old, new string   // of what is changed; [Result] has those of each member
	do       func(context.Context) (any, error)
}

// changes makes a handler of one that changes something: what parse returns is carried
// out if the caller is an Admin, not too often, and every attempt is in the audit log.
// Whatever changes the cluster goes through here, once.
func (a *api) changes(parse func(http.ResponseWriter, *http.Request) (*change, error)) handler {
	return func(w http.ResponseWriter, r *http.Request) (any, error) {
		c, err := parse(w, r)
		if err != nil {
			return nil, err
		}
		caller := CallerOf(r.Context()).named()
		about := []any{"verb", c.verb, "targets", c.targets, "who", caller.Who(), "role", caller.Role, "from", caller.From(), "uid", caller.UID}
		e := AuditEntry{
			Time: a.now().UTC(), Who: caller.Who(), Role: caller.Role.String(), From: caller.From(),
			Verb: c.verb, Targets: c.targets, Old: c.old, New: c.new,
		}
		if err := a.mayChange(caller); err != nil {
			e.Result, e.Error, e.Old, e.New = Refused, err.Error(), "", ""
			if a.noise.allow(caller.key()) {
				a.log.Warn("change refused", append(about, "reason", err)...)
			}
			a.write(e)
			return nil, err
		}
		a.log.Info("change requested", about...) // now: what it does may be the end of this process
		e.Result, e.Error = Failed, "internal error: see the log of nlbd"
		defer func() { a.write(e) }() // also if it panics
		v, err := c.do(WithCaller(r.Context(), caller))
		e.conclude(v, err)
		if c.old != "" || c.new != "" {
			e.Old, e.New = c.old, c.new // do may have learned them only now
		}
		return v, err
	}
}

func (a *api) mayChange(c Caller) error {
	if err := need(Admin, c); err != nil {
		return err
	}
	if !a.changeLimits.allow(c.key()) {
		return &Error{http.StatusTooManyRequests, "too many changes: wait a second"}
	}
	return nil
}

// conclude fills in what became of a change.
func (e *AuditEntry) conclude(v any, err error) {
	e.Error = ""
	var refused *Error
	switch {
	case errors.As(err, &refused) && refused.Status < 500:
		e.Result, e.Error = Refused, err.Error()
		return
	case err != nil:
		e.Result, e.Error = Failed, err.Error()
		return
	}
	e.Result = Done
	results, ok := v.([]Result)
	if !ok || len(results) == 0 {
		return
	}
	e.Members = results
	failed := 0
	for _, r := range results {
		if !r.OK {
			failed++
		}
	}
	switch failed {
	case 0:
	case len(results):
		e.Result = Failed
	default:
		e.Result = Partly
	}
	first := results[0]
	if !slices.ContainsFunc(results, func(r Result) bool { return r.Old != first.Old || r.New != first.New || r.Error != first.Error }) {
		e.Old, e.New, e.Error = first.Old, first.New, first.Error
	}
}

// write appends to the audit log; that it cannot is no reason to leave a cluster unsteered.
func (a *api) write(e AuditEntry) {
	if err := a.audit.Write(e); err != nil {
		a.log.Error("the audit log misses a change: is state_dir full?", "error", err, "verb", e.Verb, "who", e.Who, "result", e.Result)
	}
}
