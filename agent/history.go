package agent

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/opennlb/opennlb/config"
	"github.com/opennlb/opennlb/converge"
)

const (
	historyDir  = "config" // in state_dir
	keepHistory = 50       // versions
	maxVersion  = 4 << 20  // bytes of a file
)

// history keeps the versions of the cluster's configuration that were in force here, one
// file each, named for version and digest. It may be used by several goroutines.
type history struct {
	dir string

	writing sync.Mutex     // one after the other
	mu      sync.Mutex     // never held while the disk is waited for: the loop asks has
	saved   converge.Stamp // the latest that is on the disk for good

	reading sync.Mutex      // one after the other: whoever may look can ask at any rate
	known   map[string]kept // by file; what a file holds, its name says
}

// kept is a version in the history.
type kept struct {
	*cluster
	before  *cluster // the version kept before it, nil for the first one
	changes []string // against that
}

// openHistory reads the latest version that is not damaged, nil if there is none. problems
// says what was damaged, and is set aside.
func openHistory(stateDir string) (h *history, latest *cluster, problems []string, err error) {
	h = &history{dir: filepath.Join(stateDir, historyDir)}
	if info, err := os.Lstat(h.dir); err == nil && !info.IsDir() {
		problems = append(problems, setAside(h.dir, errors.New("it is not a directory")))
	}
	if err := os.MkdirAll(h.dir, 0o700); err != nil {
		return nil, nil, nil, fmt.Errorf("create %s: %w", h.dir, err)
	}
	files, err := h.files()
	if err != nil {
		return nil, nil, nil, err
	}
	for _, name := range files {
		path := filepath.Join(h.dir, name)
		c, err := readVersion(path)
		if err == nil {
			h.saved = c.plan.Stamp()
			return h, c, problems, nil
		}
		problems = append(problems, setAside(path, err))
	}
	return h, nil, problems, nil
}

// setAside makes room for what belongs at a path, and tells why and where to.
func setAside(path string, reason error) (problem string) {
	problem = fmt.Sprintf("%s cannot be used: %v", path, reason)
	aside := path + ".damaged"
	if err := errors.Join(os.RemoveAll(aside), os.Rename(path, aside)); err != nil {
		return problem + ": " + err.Error()
	}
	return problem + ": it is kept as " + filepath.Base(aside)
}

// files lists the names of all versions, the latest first.
func (h *history) files() ([]string, error) {
	entries, err := os.ReadDir(h.dir)
	if err != nil {
		return nil, fmt.Errorf("list the versions of the configuration: %w", err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".json") {
			names = append(names, e.Name())
		}
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(b, a) })
	return names, nil
}

func versionFile(s converge.Stamp) string { return fmt.Sprintf("%019d-%s.json", s.Version, s.Digest) }

func readVersion(path string) (*cluster, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxVersion))
	if err != nil {
		return nil, err
	}
	var p converge.Plan
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, fmt.Errorf("it is damaged: %w", err)
	}
	if filepath.Base(path) != versionFile(p.Stamp()) {
		return nil, fmt.Errorf("it is damaged: it holds version %d with digest %s", p.Version, p.Digest)
	}
	return parsePlan(&p)
}

// keep writes a version to the disk, beside the caller, and tells when it is there.
func (h *history) keep(p *converge.Plan) <-chan error {
	done := make(chan error, 1)
	go func() { done <- h.save(p) }()
	return done
}

func (h *history) save(p *converge.Plan) error {
	h.writing.Lock()
	defer h.writing.Unlock()
	data, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("encode configuration %d: %w", p.Version, err)
	}
	if err := replaceFile(filepath.Join(h.dir, versionFile(p.Stamp())), append(data, '\n'), true); err != nil {
		return fmt.Errorf("keep configuration %d: %w", p.Version, err)
	}
	h.note(p.Stamp())
	names, err := h.files()
	if err != nil {
		return err
	}
	for _, name := range names[min(keepHistory, len(names)):] {
		if err := os.Remove(filepath.Join(h.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("forget an old configuration: %w", err)
		}
	}
	return nil
}

func (h *history) note(s converge.Stamp) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.Above(h.saved) {
		h.saved = s
	}
}

// has reports whether a version, or a later one, is on the disk.
func (h *history) has(s converge.Stamp) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !s.Above(h.saved)
}

// list returns the versions that are kept and not damaged, the latest first. To read all
// of large ones takes most of a second of a CPU, so it remembers them.
func (h *history) list() ([]kept, error) {
	h.reading.Lock()
	defer h.reading.Unlock()
	names, err := h.files()
	if err != nil {
		return nil, err
	}
	known := make(map[string]kept)
	var all []kept
	var before *cluster
	for _, name := range slices.Backward(names) {
		k := h.known[name]
		if k.cluster == nil {
			if k.cluster, err = readVersion(filepath.Join(h.dir, name)); err != nil {
				continue
			}
		}
		switch {
		case before == nil:
			k.before, k.changes = nil, nil
		case k.before != before:
			k.before, k.changes = before, before.Changes(&k.Cluster)
		}
		known[name] = k
		all, before = append(all, k), k.cluster
	}
	h.known = known
	slices.Reverse(all)
	return all, nil
}

// startCluster is the configuration that a start begins with: the last one agreed on, if
// there is one, else that of the file.
func startCluster(cfg *config.Config, key []byte) (h *history, c *cluster, problems []string, err error) {
	h, c, problems, err = openHistory(cfg.StateDir)
	if err != nil {
		return nil, nil, nil, err
	}
	if c != nil {
		if err := fits(cfg, &c.Cluster); err != nil {
			return nil, nil, nil, fmt.Errorf("configuration %d, the last that %s agreed on, is of no use here: %w: correct the configuration file, or remove %s to start with its section cluster",
				c.plan.Version, cfg.Member.Name, err, h.dir)
		}
		return h, c, problems, nil
	}
	c, err = ownCluster(cfg, key)
	return h, c, problems, err
}
