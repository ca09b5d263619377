package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// epochFile keeps the highest epoch that this member agreed to, so that epochs go on
// rising when all members were off: a beacon recorded before then stays outdated.
const epochFile = "epoch"

// loadEpoch reads the epoch, 0 when there is none. One that cannot be read is
// forgotten: peers know better, and without peers nothing depends on it but replays.
func loadEpoch(dir string) (uint64, error) {
	data, err := os.ReadFile(filepath.Join(dir, epochFile))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the last epoch: %w", err)
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(data)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read the last epoch from %s: %w: counting starts anew", filepath.Join(dir, epochFile), err)
	}
	return n, nil
}

// saveEpoch replaces the file, never leaving half of one.
func saveEpoch(dir string, n uint64) error {
	if err := replaceFile(filepath.Join(dir, epochFile), fmt.Appendln(nil, n), false); err != nil {
		return fmt.Errorf("save the epoch: %w", err)
	}
	return nil
}

// rememberEpoch saves the epoch in force when it is a new one, beside the loop: a slow
// disk must not cost the lease.
func (l *loop) rememberEpoch() {
	a := l.machine.Committed()
	if a == nil || a.Epoch.N == l.epoch {
		return
	}
	l.epoch = a.Epoch.N
	go l.epochs.save(a.Epoch.N, l.log)
}

// epochs saves the highest of the epochs that it is given.
type epochs struct {
	dir   string
	mu    sync.Mutex
	saved uint64
}

func (e *epochs) save(n uint64, log *slog.Logger) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if n <= e.saved {
		return
	}
	if err := saveEpoch(e.dir, n); err != nil {
		log.Warn("the epoch will be forgotten at a restart", "error", err)
		return
	}
	e.saved = n
}
