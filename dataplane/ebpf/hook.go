package ebpf

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// hook is a place on the interface where one of the programs sits. Its name is
// that of the program and of the pinned link.
type hook struct {
	name string
	at   ebpf.AttachType
}

var (
	tcOut = hook{"nlb_tc_out", ebpf.AttachTCXEgress}
	tcIn  = hook{"nlb_tc_in", ebpf.AttachTCXIngress}
	xdp   = hook{"nlb_xdp", ebpf.AttachXDP}

	// tcHooks in the order of attaching: the sender's side first, so that no reply is
	// ever sent under the cluster MAC. XDP follows: tc alone suffices, so that XDP
	// may come and go in front of it. Detaching goes backwards.
	tcHooks = []hook{tcOut, tcIn}
)

// attach puts a program on a hook. A link that a dead predecessor left pinned is
// switched to the new program at one instant, so that there is none without
// either; one that belongs to an interface that is gone is replaced.
func (p pins) attach(h hook, dev device, program *ebpf.Program) (link.Link, error) {
	old, err := p.link(h)
	if err != nil {
		return nil, err
	}
	if old != nil {
		if h.holds(old, dev) && old.Update(program) == nil {
			return old, nil
		}
		if err := detach(old); err != nil {
			return nil, err
		}
	}

	fresh, err := h.attach(dev, program)
	if err != nil {
		return nil, err
	}
	if err := fresh.Pin(p.path(h.name)); err != nil {
		fresh.Close()
		return nil, fmt.Errorf("pin link: %w", err)
	}
	return fresh, nil
}

func (h hook) attach(dev device, program *ebpf.Program) (link.Link, error) {
	if h == xdp {
		l, err := link.AttachXDP(link.XDPOptions{Program: program, Interface: dev.index, Flags: link.XDPDriverMode})
		if err != nil {
			return nil, fmt.Errorf("attach XDP program to %s: %w", dev.name, err)
		}
		return l, nil
	}
	// At the head: a program before ours could let VIP traffic pass it by.
	l, err := link.AttachTCX(link.TCXOptions{Program: program, Interface: dev.index, Attach: h.at, Anchor: link.Head()})
	if err != nil {
		return nil, fmt.Errorf("attach %s to %s: %w", h.name, dev.name, err)
	}
	return l, nil
}

// holds reports whether a link sits on this very interface. Interface numbers do
// not tell: those of other network namespaces are the same.
func (h hook) holds(l link.Link, dev device) bool {
	info, err := l.Info()
	if err != nil {
		return false
	}
	if h == xdp {
		id, err := dev.xdpProgram()
		return err == nil && id == uint32(info.Program)
	}
	there, err := link.QueryPrograms(link.QueryOptions{Target: dev.index, Attach: h.at})
	if err != nil {
		return false
	}
	for _, program := range there.Programs {
		if id, ok := program.LinkID(); ok && id == info.ID {
			return true
		}
	}
	return false
}

// link opens the pinned link of a hook; nil if there is none.
func (p pins) link(h hook) (link.Link, error) {
	l, err := link.LoadPinnedLink(p.path(h.name), nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open pinned link %s: %w", p.path(h.name), err)
	}
	return l, nil
}

// release takes a program off its hook, if it is there.
func (p pins) release(h hook) error {
	l, err := p.link(h)
	if l == nil {
		return err
	}
	return detach(l)
}

// detach takes the program off at once; without it the kernel would do so some
// time after the last reference is gone.
func detach(l link.Link) error {
	return errors.Join(l.Detach(), l.Unpin(), l.Close())
}
