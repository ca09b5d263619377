package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/opennlb/opennlb/control"
)

// Member is a host that runs nlbd. Methods may be called from any goroutine.
type Member struct {
	*Host
	Priority int        // its place in Lab.Members, from 1
	Addr     netip.Addr // dedicated IPs
	Addr6    netip.Addr
	Socket   string         // control socket of its nlbd
	Config   map[string]any // what WriteConfig writes; made by it if nil
	lab      *Lab
	client   *control.Client
	mu       sync.Mutex
	nlbd     *Process // the last one started
	frozen   bool
	last     []control.Counter // read by Stop
	retired  tally             // accepted by all nlbds before the last
}

// errNotRunning is returned for signals to a member without nlbd.
var errNotRunning = errors.New("nlbd is not running")

// stopGrace is how long nlbd may take to leave in order.
const stopGrace = 10 * time.Second

// nice is as in deploy/nlbd.service.
const nice = "-10"

// Start writes the configuration and starts nlbd; see [Lab.WaitConverged].
func (m *Member) Start() error {
	if _, err := m.running(); err == nil {
		return fmt.Errorf("start %s: nlbd is running already", m.Name)
	}
	if err := m.retire(); err != nil {
		return err
	}
	path, err := m.WriteConfig()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(m.LogPath(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("open log of %s: %w", m.Name, err)
	}
	p, err := m.start(out, false, "nice", "-n", nice, m.lab.options.Nlbd, "--config", path)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.nlbd, m.frozen = p, false
	return nil
}

// Stop asks nlbd to leave in order (SIGTERM) and waits until it has.
func (m *Member) Stop() error {
	p, err := m.running()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if s, err := m.Status(ctx); err == nil {
		m.mu.Lock()
		m.last = s.Dataplane.Counters
		m.mu.Unlock()
	}
	return p.Stop(syscall.SIGTERM, stopGrace)
}

// Kill ends nlbd at once (SIGKILL), as a crash does. It is no error if none runs.
func (m *Member) Kill() error {
	p, err := m.running()
	if err != nil {
		return nil
	}
	return p.Kill()
}

// Restart is Stop and Start.
func (m *Member) Restart() error {
	if err := m.Stop(); err != nil {
		return err
	}
	return m.Start()
}

// Freeze stops nlbd without ending it (SIGSTOP), and returns when all its threads stand still.
func (m *Member) Freeze() error {
	p, err := m.setFrozen(true, syscall.SIGSTOP)
	if err != nil {
		return err
	}
	return p.awaitStop()
}

// Thaw lets a frozen nlbd go on (SIGCONT).
func (m *Member) Thaw() error {
	_, err := m.setFrozen(false, syscall.SIGCONT)
	return err
}

// Reload writes the configuration again and lets nlbd read it (SIGHUP).
func (m *Member) Reload() error {
	p, err := m.running()
	if err != nil {
		return err
	}
	if _, err := m.WriteConfig(); err != nil {
		return err
	}
	return p.Signal(syscall.SIGHUP)
}

// Running reports whether nlbd runs and is not frozen.
func (m *Member) Running() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.nlbd != nil && m.nlbd.Running() && !m.frozen
}

// Process is the nlbd started last, or nil.
func (m *Member) Process() *Process {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.nlbd
}

// LogPath is the file that all nlbds of this member write to.
func (m *Member) LogPath() string { return filepath.Join(m.dir, m.Name+".log") }

// Log returns the last lines of the log.
func (m *Member) Log(lines int) string { return tail(m.LogPath(), lines) }

// PinDir is where nlbd keeps its pins.
func (m *Member) PinDir() string { return filepath.Join(pinDir(m.lab.Name), m.Name) }

func (m *Member) running() (*Process, error) {
	p := m.Process()
	if p == nil || !p.Running() {
		return nil, fmt.Errorf("%s: %w", m.Name, errNotRunning)
	}
	return p, nil
}

func (m *Member) setFrozen(frozen bool, s os.Signal) (*Process, error) {
	p, err := m.running()
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	m.frozen = frozen
	m.mu.Unlock()
	return p, p.Signal(s)
}

// WriteConfig writes Config, which is first made from the lab's options and then
// given to Options.Edit, and returns the file's path.
func (m *Member) WriteConfig() (string, error) {
	if m.Config == nil {
		config, err := m.defaultConfig()
		if err != nil {
			return "", err
		}
		m.Config = config
	}
	if m.lab.options.Edit != nil {
		m.lab.options.Edit(m)
	}
	text, err := yaml.Marshal(m.Config)
	if err != nil {
		return "", fmt.Errorf("write configuration of %s: %w", m.Name, err)
	}
	path := filepath.Join(m.dir, m.Name+".yaml")
	return path, os.WriteFile(path, text, 0o644)
}

func (m *Member) defaultConfig() (map[string]any, error) {
	var rules []any
	if err := yaml.Unmarshal([]byte(m.lab.options.Rules), &rules); err != nil {
		return nil, fmt.Errorf("read the lab's rules: %w", err)
	}
	var join []string
	for _, other := range m.lab.Members[:min(joined+1, len(m.lab.Members))] {
		if other != m {
			join = append(join, other.Addr.String())
		}
	}
	return map[string]any{
		"cluster": map[string]any{
			"name": m.lab.Name, "mode": m.lab.options.Mode, "vips": m.lab.VIPs, "rules": rules,
		},
		"member": map[string]any{
			"name": m.Name, "priority": m.Priority, "interface": "eth0", "address": m.Addr.String(),
		},
		"membership": map[string]any{"join": join, "key_file": m.lab.keyFile()},
		"dataplane":  m.lab.options.Dataplane,
		"control":    map[string]any{"socket": m.Socket},
		"state_dir":  filepath.Join(m.dir, m.Name),
	}, nil
}

// joined is how many members each one is told to look for; gossip names the others.
const joined = 4

// In a large lab a member starts when the one before it answers, and startPause later:
// they share the processors of one machine, on which each has its eBPF programs
// verified for a fifth of a second, and those that run already must not starve.
const (
	startPause    = 200 * time.Millisecond
	startPatience = 3 * time.Second // for one that does not answer; [Lab.WaitConverged] tells why
)

// Start starts nlbd on all members that do not run it yet.
func (l *Lab) Start() error {
	for i, m := range l.Members {
		if i >= 2*joined {
			l.Members[i-1].awaitAnswer(startPatience)
			time.Sleep(startPause)
		}
		if p := m.Process(); p != nil && p.Running() {
			continue
		}
		if err := m.Start(); err != nil {
			return err
		}
	}
	return nil
}

// awaitAnswer waits until nlbd answers, has ended, or patience has.
func (m *Member) awaitAnswer(patience time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for ctx.Err() == nil && m.Running() {
		if _, err := m.Status(ctx); err == nil {
			return
		}
		time.Sleep(startPause / 4)
	}
}

// Stop lets all members leave in order, at the same time.
func (l *Lab) Stop(ctx context.Context) error {
	results := make(chan error, len(l.Members))
	for _, m := range l.Members {
		go func() {
			err := m.Stop()
			if errors.Is(err, errNotRunning) {
				err = nil
			}
			results <- err
		}()
	}
	var errs []error
	for range l.Members {
		select {
		case err := <-results:
			errs = append(errs, err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return errors.Join(errs...)
}
