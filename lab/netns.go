package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// ErrClosed is returned for work given to a closed namespace.
var ErrClosed = errors.New("network namespace is closed")

// NetNS is an anonymous network namespace and the thread that lives in it.
// It exists as long as the thread, its file descriptor or a process inside does.
type NetNS struct {
	file   *os.File
	id     uint64 // inode, as in "net:[4026532000]"; the kernel gives it to another one later
	cookie uint64 // which no other one ever has
	work   chan func()
	quit   chan struct{}
	gone   chan struct{}
	once   sync.Once
}

// NewNetNS creates a namespace with its loopback interface down.
func NewNetNS() (*NetNS, error) {
	n := &NetNS{work: make(chan func()), quit: make(chan struct{}), gone: make(chan struct{})}
	ready := make(chan error)
	go n.live(ready)
	if err := <-ready; err != nil {
		return nil, fmt.Errorf("create network namespace: %w (run as root)", err)
	}
	return n, nil
}

// Path names the namespace for external tools: nsenter --net=PATH, ip ... netns PATH.
func (n *NetNS) Path() string {
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.file.Fd())
}

// Do runs f on the namespace's thread: sockets opened and processes started by f
// are in the namespace. f must be short, since all work queues here, must not call
// Do, and must not end its goroutine (as testing.T.Fatal does).
func (n *NetNS) Do(f func() error) error {
	result := make(chan error, 1)
	select {
	case n.work <- func() { result <- f() }:
	case <-n.gone:
		return ErrClosed
	}
	select {
	case err := <-result:
		return err
	case <-n.gone:
		return ErrClosed
	}
}

// Sysctl sets one of the namespace's own settings, such as "net/ipv4/ip_forward".
func (n *NetNS) Sysctl(name, value string) error {
	return n.Do(func() error {
		return os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0o644)
	})
}

// Close lets the thread die, and with it the processes that it started.
func (n *NetNS) Close() error {
	n.once.Do(func() {
		close(n.quit)
		<-n.gone
		n.file.Close()
	})
	return nil
}

// live is the thread's whole life. It never unlocks the thread, so that Go ends
// it instead of using it, with its foreign namespace, for other goroutines.
func (n *NetNS) live(ready chan<- error) {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		// The first thread cannot end, and /proc/self shows its namespace as the
		// process's. Hold it until another thread has taken the part.
		other := make(chan error)
		go n.live(other)
		ready <- <-other
		runtime.UnlockOSThread()
		return
	}
	defer close(n.gone)
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		ready <- err
		return
	}
	defer home.Close()
	if err := n.enter(); err != nil {
		ready <- err
		return
	}
	// Going home makes the namespace free at Close, not some moment after it.
	defer unix.Setns(int(home.Fd()), unix.CLONE_NEWNET)
	ready <- nil
	for {
		select {
		case f := <-n.work:
			f()
		case <-n.quit:
			return
		}
	}
}

func (n *NetNS) enter() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return err
	}
	file, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		file.Close()
		return err
	}
	cookie, err := netnsCookie()
	if err != nil {
		file.Close()
		return err
	}
	n.file, n.id, n.cookie = file, st.Ino, cookie
	return nil
}

// netnsCookie is that of this thread's namespace.
func netnsCookie() (uint64, error) {
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(socket)
	return unix.GetsockoptUint64(socket, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
}

// isAt reports whether a link below /proc, which has this inode, is the namespace itself and not
// one that was made since.
func (n *NetNS) isAt(link string) bool {
	file, err := os.Open(link)
	if err != nil {
		return false // let go meanwhile
	}
	defer file.Close()
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return true // in doubt
	}
	defer home.Close()
	if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return true
	}
	cookie, err := netnsCookie()
	if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil { // else the thread is lost
		runtime.UnlockOSThread()
	}
	return err != nil || cookie == n.cookie
}
