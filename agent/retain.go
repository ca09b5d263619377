package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/opennlb/opennlb/config"
	"github.com/opennlb/opennlb/converge"
)

// stateFile keeps what an administrator last asked of this member, for
// member.retain_state.
const stateFile = "state.json"

const stateVersion = 1 // Shares came later, and may be missing

// retained is the content of stateFile.
type retained struct {
	Version int             `json:"version"`
	State   *converge.State `json:"state"`

	Shares map[string]converge.Share `json:"shares,omitempty"` // by rule: what was asked for instead of what the file has
}

// loadState reads the retained state; found is false when none was ever retained.
func loadState(dir string) (kept retained, found bool, err error) {
	path := filepath.Join(dir, stateFile)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return kept, false, nil
	}
	if err != nil {
		return kept, false, fmt.Errorf("read the retained state: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return kept, false, fmt.Errorf("read the retained state: %w", err)
	}
	if err := json.Unmarshal(data, &kept); err != nil {
		return kept, false, fmt.Errorf("read the retained state from %s: %w", path, err)
	}
	if kept.Version != stateVersion || kept.State == nil {
		return kept, false, fmt.Errorf("read the retained state from %s: it is not of version %d, or names no state", path, stateVersion)
	}
	return kept, true, nil
}

func saveState(dir string, kept retained) error {
	kept.Version = stateVersion
	data, err := json.Marshal(kept)
	if err != nil {
		return fmt.Errorf("retain the state: %w", err)
	}
	if err := replaceFile(filepath.Join(dir, stateFile), append(data, '\n'), true); err != nil {
		return fmt.Errorf("is done, but cannot be retained: %w: a restart will forget it", err)
	}
	return nil
}

// firstState is the state that a start begins with: the retained one, if that is asked
// for and there is one, else the configured one.
func firstState(cfg *config.Config, log *slog.Logger) (first converge.State, shares map[string]converge.Share) {
	switch cfg.Member.InitialState {
	case "stopped":
		first = converge.Stopped
	case "suspended":
		first = converge.Suspended
	}
	if !cfg.Member.RetainState {
		// An old one must not come back should retain_state be switched on later.
		if err := os.Remove(filepath.Join(cfg.StateDir, stateFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			log.Warn("remove a state retained earlier", "error", err)
		}
		return first, nil
	}
	kept, found, err := loadState(cfg.StateDir)
	switch {
	case err != nil:
		log.Warn("start in member.initial_state: what an administrator last asked for cannot be read; ask again with nlbctl", "error", err, "state", first)
	case found:
		log.Info("start in the state that an administrator last asked for", "state", *kept.State, "rules", len(kept.Shares))
		return *kept.State, kept.Shares
	}
	return first, nil
}

// keeper retains states one after the other, away from the loop: a slow disk must not
// cost the lease.
type keeper struct {
	dir   string
	asked uint64 // by the loop alone

	mu    sync.Mutex
	saved uint64 // the last of asked
}

// keep retains s and tells when that is done. A nil keeper retains nothing.
func (k *keeper) keep(s retained) (done <-chan error) {
	result := make(chan error, 1)
	if k == nil {
		result <- nil
		return result
	}
	k.asked++
	n := k.asked
	go func() { result <- k.save(n, s) }()
	return result
}

func (k *keeper) save(n uint64, s retained) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if n < k.saved {
		return nil // something later was asked for, and is kept
	}
	if err := saveState(k.dir, s); err != nil {
		return err
	}
	k.saved = n
	return nil
}
