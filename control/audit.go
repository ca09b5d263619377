package control

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Results of a change, as the audit log has them.
const (
	Done    = "done"
	Partly  = "partly"  // at some of the members
	Failed  = "failed"  // at all members, or before
	Refused = "refused" // the caller may not, or asks for nonsense
)

// AuditEntry is one change that somebody asked for: one line of JSON.
type AuditEntry struct {
	Time    time.Time `json:"time"`
	Who     string    `json:"who"`
	Role    string    `json:"role"`
	From    string    `json:"from"` // remote address, or the process at the unix socket
	Verb    string    `json:"verb"`
	Targets []string  `json:"targets,omitempty"`
	Old     string    `json:"old,omitempty"` // of all targets, where it is one
	New     string    `json:"new,omitempty"`
	Result  string    `json:"result"`
	Error   string    `json:"error,omitempty"`
	Members []Result  `json:"members,omitempty"` // what became of it at each
	Missed  uint64    `json:"missed,omitempty"`  // refusals before this one that were too many to write
}

// Bounds of the audit log. A refused caller may not fill it, and so wipe out
// what others did.
const (
	auditSize  = 8 << 20 // bytes of audit.log; then it becomes audit.log.1
	auditLine  = 16 << 10
	MaxAudit   = 1000 // entries of one answer
	auditFile  = "audit.log"
	auditFile1 = "audit.log.1"
)

var refusalsWritten = rate{perSecond: 1, burst: 100}

// Audit is the log of changes in a member's state_dir. It may be used by several
// goroutines. A nil Audit keeps nothing.
type Audit struct {
	dir      string
	limit    int64
	refusals *limits

	mu     sync.Mutex
	file   *os.File
	size   int64
	missed uint64
}

// OpenAudit opens the log in dir, which exists, to append to it.
func OpenAudit(dir string) (*Audit, error) {
	a := &Audit{dir: dir, limit: auditSize, refusals: newLimits(refusalsWritten)}
	if err := a.open(); err != nil {
		return nil, err
	}
	return a, nil
}

func (a *Audit) open() error {
	path := filepath.Join(a.dir, auditFile)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("open the audit log: %w", err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a file: move it away", path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("open the audit log: %w", err), f.Close())
	}
	a.file, a.size = f, info.Size()
	// What a crash or a full disk left of a line must not spoil the next one.
	last := []byte{'\n'}
	if a.size > 0 {
		_, err = f.ReadAt(last, a.size-1)
	}
	if err == nil && last[0] != '\n' {
		err = a.append([]byte{'\n'})
	}
	if err != nil {
		return errors.Join(fmt.Errorf("open the audit log: %w", err), f.Close())
	}
	return nil
}

// Close ends the log.
func (a *Audit) Close() error {
	if a == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.file.Close()
}

// Write appends an entry.
func (a *Audit) Write(e AuditEntry) error {
	if a == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if e.Result == Refused && !a.refusals.allow("") {
		a.missed++
		return nil
	}
	e.Missed = a.missed
	line, err := json.Marshal(e)
	if err == nil && len(line) >= auditLine { // a line that cannot be read again
		e.Targets, e.Members, e.Old, e.New, e.Error = nil, nil, "", "", "too long for the audit log"
		line, err = json.Marshal(e)
	}
	if err != nil {
		return fmt.Errorf("write the audit log: %w", err)
	}
	switch {
	case a.moved():
		err = a.reopen()
	case a.size > 0 && a.size+int64(len(line)) >= a.limit:
		err = a.rotate()
	}
	if err != nil {
		return err
	}
	if err := a.append(append(line, '\n')); err != nil {
		return fmt.Errorf("write the audit log: %w", err)
	}
	a.missed = 0
	return nil
}

func (a *Audit) append(b []byte) error {
	n, err := a.file.Write(b)
	a.size += int64(n)
	return err
}

// rotate begins a new file. Callers hold mu.
func (a *Audit) rotate() error {
	if err := os.Rename(filepath.Join(a.dir, auditFile), filepath.Join(a.dir, auditFile1)); err != nil {
		return fmt.Errorf("begin a new audit log: %w", err)
	}
	return a.reopen()
}

// moved reports whether the open file is not audit.log any more: somebody took that away,
// or it became audit.log.1 and no other could be made. Callers hold mu.
func (a *Audit) moved() bool {
	at, err := os.Lstat(filepath.Join(a.dir, auditFile))
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	is, err := a.file.Stat()
	return err == nil && !os.SameFile(at, is)
}

// reopen goes on in audit.log, which it makes if need be. Callers hold mu.
func (a *Audit) reopen() error {
	old := a.file
	if err := a.open(); err != nil {
		return err // the next entry tries again
	}
	return old.Close()
}

// Last returns the latest n entries that are kept, oldest first.
func (a *Audit) Last(n int) ([]AuditEntry, error) {
	if a == nil {
		return nil, &Error{503, "this member keeps no audit log: its log says why"}
	}
	a.mu.Lock()
	defer a.mu.Unlock() // against rotation
	latest, err := lastLines(filepath.Join(a.dir, auditFile), n)
	if err != nil {
		return nil, err
	}
	if len(latest) < n {
		earlier, err := lastLines(filepath.Join(a.dir, auditFile1), n-len(latest))
		if err != nil {
			return nil, err
		}
		latest = append(earlier, latest...)
	}
	entries := make([]AuditEntry, 0, len(latest))
	for _, line := range latest {
		var e AuditEntry
		if json.Unmarshal(line, &e) == nil {
			entries = append(entries, e)
		}
	}
	return entries, nil
}

// lastLines returns the last n lines of a file; none if there is no such file.
func lastLines(path string, n int) ([][]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the audit log: %w", err)
	}
	defer f.Close()
	var lines [][]byte
	r := bufio.NewReaderSize(f, auditLine)
	for torn := false; ; {
		line, err := r.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			torn = true // not ours: skip it
			continue
		case err != nil && !errors.Is(err, io.EOF):
			return nil, fmt.Errorf("read the audit log: %w", err)
		}
		if line = bytes.TrimSpace(line); len(line) > 0 && !torn {
			lines = append(lines, bytes.Clone(line))
		}
		if len(lines) >= 2*n+64 {
			lines = slices.Delete(lines, 0, len(lines)-n)
		}
		if err != nil {
			return lines[max(0, len(lines)-n):], nil
		}
		torn = false
	}
}

func (a *api) auditLog(_ http.ResponseWriter, r *http.Request) (any, error) {
	n := MaxAudit
	if s := r.URL.Query().Get("n"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil || n < 1 || n > MaxAudit {
			return nil, Refuse("n is not 1 to %d", MaxAudit)
		}
	}
	return a.audit.Last(n)
}
