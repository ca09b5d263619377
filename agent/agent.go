// Package agent is one running member: it brings up the data plane, membership
// and control, and owns the event loop that connects them.
package agent

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/opennlb/opennlb/config"
	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/converge"
	"github.com/opennlb/opennlb/hook"
	"github.com/opennlb/opennlb/l2"
	"github.com/opennlb/opennlb/membership"
)

// Options are what Run takes from its caller beside the configuration.
type Options struct {
	Log     *slog.Logger
	Version string
	Ready   func()                // called once, when this member first agrees with the others
	Reload  <-chan *config.Config // the member part is taken from each
}

// Run is a member's life: it returns when ctx ends and the buckets are handed
// over, or when the member cannot go on. Whatever it put on the host is gone then,
// unless the process dies; then the data plane stays and answers nothing.
func Run(ctx context.Context, cfg *config.Config, opt Options) (err error) {
	if err := checkCapabilities(); err != nil {
		return err
	}
	key, err := cfg.ReadKey()
	if err != nil {
		return err
	}
	unlock, err := lockState(cfg.StateDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	keys, err := newKeyholder(cfg.StateDir, cfg.Cluster.Name, key, opt.Log)
	if err != nil {
		return err
	}
	m := member{Options: opt, cfg: cfg, keys: keys, events: control.NewEventLog(keepEvents)}
	m.hook = newHook(cfg.Notify, m.events, opt.Log)
	endHook := startHook(m.hook)
	defer func() { err = errors.Join(err, endHook()) }()
	for {
		if err := m.live(ctx); !errors.Is(err, errAnew) {
			return err
		}
		m.Log.Info("begin anew under the configuration in force")
	}
}

// member is what outlives a new beginning, see errAnew.
type member struct {
	Options
	cfg    *config.Config
	keys   *keyholder
	events *control.EventLog
	hook   *hook.Hook           // nil: no notify.command
	base   *converge.Assignment // what was agreed on before
	known  *cluster             // what was in force then: the disk may have refused it
	macs   []net.HardwareAddr   // the cluster's so far: others may still have them
	state  *retained            // as it was then
	drain  drain                // likewise
	anew   time.Time            // when this member last began anew together with the others
	preset string               // of detection, which the others may have; "": that of the configuration
	tried  []string             // presets with which the others refused this member
}

// otherPreset picks a preset of detection that the others may have, who refused the one
// tried: they may have changed it while this member was away.
func (m *member) otherPreset(tried string) bool {
	m.tried = append(m.tried, tried)
	for _, preset := range []string{"normal", "fast", "relaxed"} {
		if !slices.Contains(m.tried, preset) {
			m.Log.Warn("the others have another detection: try theirs", "had", tried, "try", preset)
			m.preset = preset
			return true
		}
	}
	return false
}

// begin fills in what a loop takes over from an earlier life.
func (m *member) begin(s start) start {
	var err error
	if s.seen, err = loadEpoch(m.cfg.StateDir); err != nil {
		m.Log.Warn("forget the last epoch", "error", err)
	}
	if s.base = m.base; m.state != nil {
		s.state, s.asked, s.drain = *m.state.State, m.state.Shares, m.drain
		return s
	}
	s.state, s.asked = firstState(m.cfg, m.Log)
	return s
}

// end remembers what a new beginning has to know.
func (m *member) end(l *loop) {
	state := l.machine.Self().State
	m.known, m.state, m.drain = l.cluster, &retained{State: &state, Shares: l.asked}, l.drain
	if a := l.machine.Committed(); a != nil {
		m.base = a
	}
	if !l.anew.IsZero() {
		m.anew = l.anew
	}
	if l.ready == nil {
		m.Ready = nil // was called
	}
}

// refusal picks one of joined errors where other members refuse this one, since all
// of them give the same reason.
func refusal(err error) error {
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) {
		return err
	}
	for _, e := range joined.Unwrap() {
		if errors.Is(e, membership.ErrWrongKey) || errors.Is(e, membership.ErrWrongCluster) || errors.Is(e, membership.ErrWrongDetection) {
			return refusal(e)
		}
	}
	return err
}

func closer(l net.Listener) func() error {
	return func() error {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	}
}

// lockState makes sure that one agent at a time is this member.
func lockState(dir string) (unlock func() error, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create state_dir: %w: set state_dir to a path that nlbd may make", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock state_dir: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("state_dir %s is in use by another nlbd: give each member its own", dir), f.Close())
	}
	return f.Close, nil
}

// dedicatedIP fills in the member's own address. It refuses one that the host does
// not have, and a VIP there.
func dedicatedIP(cfg *config.Config, c *cluster, iface *l2.Interface) error {
	if !cfg.Member.Address.IsValid() {
		addr, err := iface.Address()
		if err != nil {
			return err
		}
		cfg.Member.Address = addr
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return fmt.Errorf("list own addresses: %w", err)
	}
	if !slices.ContainsFunc(own, func(a net.Addr) bool { return holds(a, cfg.Member.Address) }) {
		return fmt.Errorf("member.address %s is not an address of this host: write one that %s has", cfg.Member.Address, iface.Name)
	}
	if slices.Contains(c.VIPs, cfg.Member.Address) {
		return fmt.Errorf("VIP %s is the dedicated IP of %s: give the member an address of its own, or choose another VIP", cfg.Member.Address, iface.Name)
	}
	return nil
}

func holds(a net.Addr, addr netip.Addr) bool {
	prefix, ok := a.(*net.IPNet)
	return ok && prefix.IP.Equal(addr.AsSlice())
}

// instance is random, so that peers can tell this start from all others.
func instance() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return binary.NativeEndian.Uint64(b[:]) | 1 // never zero
}
