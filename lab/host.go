package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Host is one machine of the lab: a network namespace with an interface eth0 that
// is cabled to a port of the switch.
type Host struct {
	Name string
	Port string           // the switch's end of the cable
	MAC  net.HardwareAddr // of eth0
	ns   *NetNS
	lab  string // name of the lab
	dir  string
	undo *undo
}

// NetNS is the host's namespace.
func (h *Host) NetNS() *NetNS { return h.ns }

// Run runs a short command on the host and returns its standard output.
func (h *Host) Run(ctx context.Context, name string, args ...string) (string, error) {
	return h.runInput(ctx, "", name, args...)
}

func (h *Host) runInput(ctx context.Context, input, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Stdin = &out, &errs, strings.NewReader(input)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := h.ns.Do(cmd.Start); err != nil {
		return "", fmt.Errorf("start %s on %s: %w", name, h.Name, err)
	}
	if err := cmd.Wait(); err != nil {
		return out.String(), fmt.Errorf("%s %s on %s: %w: %s", name, strings.Join(args, " "), h.Name, err, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}

// StartCommand runs a long-lived command, such as a web server, on the host. It and
// its descendants end with the lab at the latest.
func (h *Host) StartCommand(name string, args ...string) (*Process, error) {
	out, err := os.CreateTemp(h.dir, h.Name+"-"+filepath.Base(name)+"-*.log")
	if err != nil {
		return nil, fmt.Errorf("open log of %s: %w", name, err)
	}
	p, err := h.start(out, true, name, args...)
	if err != nil {
		return nil, err
	}
	h.undo.add(p.Kill)
	return p, nil
}

// Listen opens a TCP listener on the host. The address may be a VIP that the host
// does not have yet. The listener closes with the lab at the latest.
func (h *Host) Listen(network, address string) (net.Listener, error) {
	var l net.Listener
	err := h.ns.Do(func() (err error) {
		config := net.ListenConfig{Control: freebind}
		l, err = config.Listen(context.Background(), network, address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", h.Name, err)
	}
	h.undo.add(func() error { return ignoreClosed(l.Close()) })
	return l, nil
}

// ListenPacket is [Host.Listen] for UDP. Bind the VIP itself, so that answers come
// from it.
func (h *Host) ListenPacket(network, address string) (net.PacketConn, error) {
	var c net.PacketConn
	err := h.ns.Do(func() (err error) {
		config := net.ListenConfig{Control: freebind}
		c, err = config.ListenPacket(context.Background(), network, address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", h.Name, err)
	}
	h.undo.add(func() error { return ignoreClosed(c.Close()) })
	return c, nil
}

// freebind lets a socket bind an address that the host does not have (ip(7)).
// IP_FREEBIND acts on IPv6 sockets as well.
func freebind(_, _ string, c syscall.RawConn) error {
	var err error
	if e := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_FREEBIND, 1)
	}); e != nil {
		return e
	}
	return err
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
