package agent

import (
	"bytes"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opennlb/opennlb/config"
	"github.com/opennlb/opennlb/converge"
)

func stateOf(s converge.State) retained { return retained{State: &s} }

func TestStateSurvives(t *testing.T) {
	dir := t.TempDir()
	if _, found, err := loadState(dir); found || err != nil {
		t.Fatalf("at first: %t, %v", found, err)
	}
	for _, want := range []converge.State{converge.Stopped, converge.Suspended, converge.Draining, converge.Started} {
		if err := saveState(dir, stateOf(want)); err != nil {
			t.Fatal(err)
		}
		if s, found, err := loadState(dir); err != nil || *s.State != want || !found {
			t.Errorf("saved %s: %v, %t, %v", want, s, found, err)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("left in state_dir: %v, %v", left, err)
	}
}

func TestSharesSurvive(t *testing.T) {
	cfg := retaining(t)
	want := map[string]converge.Share{"http": {Weight: 7, Priority: 3, State: converge.Draining}}
	kept := stateOf(converge.Started)
	kept.Shares = want
	if err := saveState(cfg.StateDir, kept); err != nil {
		t.Fatal(err)
	}
	if s, shares := firstState(cfg, slog.New(slog.DiscardHandler)); s != converge.Started || !maps.Equal(shares, want) {
		t.Errorf("starts %s with %v", s, shares)
	}
}

// TestReloadedShares: of what was asked for, a reload leaves which rules are not enabled.
func TestReloadedShares(t *testing.T) {
	m := &config.Member{Priority: 2, Rules: map[string]config.MemberRule{"http": {Weight: 30, Priority: 2}, "dns": {Weight: 50, Priority: 2}}}
	got := statesOf(map[string]converge.Share{
		"http": {Weight: 7, Priority: 2, State: converge.Draining},
		"dns":  {Weight: 7, Priority: 2},
		"new":  {Weight: 7, Priority: 9, State: converge.Stopped}, // not in the file
	}, m)
	want := map[string]converge.Share{
		"http": {Weight: 30, Priority: 2, State: converge.Draining},
		"new":  {Weight: 50, Priority: 2, State: converge.Stopped},
	}
	if !maps.Equal(got, want) {
		t.Errorf("left %v, want %v", got, want)
	}
}

// retaining is a member that starts stopped unless something else is retained.
func retaining(t *testing.T) *config.Config {
	return &config.Config{StateDir: t.TempDir(), Member: config.Member{InitialState: "stopped", RetainState: true}}
}

func TestDamagedStateIsNoReasonToFail(t *testing.T) {
	whole := `{"version":1,"state":"suspended"}` + "\n"
	damaged := map[string]string{
		"empty": "", "of zeros": strings.Repeat("\x00", len(whole)), "another version": `{"version":2,"state":"suspended"}`,
		"no state": `{"version":1}`, "null": `{"version":1,"state":null}`, "no such state": `{"version":1,"state":"asleep"}`,
		"a number": `{"version":1,"state":3}`, "trailing": whole + "x", "large": `{"version":1,"state":"` + strings.Repeat("x", 1<<20),
	}
	for i := 1; i < len(whole)-1; i++ {
		damaged["cut at "+whole[:i]] = whole[:i]
	}
	for name, content := range damaged {
		cfg := retaining(t)
		if err := os.WriteFile(filepath.Join(cfg.StateDir, stateFile), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		if s, _ := firstState(cfg, slog.New(slog.NewTextHandler(&log, nil))); s != converge.Stopped {
			t.Errorf("%s: starts %s", name, s)
		}
		if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), stateFile) {
			t.Errorf("%s: warns %q", name, log.String())
		}
	}
}

func TestFirstState(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	cfg := retaining(t)
	if s, _ := firstState(cfg, log); s != converge.Stopped {
		t.Errorf("nothing retained: starts %s", s)
	}
	if err := saveState(cfg.StateDir, stateOf(converge.Draining)); err != nil {
		t.Fatal(err)
	}
	if s, _ := firstState(cfg, log); s != converge.Draining {
		t.Errorf("draining was retained: starts %s", s)
	}
	cfg.Member.RetainState = false
	if s, _ := firstState(cfg, log); s != converge.Stopped {
		t.Errorf("not configured: starts %s", s)
	}
	cfg.Member.RetainState = true
	if s, _ := firstState(cfg, log); s != converge.Stopped {
		t.Errorf("switched on again: starts %s, of an earlier time", s)
	}
}

func TestKeeperKeepsTheLatest(t *testing.T) {
	var none *keeper
	if err := <-none.keep(stateOf(converge.Stopped)); err != nil {
		t.Error(err)
	}
	k := &keeper{dir: t.TempDir()}
	first, second := k.keep(stateOf(converge.Stopped)), k.keep(stateOf(converge.Suspended))
	if err := <-second; err != nil {
		t.Fatal(err)
	}
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	if err := k.save(1, stateOf(converge.Started)); err != nil { // came late
		t.Fatal(err)
	}
	if s, _, err := loadState(k.dir); err != nil || *s.State != converge.Suspended {
		t.Errorf("kept %v, %v", s, err)
	}
	// What cannot be written leaves what is there, and says so.
	if err := os.Mkdir(filepath.Join(k.dir, stateFile+".new"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := <-k.keep(stateOf(converge.Started)); err == nil || !strings.Contains(err.Error(), "a restart will forget it") {
		t.Errorf("error %v", err)
	}
	if s, _, err := loadState(k.dir); err != nil || *s.State != converge.Suspended {
		t.Errorf("after a failure: %v, %v", s, err)
	}
}
