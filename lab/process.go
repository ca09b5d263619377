package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// mark is the environment variable by which [Leftovers] recognises the lab's processes.
const mark = "NLBLAB"

// Process is a child inside a host's namespace. It dies, by SIGKILL, no later than
// the thread that started it, so with its host or with this process.
type Process struct {
	Name string
	Log  string // path of its standard output and error
	cmd  *exec.Cmd
	done chan struct{}
	err  error
	told atomic.Bool // to end, by a signal of ours
}

// start runs a long-lived child that writes to out, which it closes. With family the
// child is the first process of a PID namespace, so that its own children die with
// it too.
func (h *Host) start(out *os.File, family bool, name string, args ...string) (*Process, error) {
	defer out.Close()
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = append(os.Environ(), mark+"="+h.lab)
	// The death signal belongs to the parent thread, not the parent process: the
	// namespace's thread lives as long as the namespace. In a process group of its
	// own the child does not get the terminal's Ctrl-C.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if family {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWPID
	}
	if err := h.ns.Do(cmd.Start); err != nil {
		return nil, fmt.Errorf("start %s on %s: %w", name, h.Name, err)
	}
	p := &Process{Name: name, Log: out.Name(), cmd: cmd, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// PID is the child's process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the child has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Running reports whether the child has not ended yet; a stopped one counts as running.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Crashed reports whether the child has ended without having been told to.
func (p *Process) Crashed() bool { return !p.Running() && !p.told.Load() }

// Signal sends s; a child that has ended already is no error.
func (p *Process) Signal(s os.Signal) error {
	if s == syscall.SIGKILL || s == syscall.SIGTERM || s == syscall.SIGINT {
		p.told.Store(true)
	}
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %s: %w", p.Name, err)
	}
	return nil
}

// awaitStop returns when the child, sent a SIGSTOP, stands still: until then a thread that is
// on another processor goes on, for milliseconds where the machine is busy.
func (p *Process) awaitStop() error {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, p.PID(), &info, unix.WSTOPPED|unix.WEXITED|unix.WNOWAIT, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil && !errors.Is(err, unix.ECHILD) { // ended
			return fmt.Errorf("wait until %s stands still: %w", p.Name, err)
		}
		return nil
	}
}

// Kill ends the child with SIGKILL and waits until it is gone.
func (p *Process) Kill() error {
	err := p.Signal(syscall.SIGKILL)
	<-p.done
	return err
}

// Stop ends the child with s and waits. It kills a child that does not obey
// within grace, and says so.
func (p *Process) Stop(s os.Signal, grace time.Duration) error {
	if err := p.Signal(s); err != nil {
		return err
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
		p.Kill()
		return fmt.Errorf("%s ignored %v for %v and was killed; its log ends:\n%s", p.Name, s, grace, p.Tail(10))
	}
}

// Wait returns how the child ended: nil for exit status 0.
func (p *Process) Wait(ctx context.Context) error {
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Tail returns the last lines of the log.
func (p *Process) Tail(lines int) string { return tail(p.Log, lines) }

func tail(path string, lines int) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(string(bytes.TrimRight(data, "\n")), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
