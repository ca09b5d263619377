package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// journalSocket takes entries in the native protocol of journald
// (https://systemd.io/JOURNAL_NATIVE_PROTOCOL).
const journalSocket = "/run/systemd/journal/socket"

// isJournal reports whether w leads to the journal: systemd then names its device and
// inode in JOURNAL_STREAM (systemd.exec(5)). A redirected stderr is another file.
func isJournal(w io.Writer, stream string) bool {
	f, ok := w.(*os.File)
	if !ok || stream == "" {
		return false
	}
	var stat unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &stat); err != nil {
		return false
	}
	return stream == fmt.Sprintf("%d:%d", stat.Dev, stat.Ino)
}

// journalConn is the socket, which several goroutines write to.
type journalConn struct {
	fd   int
	to   unix.SockaddrUnix
	lost atomic.Uint64

	mu    sync.Mutex // one entry after the other
	stuck bool       // the last one was waited for in vain
}

// patience is how long to wait for a busy journald, once until it takes an entry again: its
// queue may have room for ten, and the loop, which logs, has a lease to renew.
const patience = 20 * time.Millisecond

// send sends one entry, in a sealed memory file where it is too large for a datagram.
func (c *journalConn) send(entry []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.put(entry, nil)
	if !errors.Is(err, unix.EMSGSIZE) {
		return err
	}
	fd, err := unix.MemfdCreate("nlbd-journal", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), "nlbd-journal")
	defer f.Close()
	if _, err := f.Write(entry); err != nil {
		return err
	}
	seals := unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		return err
	}
	return c.put(nil, unix.UnixRights(fd))
}

func (c *journalConn) put(data, rights []byte) error {
	flags := unix.MSG_NOSIGNAL
	if c.stuck {
		flags |= unix.MSG_DONTWAIT
	}
	err := unix.Sendmsg(c.fd, data, rights, &c.to, flags)
	c.stuck = errors.Is(err, unix.EAGAIN)
	return err
}
