package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"time"
)

// Limits of what one caller may cost. They are generous for people and scripts.
const (
	maxBody        = 1 << 20          // bytes of a request
	maxHeader      = 16 << 10         // bytes
	maxConnections = 64               // at one time; more wait
	maxFollowers   = 32               // of them waiting for events
	maxWait        = time.Minute      // for events
	readTimeout    = 10 * time.Second // for a whole request
	writeTimeout   = 90 * time.Second // from the end of the request to the end of the answer
	idleTimeout    = 30 * time.Second
	shutdownGrace  = 2 * time.Second
)

// Backend is the member behind the socket. Its methods may be called by several
// goroutines at once; they return an [Error] to blame the caller.
type Backend interface {
	Status(context.Context) (Status, error)
	SetState(context.Context, StateRequest) ([]Result, error)
	Explain(context.Context, ExplainRequest) (Explanation, error)
	QueryPort(context.Context, PortRequest) (Port, error)
	// Trace closes the channel when the context has ended; it is read until then.
	Trace(context.Context, TraceRequest) (<-chan Sample, error)
	Clients(context.Context, ClientsRequest) (ClientList, error)
	// Events is [EventLog.After].
	Events(after uint64) ([]Event, <-chan struct{})
}

// Serve answers on l, which it closes, until ctx ends.
func Serve(ctx context.Context, l net.Listener, b Backend, log *slog.Logger) error {
	return serve(ctx, l, Handler(b, log), log)
}

func serve(ctx context.Context, l net.Listener, h http.Handler, log *slog.Logger) error {
	s := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: readTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, identityKey{}, peer(c.(*boundedConn).Conn))
		},
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(bound(l, maxConnections)) }()
	select {
	case err := <-done:
		return fmt.Errorf("serve control requests: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	if err := s.Shutdown(grace); err != nil {
		s.Close()
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("serve control requests: %w", err)
	}
	return nil
}

type identityKey struct{}

// Handler is the API without the socket.
func Handler(b Backend, log *slog.Logger) http.Handler {
	a := &api{backend: b, log: log}
	mux := http.NewServeMux()
	for _, r := range []struct {
		method, path string
		handle       func(http.ResponseWriter, *http.Request) (any, error)
	}{
		{"GET", "/v1/status", a.status},
		{"POST", "/v1/state", a.state},
		{"POST", "/v1/explain", a.explain},
		{"POST", "/v1/port", a.port},
		{"POST", "/v1/trace", a.trace},
		{"GET", "/v1/events", a.events},
		{"GET", "/v1/clients", a.clients},
	} {
		mux.HandleFunc(r.path, a.answer(func(w http.ResponseWriter, req *http.Request) (any, error) {
			if req.Method != r.method {
				w.Header().Set("Allow", r.method)
				return nil, &Error{http.StatusMethodNotAllowed, fmt.Sprintf("%s is read with %s", r.path, r.method)}
			}
			return r.handle(w, req)
		}))
	}
	mux.HandleFunc("/", a.answer(func(http.ResponseWriter, *http.Request) (any, error) {
		return nil, &Error{http.StatusNotFound, "nothing here: nlbctl and nlbd may be of different versions"}
	}))
	return mux
}

type api struct {
	backend   Backend
	log       *slog.Logger
	followers atomic.Int32
}

// answer turns what a handler returns, or its panic, into JSON.
func (a *api) answer(handle func(http.ResponseWriter, *http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if p := recover(); p != nil {
				a.log.Error("control request panicked", "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
				reply(w, http.StatusInternalServerError, &Error{Message: "internal error: see the log of nlbd"})
			}
		}()
		v, err := handle(w, r)
		if s, ok := v.(stream); ok {
			s(w)
			return
		}
		if err == nil {
			reply(w, http.StatusOK, v)
			return
		}
		var refused *Error
		if !errors.As(err, &refused) {
			a.log.Warn("control request", "path", r.URL.Path, "error", err)
			refused = &Error{http.StatusInternalServerError, err.Error()}
		}
		reply(w, refused.Status, refused)
	}
}

func reply(w http.ResponseWriter, status int, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		status, text = http.StatusInternalServerError, []byte(`{"error":"internal error: the answer cannot be written as JSON"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	w.Write(append(text, '\n')) //nolint:errcheck // the caller is gone
}

func (a *api) status(_ http.ResponseWriter, r *http.Request) (any, error) {
	s, err := a.backend.Status(r.Context())
	if err != nil {
		return nil, err
	}
	s.fillNil()
	return s, nil
}

func (a *api) state(w http.ResponseWriter, r *http.Request) (any, error) {
	var req StateRequest
	if err := decode(w, r, &req); err != nil {
		return nil, err
	}
	if err := req.validate(); err != nil {
		return nil, err
	}
	who, _ := r.Context().Value(identityKey{}).(identity)
	a.log.Info("state change requested", "action", req.Action, "members", req.Members, "all", req.All, "uid", who.uid, "pid", who.pid)
	results, err := a.backend.SetState(r.Context(), req)
	if err != nil {
		return nil, err
	}
	return append([]Result{}, results...), nil
}

func (a *api) explain(w http.ResponseWriter, r *http.Request) (any, error) {
	var req ExplainRequest
	if err := decode(w, r, &req); err != nil {
		return nil, err
	}
	if err := req.Check(); err != nil {
		return nil, err
	}
	e, err := a.backend.Explain(r.Context(), req)
	if err != nil {
		return nil, err
	}
	e.fillNil()
	return e, nil
}

func (a *api) port(w http.ResponseWriter, r *http.Request) (any, error) {
	var req PortRequest
	if err := decode(w, r, &req); err != nil {
		return nil, err
	}
	if err := req.Check(); err != nil {
		return nil, err
	}
	p, err := a.backend.QueryPort(r.Context(), req)
	if err != nil {
		return nil, err
	}
	p.fillNil()
	return p, nil
}

// events returns what came after the number "after"; with "wait", a duration, it
// waits so long for something to come.
func (a *api) events(_ http.ResponseWriter, r *http.Request) (any, error) {
	after, wait, err := eventQuery(r)
	if err != nil {
		return nil, err
	}
	events, more := a.backend.Events(after)
	if len(events) > 0 || wait == 0 {
		return append([]Event{}, events...), nil
	}
	if a.followers.Add(1) > maxFollowers {
		a.followers.Add(-1)
		return nil, &Error{http.StatusServiceUnavailable, fmt.Sprintf("%d others follow the events already: try again later", maxFollowers)}
	}
	defer a.followers.Add(-1)
	timeout := time.NewTimer(wait)
	defer timeout.Stop()
	select {
	case <-more:
	case <-timeout.C:
	case <-r.Context().Done():
	}
	events, _ = a.backend.Events(after)
	return append([]Event{}, events...), nil
}

func eventQuery(r *http.Request) (after uint64, wait time.Duration, err error) {
	q := r.URL.Query()
	if s := q.Get("after"); s != "" {
		if after, err = strconv.ParseUint(s, 10, 64); err != nil {
			return 0, 0, Refuse("after is not the number of an event")
		}
	}
	if s := q.Get("wait"); s != "" {
		if wait, err = time.ParseDuration(s); err != nil || wait < 0 || wait > maxWait {
			return 0, 0, Refuse("wait is not a duration from 0s to %v", maxWait)
		}
	}
	return after, wait, nil
}

// decode reads one JSON value, which must be the whole body and hold known fields only.
func decode(w http.ResponseWriter, r *http.Request, v any) error {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err == nil {
		_, err = d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = errors.New("more follows the request")
		}
	}
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return &Error{http.StatusRequestEntityTooLarge, "the request is larger than 1 MiB"}
	}
	return Refuse("the request is not understood: %v", err)
}
