package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opennlb/opennlb/lab"
)

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		args  string
		says  string
		usage bool
	}{
		{"demo --mode anycast", "use one of unicast, multicast, igmp", true},
		{"demo --dataplane magic", "use one of auto, xdp, tc, afpacket", true},
		{"demo --members 1", "use 2 to 32", true},
		{"demo --members 33", "use 2 to 32", true},
		{"up --members x", "invalid argument", true},
		{"demo --nlbd /nowhere/nlbd", "no such file", true},
		{"demo --colour", "unknown flag", true},
		{"demo fast", `unexpected "fast"`, true},
		{"dance", `unexpected "dance"`, true},
		{"demo", "run it with sudo", false},
		{"up", "run it with sudo", false},
	} {
		var out bytes.Buffer
		err := run(t.Context(), env{out: &out, err: &out}, strings.Fields(c.args))
		if err == nil || !strings.Contains(err.Error(), c.says) || errors.As(err, &errUsage{}) != c.usage {
			t.Errorf("nlblab %s: %v; want %q, wrong usage %t", c.args, err, c.says, c.usage)
		}
	}
	var out bytes.Buffer
	if err := run(t.Context(), env{out: &out, err: &out}, nil); err != nil || !strings.Contains(out.String(), "demo") {
		t.Errorf("no arguments: %v, %q; want help", err, out.String())
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root for network namespaces")
	}
}

// TestDemo runs the whole demo with the programs of this tree.
func TestDemo(t *testing.T) {
	needRoot(t)
	if testing.Short() {
		t.Skip("takes a quarter of a minute")
	}
	nlbd, err := lab.Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var out bytes.Buffer
	err = runDemo(t.Context(), &printer{out: &out}, lab.Options{Members: 3, Nlbd: nlbd, Dir: dir})
	if err != nil || strings.Contains(out.String(), "BROKEN") {
		t.Errorf("%v in\n%s", err, out.String())
	}
	empty(t, dir)
}

// TestDemoEndsEarly: a failing nlbd and an impatient user leave nothing either.
func TestDemoEndsEarly(t *testing.T) {
	needRoot(t)
	dead, err := exec.LookPath("false")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var out bytes.Buffer
	err = runDemo(t.Context(), &printer{out: &out}, lab.Options{Members: 2, Nlbd: dead, Dir: dir})
	if err == nil || !strings.Contains(err.Error(), " ended by itself") || !strings.Contains(err.Error(), "cleared away") {
		t.Errorf("with a failing nlbd: %v", err)
	}
	empty(t, dir)

	// It answers nothing, and so the demo waits for it.
	idle := filepath.Join(t.TempDir(), "nlbd")
	if err := os.WriteFile(idle, []byte("#!/bin/sh\nexec sleep 1000\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	time.AfterFunc(300*time.Millisecond, cancel)
	err = runDemo(ctx, &printer{out: &out}, lab.Options{Members: 2, Nlbd: idle, Dir: dir})
	if err == nil || !strings.HasPrefix(err.Error(), "interrupted") {
		t.Errorf("interrupted: %v", err)
	}
	empty(t, dir)
}

func empty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left in %s: %v, %v", dir, left, err)
	}
}
