package control

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"flag"
)

var update = flag.Bool("update", false, "rewrite testdata")

func page(f *fake, method, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	PageHandler(f.Status, slog.New(slog.DiscardHandler)).ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w
}

func TestMetrics(t *testing.T) {
	w := page(newFake(), "GET", "/metrics")
	if w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	golden(t, "metrics", w.Body.String())
}

func TestPage(t *testing.T) {
	f := newFake()
	f.status.Warnings = []string{`two <b>rival</b> groups`}
	w := page(f, "GET", "/")
	if w.Code != 200 || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	if strings.Contains(w.Body.String(), "<b>rival") {
		t.Error("a warning is not escaped")
	}
	golden(t, "page.html", w.Body.String())
}

func TestPageIsReadOnly(t *testing.T) {
	for _, tt := range []struct {
		method, path string
		code         int
	}{
		{"POST", "/", 405}, {"POST", "/metrics", 405}, {"GET", "/v1/status", 404}, {"POST", "/v1/state", 404}, {"HEAD", "/", 200},
	} {
		if w := page(newFake(), tt.method, tt.path); w.Code != tt.code {
			t.Errorf("%s %s: %d, want %d", tt.method, tt.path, w.Code, tt.code)
		}
	}
}

func TestPageWithoutStatus(t *testing.T) {
	f := newFake()
	f.err = errors.New("busy")
	for path, code := range map[string]int{"/": 503, "/metrics": 500} {
		if w := page(f, "GET", path); w.Code != code || !strings.Contains(w.Body.String(), "busy") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

func TestServePage(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- ServePage(ctx, l, newFake().Status, slog.New(slog.DiscardHandler)) }()
	resp, err := http.Get("http://" + l.Addr().String() + "/metrics")
	if err != nil || resp.StatusCode != 200 {
		t.Errorf("got %v, %v", resp, err)
	} else {
		resp.Body.Close()
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
}
