package hook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// waitForPipes is how long a process that has left the group may keep the pipes open.
const waitForPipes = 500 * time.Millisecond

// execute runs the program and returns the beginning of what it wrote. When the program
// ends, and when ctx does, all that is left of its process group is killed.
func execute(ctx context.Context, command []string, c Call) (string, error) {
	var out output
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir, cmd.Env, cmd.Stdin = "/", c.Env, bytes.NewReader(c.Stdin)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = waitForPipes
	if err := startPlain(cmd); err != nil {
		return "", fmt.Errorf("start %s: %w: see notify.command", command[0], err)
	}
	group := cmd.Process.Pid
	killed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = unix.Kill(-group, unix.SIGKILL)
		close(killed)
	})
	awaitExit(group)
	if !stop() {
		<-killed
	}
	// Not reaped yet, so that its number cannot be another group's by now.
	_ = unix.Kill(-group, unix.SIGKILL)
	err := cmd.Wait()
	switch {
	case out.written > maxWritten:
		err = errFlood
	case errors.Is(err, exec.ErrWaitDelay):
		err = nil // the program itself has ended well
	}
	return out.text(), err
}

// startPlain starts a process with the ordinary priority, whatever our own is. On Linux the
// nice value is a thread's, and a new process has that of the thread that made it. The way
// back up needs a privilege that nlbd may not have: so the thread ends with its goroutine,
// which never unlocks it.
func startPlain(cmd *exec.Cmd) error {
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() { // the main thread would stay, and stay plain
			defer runtime.UnlockOSThread()
			started <- startPlain(cmd) // on another one, this one being locked
			return
		}
		if err := unix.Setpriority(unix.PRIO_PROCESS, 0, 0); err != nil {
			started <- err
			return
		}
		started <- cmd.Start()
	}()
	if err := <-started; err != nil {
		return err
	}
	// The OOM killer is to take it rather than nlbd; no harm where it does not.
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", cmd.Process.Pid), []byte("0"), 0)
	return nil
}

// awaitExit waits until a child has ended, and leaves it to be reaped.
func awaitExit(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

const (
	maxOutput  = 4 << 10 // bytes that are kept
	maxWritten = 1 << 20 // bytes; who writes more meets a closed pipe
)

var errFlood = errors.New("it wrote more than 1 MiB")

// output keeps the beginning of what a program writes.
type output struct {
	kept    []byte
	written int
}

func (o *output) Write(p []byte) (int, error) {
	o.written += len(p)
	o.kept = append(o.kept, p[:min(len(p), maxOutput-len(o.kept))]...)
	if o.written > maxWritten {
		return 0, errFlood
	}
	return len(p), nil
}

// text is what was kept, for one line of a log.
func (o *output) text() string {
	s := strings.TrimSpace(strings.ToValidUTF8(string(o.kept), "?"))
	if n := o.written - len(o.kept); n > 0 {
		s += fmt.Sprintf(" … (%d bytes more)", n)
	}
	return s
}
