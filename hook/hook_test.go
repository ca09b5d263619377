package hook

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// running is a Hook with a shell script, and what became of it.
type running struct {
	*Hook
	t      *testing.T
	dir    string // $1 of the script
	log    *lockedBuffer
	failed chan string // errors, as they come
	end    func()      // ends Run and waits for it
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// prepare makes a hook that does not run yet.
func prepare(t *testing.T, timeout time.Duration, script string) *running {
	t.Helper()
	r := &running{t: t, dir: t.TempDir(), log: &lockedBuffer{}, failed: make(chan string, room)}
	r.Hook = New(Options{
		Command: []string{"/bin/sh", "-c", script, "hook", r.dir}, Timeout: timeout,
		Log:    slog.New(slog.NewTextHandler(r.log, nil)),
		Failed: func(c Call, err error) { r.failed <- c.Name + ": " + err.Error() },
	})
	return r
}

func (r *running) start() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	r.end = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
	})
	r.t.Cleanup(r.end)
}

func call(name string) Call {
	return Call{Name: name, Env: []string{"PATH=/usr/bin:/bin", "NLB_EVENT=" + name}}
}

// wrote is what the script left in a file of its directory.
func (r *running) wrote(name string) string {
	r.t.Helper()
	text, err := os.ReadFile(filepath.Join(r.dir, name))
	if err != nil {
		r.t.Errorf("%v\n%s", err, r.log)
	}
	return string(text)
}

// gone reports whether no process has this number, which a script wrote.
func (r *running) gone(pid string) bool {
	var n int
	if _, err := fmt.Sscan(pid, &n); err != nil || n < 2 {
		r.t.Fatalf("%q is no process: %v", pid, err)
	}
	// A killed orphan is a zombie until init reaps it.
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n))
	return err != nil || strings.Contains(string(stat), ") Z ")
}

// ends reports whether a process that was killed is gone: it dies when it is next on a
// processor, which on a busy machine is a little later.
func (r *running) ends(pid string) bool {
	for deadline := time.Now().Add(5 * time.Second); !r.gone(pid); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

func TestOrderEnvironmentAndInput(t *testing.T) {
	r := prepare(t, 10*time.Second, `echo "$NLB_EVENT $(cat) $(env | grep -c SECRET) $PWD" >>$1/calls`)
	t.Setenv("SECRET", "x")
	r.start()
	want := ""
	for i := range 10 {
		c := call(fmt.Sprint(i))
		c.Stdin = []byte(fmt.Sprintf("in%d", i))
		if !r.Push(c) {
			t.Fatal("no room")
		}
		want += fmt.Sprintf("%d in%d 0 /\n", i, i)
	}
	r.end() // what waits is carried out
	if got := r.wrote("calls"); got != want {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
}

func TestFailureIsToldWithOutput(t *testing.T) {
	r := prepare(t, 10*time.Second, `echo out; echo err >&2; exit 3`)
	r.start()
	r.Push(call("state"))
	if got := <-r.failed; got != "state: exit status 3" {
		t.Errorf("got %q", got)
	}
	if !strings.Contains(r.log.String(), `level=WARN msg="the notify command failed" call=state`) || !strings.Contains(r.log.String(), `output="out\nerr"`) {
		t.Errorf("logged: %s", r.log)
	}
	missing := New(Options{
		Command: []string{"/nowhere/hook"}, Timeout: time.Second, Log: slog.New(slog.DiscardHandler),
		Failed: func(_ Call, err error) { r.failed <- err.Error() },
	})
	missing.Push(call("state"))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := missing.Run(ended); err != nil {
		t.Error(err)
	}
	if got := <-r.failed; !strings.Contains(got, "start /nowhere/hook: ") || !strings.HasSuffix(got, "see notify.command") {
		t.Errorf("got %q", got)
	}
}

// TestTimeLimit: a program that takes too long is killed with all that it started.
func TestTimeLimit(t *testing.T) {
	r := prepare(t, 300*time.Millisecond, `sleep 600 & echo $! >$1/child; echo $$ >$1/self; wait`)
	r.start()
	r.Push(call("slow"))
	if got := <-r.failed; got != "slow: killed after 300ms, its time limit" {
		t.Errorf("got %q", got)
	}
	for _, name := range []string{"child", "self"} {
		if pid := r.wrote(name); !r.ends(pid) {
			t.Errorf("%s still runs: %s", name, pid)
		}
	}
}

// TestFork: what a program leaves running ends with it, and one that has fled its group
// and keeps the output open delays nothing for long.
func TestFork(t *testing.T) {
	r := prepare(t, time.Minute, `sleep 600 & echo $! >$1/child
setsid sleep 600 & echo $! >>$1/fled; sleep 0.2; echo done`)
	t.Cleanup(func() { r.killFled() })
	r.start()
	begin := time.Now()
	r.Push(call("fork"))
	r.Push(call("again"))
	r.end()
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("two calls took %s", took)
	}
	if n := strings.Count(r.log.String(), "ended well"); n != 2 || len(r.failed) > 0 {
		t.Errorf("%d calls ended well: %s", n, r.log)
	}
	if pid := r.wrote("child"); !r.ends(pid) {
		t.Errorf("a child still runs: %s", pid)
	}
}

// killFled ends what the script started in sessions of their own.
func (r *running) killFled() {
	for pid := range strings.FieldsSeq(r.wrote("fled")) {
		if r.gone(pid) {
			r.t.Errorf("%s was to outlive the hook", pid)
			continue
		}
		n, err := strconv.Atoi(pid)
		if err != nil {
			r.t.Fatal(err)
		}
		_ = unix.Kill(n, unix.SIGKILL)
	}
}

// TestFlood: of what a program writes without end the beginning is logged, and it ends.
func TestFlood(t *testing.T) {
	r := prepare(t, time.Minute, `exec yes flooding`)
	r.start()
	r.Push(call("flood"))
	if got := <-r.failed; got != "flood: it wrote more than 1 MiB" {
		t.Errorf("got %q", got)
	}
	if n := len(r.log.String()); n > 3*maxOutput {
		t.Errorf("logged %d bytes", n)
	}
	if !strings.Contains(r.log.String(), "bytes more)") {
		t.Errorf("logged: %s", r.log)
	}
}

// TestOverflow: Push never waits, also while nothing runs; what has no room is counted.
func TestOverflow(t *testing.T) {
	r := prepare(t, time.Minute, `echo $NLB_EVENT >>$1/calls`)
	for i := range room + 36 {
		if ok := r.Push(call(fmt.Sprint(i))); ok != (i < room) {
			t.Errorf("call %d: %v", i, ok)
		}
	}
	if r.Lost() != 36 {
		t.Errorf("lost %d", r.Lost())
	}
	r.start()
	r.end()
	if got := strings.Count(r.wrote("calls"), "\n"); got != room {
		t.Errorf("%d calls", got)
	}
	if !strings.Contains(r.log.String(), "calls were dropped\" dropped=36 in_all=36") {
		t.Errorf("logged: %s", r.log)
	}
}

// TestEndIsBounded: a slow program does not keep nlbd from ending.
func TestEndIsBounded(t *testing.T) {
	r := prepare(t, time.Hour, `echo $$ >$1/self; exec sleep 600`)
	r.start()
	r.Push(call("one"))
	r.Push(call("two"))
	begin := time.Now()
	r.end()
	if took := time.Since(begin); took > grace+5*time.Second {
		t.Errorf("took %s", took)
	}
	if got := <-r.failed; got != "one: killed, since nlbd ends" {
		t.Errorf("got %q", got)
	}
	if !r.ends(r.wrote("self")) {
		t.Error("still runs")
	}
}

// TestNice runs the hook in a process of its own that has a higher priority, as nlbd.
func TestNice(t *testing.T) {
	if os.Getenv("HOOK_TEST_NICE") != "" {
		r := prepare(t, time.Minute, `ps -o ni= -p $$ >$1/nice; cat /proc/self/oom_score_adj >$1/oom`)
		r.start()
		r.Push(call("nice"))
		r.end()
		own, err := unix.Getpriority(unix.PRIO_PROCESS, os.Getpid())
		fmt.Printf("nice %s of %d %v\n", strings.TrimSpace(r.wrote("nice")), 20-own, err)
		return
	}
	// Relative to our own, which may be that of a test run in the background.
	cmd := exec.Command("nice", "-n", "-10", os.Args[0], "-test.run=^TestNice$", "-test.v")
	cmd.Env = append(os.Environ(), "HOOK_TEST_NICE=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "nice 0 of -") {
		t.Errorf("%v: %s", err, out)
	}
}
