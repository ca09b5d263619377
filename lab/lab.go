package lab

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Lab is a cluster with its switch and its clients.
type Lab struct {
	Name    string // also the name of the cluster: lab-PID-N
	Dir     string // configurations, logs, sockets, state
	VIPs    []string
	Members []*Member
	Client  *Client
	Switch  *Switch
	options Options
	undo    undo
}

// New builds the hosts and cables; no member runs yet. It first clears away what
// labs of dead processes left. Call Close, also after a panic: use defer.
func New(ctx context.Context, options Options) (*Lab, error) {
	options, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	l := &Lab{options: options, VIPs: []string{VIP.String()}}
	if options.IPv6 {
		l.VIPs = append(l.VIPs, VIP6.String())
	}
	if err := l.build(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("build lab: %w", err), l.Close())
	}
	return l, nil
}

func (l *Lab) build(ctx context.Context) error {
	if err := mountBPF(); err != nil {
		return err
	}
	if err := Sweep(l.options.Dir); err != nil {
		return err
	}
	if err := l.makeDir(); err != nil {
		return err
	}
	l.undo.add(func() error { return os.RemoveAll(l.Dir) })
	l.undo.add(func() error { return os.RemoveAll(pinDir(l.Name)) })
	if err := l.writeKey(); err != nil {
		return err
	}
	if err := l.buildSwitch(ctx); err != nil {
		return err
	}
	if err := l.buildClient(ctx); err != nil {
		return err
	}
	for i := range l.options.Members {
		if err := l.buildMember(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// Close ends every process and removes everything. A second call does nothing.
func (l *Lab) Close() error { return l.undo.run() }

// makeDir claims the first free name lab-PID-N by creating its directory.
func (l *Lab) makeDir() error {
	for n := 1; ; n++ {
		l.Name = fmt.Sprintf("lab-%d-%d", os.Getpid(), n)
		l.Dir = filepath.Join(l.options.Dir, l.Name)
		err := os.Mkdir(l.Dir, 0o755)
		if errors.Is(err, os.ErrExist) {
			continue
		}
		if err != nil {
			return err
		}
		// unix(7): the path of a socket has room for 107 bytes.
		if socket := filepath.Join(l.Dir, "node32.sock"); len(socket) > 107 {
			return errors.Join(fmt.Errorf("%s: too long for a unix socket: choose a shorter Dir", socket), os.Remove(l.Dir))
		}
		return nil
	}
}

func (l *Lab) keyFile() string { return filepath.Join(l.Dir, "cluster.key") }

func (l *Lab) writeKey() error {
	key := make([]byte, 32)
	rand.Read(key)
	return os.WriteFile(l.keyFile(), []byte(base64.StdEncoding.EncodeToString(key)+"\n"), 0o600)
}

// newHost makes a namespace whose undo is registered.
func (l *Lab) newHost(name, port string) (*Host, error) {
	ns, err := NewNetNS()
	if err != nil {
		return nil, err
	}
	l.undo.add(ns.Close)
	return &Host{Name: name, Port: port, ns: ns, lab: l.Name, dir: l.Dir, undo: &l.undo}, nil
}
