package lab

import (
	"bufio"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestCloseLeavesNothing compares the machine before and after a lab.
func TestCloseLeavesNothing(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	before := machine(t, dir, os.Getpid())
	l, err := New(t.Context(), Options{Members: 2, Clients: 10, IPv6: true, Dir: dir, Nlbd: os.Args[0]})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Start(); err != nil {
		t.Fatal(err)
	}
	if err := l.Members[0].StartHTTP(80); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Members[0].StartCommand("sh", "-c", "sleep 1000 & wait"); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(l.Members[0].PinDir(), 0o755); err != nil {
		t.Fatal(err)
	}
	during := machine(t, dir, os.Getpid())
	if len(during) < len(before)+4+3+1+1 { // namespaces, processes, pins, directory
		t.Errorf("the comparison does not see the lab:\n%s", diff(before, during))
	}
	if left := l.Leftovers(); len(left) < 4+3+1+1 {
		t.Errorf("Leftovers does not see the lab: %q", left)
	}
	for range 2 { // the second does nothing
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	if left := l.Leftovers(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	if d := diff(before, machine(t, dir, os.Getpid())); d != "" {
		t.Errorf("the machine has changed:\n%s", d)
	}
}

// TestFailedNewLeavesNothing fails in the middle of building.
func TestFailedNewLeavesNothing(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	before := machine(t, dir, os.Getpid())
	if _, err := New(t.Context(), Options{Nlbd: os.Args[0], Dir: filepath.Join(dir, strings.Repeat("x", 120))}); err == nil {
		t.Error("no error for a directory that does not exist")
	}
	long := filepath.Join(dir, strings.Repeat("x", 120))
	if err := os.Mkdir(long, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := New(t.Context(), Options{Nlbd: os.Args[0], Dir: long}); err == nil || !strings.Contains(err.Error(), "shorter") {
		t.Errorf("error %v, want advice to choose a shorter Dir", err)
	}
	os.Remove(long)
	if d := diff(before, machine(t, dir, os.Getpid())); d != "" {
		t.Errorf("the machine has changed:\n%s", d)
	}
}

// TestDeadOwner lets the owner of a lab end without closing it. Processes and
// namespaces must vanish by themselves, pins and directory with the next sweep.
func TestDeadOwner(t *testing.T) {
	for _, ending := range []string{"panic", "SIGINT", "SIGTERM", "SIGKILL"} {
		t.Run(ending, func(t *testing.T) {
			needRoot(t)
			dir := t.TempDir()
			before := machine(t, dir, 0)
			name := endOwner(t, dir, ending)
			pid, _ := owner(name)
			left := waitUntil(t, func() string {
				return without(diff(before, machine(t, dir, pid)), "path ")
			})
			if left != "" {
				t.Errorf("alive after their owner:\n%s", left)
			}
			if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
				t.Errorf("the test wants something to sweep: %v", err)
			}
			if err := Sweep(dir); err != nil {
				t.Error(err)
			}
			if d := diff(before, machine(t, dir, pid)); d != "" {
				t.Errorf("left after the sweep:\n%s", d)
			}
		})
	}
}

// endOwner runs playOwner to its end and returns the name of its lab.
func endOwner(t *testing.T, dir, ending string) string {
	t.Helper()
	owner := exec.CommandContext(t.Context(), os.Args[0])
	owner.Env = append(os.Environ(), endingEnv+"="+ending, "TMPDIR="+dir)
	out, err := owner.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := owner.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	var name, labDir string
	if _, e := fmt.Sscan(line, &name, &labDir); err != nil || e != nil || filepath.Dir(labDir) != dir {
		t.Fatalf("the owner said %q, %v", line, err)
	}
	switch ending {
	case "panic":
		in.Close()
	case "SIGINT":
		owner.Process.Signal(syscall.SIGINT)
	case "SIGTERM":
		owner.Process.Signal(syscall.SIGTERM)
	default:
		owner.Process.Kill()
	}
	if err := owner.Wait(); err == nil {
		t.Error("the owner ended well")
	}
	return name
}

func TestSweepSparesTheLivingAndOthers(t *testing.T) {
	dir := t.TempDir()
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	dead := fmt.Sprintf("lab-%d-1", gone.Process.Pid)
	spared := []string{
		fmt.Sprintf("lab-%d-1", os.Getpid()), "lab-1-1", // alive
		"lab", "lab-x-1", "lab-0-1", "lab--1-1", dead + "-x", dead + "x", "x" + dead, // not names of labs
	}
	for _, name := range append(spared, dead) {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := Sweep(dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range spared {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, dead)); err == nil {
		t.Errorf("%s is still there", dead)
	}
}

// machine lists what labs of the process owner could leave behind: links in this
// namespace, network namespaces held by this process or by the lab's, the lab's
// processes, pins and directories. It leaves out the labs of other test processes.
func machine(t *testing.T, dir string, owner int) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		found["link "+l.Name] = true
	}
	for _, pattern := range []string{dir + "/*", pinDir(fmt.Sprintf("lab-%d-*", owner))} {
		paths, _ := filepath.Glob(pattern)
		for _, p := range paths {
			found["path "+p] = true
		}
	}
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range processes {
		env, _ := os.ReadFile(p + "/environ")
		child := strings.Contains(string(env), fmt.Sprintf("%s=lab-%d-", mark, owner))
		if child {
			comm, _ := os.ReadFile(p + "/comm")
			found["process "+filepath.Base(p)+" "+strings.TrimSpace(string(comm))] = true
		}
		if !child && p != fmt.Sprintf("/proc/%d", os.Getpid()) {
			continue
		}
		for _, pattern := range []string{"/task/*/ns/net", "/fd/*"} {
			names, _ := filepath.Glob(p + pattern)
			for _, n := range names {
				if to, err := os.Readlink(n); err == nil && strings.HasPrefix(to, "net:[") {
					found["namespace "+to] = true
				}
			}
		}
	}
	return found
}

func diff(before, after map[string]bool) string {
	var lines []string
	for _, k := range slices.Sorted(maps.Keys(before)) {
		if !after[k] {
			lines = append(lines, "- "+k)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(after)) {
		if !before[k] {
			lines = append(lines, "+ "+k)
		}
	}
	return strings.Join(lines, "\n")
}

// without removes the lines about one kind of thing from a diff.
func without(d, kind string) string {
	lines := strings.Split(d, "\n")
	return strings.Join(slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, "+ "+kind) }), "\n")
}

// waitUntil asks until the answer is empty, for at most five seconds, and returns
// the last answer.
func waitUntil(t *testing.T, ask func() string) string {
	t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.Now().Add(5 * time.Second)
	for {
		answer := ask()
		if answer == "" || time.Now().After(deadline) {
			return answer
		}
		<-ticker.C
	}
}
