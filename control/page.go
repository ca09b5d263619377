package control

import (
	"bytes"
	"context"
	_ "embed"
	"html/template"
	"log/slog"
	"net"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

//go:embed page.html
var pageHTML string

// ServePage shows the status as a page at / and as Prometheus metrics at /metrics,
// on a TCP listener, which it closes, until ctx ends. Nothing can be changed there.
func ServePage(ctx context.Context, l net.Listener, status func(context.Context) (Status, error), log *slog.Logger) error {
	return serve(ctx, bound(l, maxConnections), PageHandler(status, log), log, nil)
}

// PageHandler is the page and the metrics without the listener.
func PageHandler(status func(context.Context) (Status, error), log *slog.Logger) http.Handler {
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collector{status})
	page := template.Must(template.New("page").Parse(pageHTML))

	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{
		MaxRequestsInFlight: 4,
		ErrorLog:            slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		s, err := status(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		var b bytes.Buffer
		if err := page.Execute(&b, s); err != nil {
			log.Error("status page", "error", err)
			http.Error(w, "the page cannot be shown: see the log of nlbd", http.StatusInternalServerError)
			return
		}
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		w.Write(b.Bytes()) //nolint:errcheck // the caller is gone
	})
	return mux
}
