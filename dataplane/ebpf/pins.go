package ebpf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

const pinRoot = bpffs + "/nlb"

// Names of the pinned maps; links are pinned under the names of their hooks.
const (
	pinAgent    = "agent"
	pinCounters = "counters"
	pinNames    = "names"
)

// policyPin is where the pages in a slot are pinned; pinAgent tells which slot is active.
func policyPin(slot uint32) string { return fmt.Sprintf("policy-%d", slot) }

// pins is the directory that holds what must outlive the agent.
type pins string

func pinsOf(cluster, member string) pins {
	return pins(filepath.Join(pinRoot, pinName(cluster), pinName(member)))
}

// pinName makes any name fit for bpffs, which reserves dots: all bytes but
// letters, digits, - and _ are written %XX.
func pinName(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

func (p pins) path(name string) string { return filepath.Join(string(p), name) }

// lock makes this process the only user of the pins until it closes the file or
// dies. It works for a frozen owner too: that one still holds it.
func (p pins) lock() (*os.File, error) {
	dir, err := os.Open(string(p))
	if err != nil {
		return nil, fmt.Errorf("open pins: %w", err)
	}
	err = unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return dir, nil
	}
	dir.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, fmt.Errorf("pins %s are in use: another nlbd runs this member of this cluster; stop it, or give this one another name", p)
	}
	return nil, fmt.Errorf("lock pins %s: %w", p, err)
}

// open opens a pinned map. The error wraps fs.ErrNotExist if there is none.
func (p pins) open(name string) (*ebpf.Map, error) {
	m, err := ebpf.LoadPinnedMap(p.path(name), nil)
	if err != nil {
		return nil, fmt.Errorf("open pinned map %s: %w", p.path(name), err)
	}
	return m, nil
}

// load is open, but returns nil if there is none.
func (p pins) load(name string) (*ebpf.Map, error) {
	m, err := p.open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return m, err
}

// put pins a map under a name, at one instant instead of the one that was there.
func (p pins) put(name string, m *ebpf.Map) error {
	fresh := p.path(name + "-new")
	if err := remove(fresh); err != nil {
		return err
	}
	if err := m.Pin(fresh); err != nil {
		return fmt.Errorf("pin map: %w", err)
	}
	if err := os.Rename(fresh, p.path(name)); err != nil {
		return fmt.Errorf("replace pinned map: %w", err)
	}
	return nil
}

// removeMaps removes all map pins, then the directories that are left empty.
func (p pins) removeMaps() error {
	entries, err := os.ReadDir(string(p))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("list pins: %w", err)
	}
	var errs []error
	for _, entry := range entries {
		errs = append(errs, remove(p.path(entry.Name())))
	}
	for dir := string(p); dir != bpffs; dir = filepath.Dir(dir) {
		if os.Remove(dir) != nil { // others have pins in there
			break
		}
	}
	return errors.Join(errs...)
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove pin: %w", err)
	}
	return nil
}
