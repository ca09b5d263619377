package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// group may use the socket besides root, where it exists.
const group = "nlb"

// Listen takes the unix socket at path for this process. A lock on path.lock,
// which ends with the process, tells a socket in use from one left behind by a
// crash; so there is no moment at which two instances both think it theirs. The
// lock file itself stays: removing it would open that moment.
func Listen(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("create the directory of the control socket: %w", err)
	}
	lock, err := takeLock(path)
	if err != nil {
		return nil, err
	}
	l, err := listenLocked(path)
	if err != nil {
		lock.Close()
		return nil, err
	}
	return &listener{l, lock}, nil
}

// listener gives the lock back after the socket.
type listener struct {
	*net.UnixListener
	lock *os.File
}

func (l *listener) Close() error {
	err := l.UnixListener.Close()
	l.lock.Close()
	return err
}

func takeLock(path string) (*os.File, error) {
	lock, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the control socket: %w: run as root, or set another control.socket", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer lock.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", lock.Name(), err)
		}
		return nil, inUse(path, holder(lock))
	}
	if err := lock.Truncate(0); err != nil {
		lock.Close()
		return nil, fmt.Errorf("write %s: %w", lock.Name(), err)
	}
	if _, err := lock.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil {
		lock.Close()
		return nil, fmt.Errorf("write %s: %w", lock.Name(), err)
	}
	return lock, nil
}

// holder reads who holds the lock.
func holder(lock *os.File) string {
	text, _ := io.ReadAll(io.LimitReader(lock, 32))
	if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
		return fmt.Sprintf("pid %d", pid)
	}
	return "another process"
}

func inUse(path, who string) error {
	return fmt.Errorf("%s is in use by %s: stop that nlbd, or set another control.socket for this one", path, who)
}

// listenLocked binds the socket; the caller holds the lock.
func listenLocked(path string) (*net.UnixListener, error) {
	if err := removeStale(path); err != nil {
		return nil, err
	}
	// The mode of an unbound socket becomes the mode of the file that bind(2)
	// makes, so that nobody else can connect before the group is set.
	private := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if e := c.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o600) }); e != nil {
			return e
		}
		return err
	}}
	l, err := private.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, fmt.Errorf("open the control socket: %w", err)
	}
	if err := share(path); err != nil {
		l.Close()
		return nil, fmt.Errorf("open the control socket: %w", err)
	}
	return l.(*net.UnixListener), nil
}

// removeStale removes a socket that nobody answers at. Whatever else is there,
// or a socket of a program that knows nothing of our lock, is refused.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open the control socket: %w", err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s exists and is not a socket: remove it, or set another control.socket", path)
	}
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err == nil {
		defer c.Close()
		return inUse(path, peer(c).String())
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("remove the control socket of an earlier run: %w", err)
	}
	return nil
}

// share opens the socket to the group, if there is one.
func share(path string) error {
	if g, err := user.LookupGroup(group); err == nil {
		gid, err := strconv.Atoi(g.Gid)
		if err != nil {
			return err
		}
		if err := os.Chown(path, -1, gid); err != nil {
			return err
		}
	}
	return os.Chmod(path, 0o660)
}

// identity is the process at the other end of a connection.
type identity struct {
	pid int32 // 0 if not known
	uid uint32
}

func (i identity) String() string {
	if i.pid == 0 {
		return "another process"
	}
	return fmt.Sprintf("pid %d", i.pid)
}

// peer asks the kernel who is at the other end (SO_PEERCRED of unix(7)).
func peer(c net.Conn) identity {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return identity{}
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return identity{}
	}
	var cred *unix.Ucred
	if e := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); e != nil || err != nil {
		return identity{}
	}
	return identity{cred.Pid, cred.Uid}
}
