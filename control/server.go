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

// Rates of one caller's requests.
var (
	readRate   = rate{perSecond: 200, burst: 400} // all requests
	changeRate = rate{perSecond: 20, burst: 40}   // those that change something
	noiseRate  = rate{perSecond: 1, burst: 20}    // those that are refused and get a line in the log
)

// Backend is the member behind the socket. Its methods may be called by several
// goroutines at once; they return an [Error] to blame the caller.
type Backend interface {
	Status(context.Context) (Status, error)
	SetState(context.Context, StateRequest) ([]Result, error)
	SetRule(context.Context, RuleRequest) ([]Result, error)
	// Config returns a version of the cluster's configuration, that in force for 0.
	Config(ctx context.Context, version uint64) (ConfigVersion, error)
	// ConfigHistory lists the versions that this member keeps, the latest first.
	ConfigHistory(context.Context) ([]ConfigVersion, error)
	Apply(context.Context, ApplyRequest) (ApplyResult, error)
	Rollback(context.Context, RollbackRequest) (ApplyResult, error)
	// RotateKey changes the cluster key at all members; it returns when that is done.
	RotateKey(context.Context, KeyRequest) (KeyResult, error)
	KeyStatus(context.Context) (KeyStatus, error)
	ShowKey(context.Context) (KeyShown, error)
	Explain(context.Context, ExplainRequest) (Explanation, error)
	QueryPort(context.Context, PortRequest) (Port, error)
	// Trace closes the channel when the context has ended; it is read until then.
	Trace(context.Context, TraceRequest) (<-chan Sample, error)
	Clients(context.Context, ClientsRequest) (ClientList, error)
	// Events is [EventLog.After].
	Events(after uint64) ([]Event, <-chan struct{})
}

// Server answers about one member: at the unix socket, and to remote administrators.
type Server struct {
	api *api
	log *slog.Logger
}

// NewServer makes a server that writes changes to audit, which may be nil.
func NewServer(b Backend, audit *Audit, log *slog.Logger) *Server {
	return &Server{log: log, api: &api{
		backend: b, audit: audit, log: log, now: time.Now,
		readLimits: newLimits(readRate), changeLimits: newLimits(changeRate), noise: newLimits(noiseRate),
	}}
}

// Serve answers on the unix socket l, which it closes, until ctx ends. Whoever may
// open the socket is an [Admin].
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	return serve(ctx, bound(l, maxConnections), s.api.handler(), s.log, func(ctx context.Context, c net.Conn) context.Context {
		id := peer(c.(*boundedConn).Conn)
		return WithCaller(ctx, Caller{Role: Admin, UID: id.uid, PID: id.pid})
	})
}

// serve answers on l until ctx ends; connected may add to the context of a connection.
func serve(ctx context.Context, l net.Listener, h http.Handler, log *slog.Logger, connected func(context.Context, net.Conn) context.Context) error {
	s := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: readTimeout, // of a TLS handshake, too
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext:       connected,
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
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

// handler makes an answer, which is written as JSON.
type handler func(http.ResponseWriter, *http.Request) (any, error)

type api struct {
	backend   Backend
	audit     *Audit
	log       *slog.Logger
	now       func() time.Time
	followers atomic.Int32

	readLimits, changeLimits *limits
	noise                    *limits // lines of the log about refusals
}

// handler is the API without a listener. Requests need a [Caller] in their context.
func (a *api) handler() http.Handler {
	mux := http.NewServeMux()
	for _, r := range []struct {
		method, path string
		handle       handler // by reads, restricted or changes: they say who may
	}{
		{"GET", "/v1/status", a.reads(a.status)},
		{"POST", "/v1/state", a.changes(a.state)},
		{"POST", "/v1/explain", a.reads(a.explain)},
		{"POST", "/v1/port", a.reads(a.port)},
		{"POST", "/v1/trace", a.reads(a.trace)},
		{"GET", "/v1/events", a.reads(a.events)},
		{"GET", "/v1/clients", a.reads(a.clients)},
		{"GET", "/v1/audit", a.restricted(a.auditLog)},
		{"GET", "/v1/config", a.reads(a.config)},
		{"GET", "/v1/config/history", a.reads(a.configHistory)},
		{"POST", "/v1/config/apply", a.changes(a.apply)},
		{"POST", "/v1/config/rollback", a.changes(a.rollback)},
		{"POST", "/v1/rule", a.changes(a.rule)},
		{"GET", "/v1/key", a.reads(a.keyStatus)},
		{"POST", "/v1/key/rotate", a.changes(a.rotateKey)},
		{"POST", "/v1/key/show", a.changes(a.showKey)},
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

// answer turns what a handler returns, or its panic, into JSON.
func (a *api) answer(handle handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if p := recover(); p != nil {
				a.log.Error("control request panicked", "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
				reply(w, http.StatusInternalServerError, &Error{Message: "internal error: see the log of nlbd"})
			}
		}()
		v, err := a.paced(handle)(w, r)
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
		} else if c := CallerOf(r.Context()); a.noise.allow(c.key()) {
			a.log.Info("control request refused", "path", fmt.Sprintf("%.64q", r.URL.Path), "status", refused.Status, "reason", refused.Message,
				"from", c.From(), "uid", c.UID, "name", c.Name)
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

func (a *api) state(w http.ResponseWriter, r *http.Request) (*change, error) {
	var req StateRequest
	if err := decode(w, r, &req); err != nil {
		return nil, err
	}
	if err := req.validate(); err != nil {
		return nil, err
	}
	targets := req.Members
	if req.All {
		targets = []string{"--all"}
	}
	return &change{verb: req.Action, targets: targets, do: func(ctx context.Context) (any, error) {
		results, err := a.backend.SetState(ctx, req)
		if err != nil {
			return nil, err
		}
		return append([]Result{}, results...), nil
	}}, nil
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
