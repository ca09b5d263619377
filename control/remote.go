package control

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
)

// maxPerAddress is how many connections one address may have at a time.
const maxPerAddress = 16

// ServeRemote answers holders of certificates on the TCP listener l, which it closes,
// until ctx ends.
func (s *Server) ServeRemote(ctx context.Context, l net.Listener, access *Access) error {
	api := s.api.handler()
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, err := access.caller(r)
		if err != nil {
			if s.api.noise.allow("certificate") {
				s.log.Warn("certificate refused", "name", caller.Name, "from", r.RemoteAddr, "reason", err)
			}
			w.Header().Set("Connection", "close")
			reply(w, http.StatusForbidden, &Error{Message: "the certificate is not good any more: " + err.Error()})
			return
		}
		api.ServeHTTP(w, r.WithContext(WithCaller(r.Context(), caller)))
	})
	// A browser that holds a certificate would send it for any page that asks it to.
	guarded := http.NewCrossOriginProtection().Handler(h)
	tooMany := func(from netip.Addr) {
		if s.api.noise.allow("per address") {
			s.log.Warn("connection for remote administration refused", "from", from, "reason", fmt.Sprintf("%d connections of this address are open", maxPerAddress))
		}
	}
	tcp := bound(&perAddress{Listener: l, open: make(map[netip.Addr]int), refused: tooMany}, maxConnections)
	return serve(ctx, tls.NewListener(tcp, access.server()), guarded, slog.New(handshakes{s.log.Handler(), s.api.noise}), nil)
}

// handshakes passes on what the HTTP server logs: a refused certificate must be seen.
type handshakes struct {
	slog.Handler
	noise *limits
}

func (h handshakes) Enabled(context.Context, slog.Level) bool { return true }

func (h handshakes) Handle(ctx context.Context, r slog.Record) error {
	_, why, found := strings.Cut(r.Message, "http: TLS handshake error from ")
	if !found || !h.noise.allow("handshake") {
		if !h.Handler.Enabled(ctx, r.Level) {
			return nil
		}
		return h.Handler.Handle(ctx, r)
	}
	from, reason, _ := strings.Cut(why, ": ")
	seen := slog.NewRecord(r.Time, slog.LevelWarn, "connection for remote administration refused", r.PC)
	seen.AddAttrs(slog.String("from", from), slog.String("reason", strings.TrimSpace(reason)))
	return h.Handler.Handle(ctx, seen)
}

// perAddress hangs up on an address that has too many connections.
type perAddress struct {
	net.Listener
	refused func(netip.Addr)
	mu      sync.Mutex
	open    map[netip.Addr]int
}

func (p *perAddress) Accept() (net.Conn, error) {
	for {
		c, err := p.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := addressOf(c)
		if p.take(from) {
			return &boundedConn{Conn: c, release: func() { p.release(from) }}, nil
		}
		p.refused(from)
		_ = c.Close()
	}
}

func (p *perAddress) take(a netip.Addr) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open[a] >= maxPerAddress {
		return false
	}
	p.open[a]++
	return true
}

func (p *perAddress) release(a netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open[a]--; p.open[a] == 0 {
		delete(p.open, a)
	}
}

func addressOf(c net.Conn) netip.Addr {
	at, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap()
}
