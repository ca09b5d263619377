package ebpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// attach puts the programs on their hooks and then removes what a predecessor has
// on hooks that are not used any more.
func (e *Engine) attach(kind string, opts options) error {
	if err := e.attachTC(opts); err != nil {
		return err
	}
	if kind == "tc" {
		return e.pins.release(xdp)
	}
	program := e.objects.collection.Programs[xdp.name]
	if program == nil { // logged by load
		return e.pins.release(xdp)
	}
	if err := e.device.checkVLANs(); err != nil {
		if kind == "xdp" {
			return fmt.Errorf("%w: write `dataplane: auto`", err)
		}
		e.log.Info("run without XDP, tc decides alone", "interface", e.device.name, "reason", err)
		return e.pins.release(xdp)
	}
	l, err := e.pins.attach(xdp, e.device, program)
	if err == nil {
		e.kind = "xdp"
		e.undos.OnRemove(func() error { return detach(l) })
		return nil
	}
	if kind == "xdp" {
		return fmt.Errorf("%w: the driver of %s has no native XDP, or another XDP program is there (see `ip link show %s`): write `dataplane: auto` or remove that program",
			err, e.device.name, e.device.name)
	}
	e.log.Info("run without XDP, tc decides alone", "interface", e.device.name, "reason", err)
	return nil
}

// attachTC uses links, or the filters that came before them.
func (e *Engine) attachTC(opts options) error {
	words := e.control.words()
	filters := clsactOf(int(words.Ifindex), e.pins)
	if !opts.clsact {
		err := e.attachLinks()
		if err == nil {
			defer func() { words.Clsact = clsactNone }()
			return filters.release(words.Clsact)
		}
		if !errors.Is(err, ebpf.ErrNotSupported) {
			return err
		}
		e.log.Info("attach filters to a clsact qdisc", "reason", err)
	}

	added, err := filters.addQdisc()
	switch {
	case err != nil:
		return err
	case added:
		words.Clsact = clsactIsOurs
	case words.Clsact == clsactNone:
		words.Clsact = clsactFound
	}
	e.undos.OnRemove(func() error { return filters.release(words.Clsact) })
	for _, h := range tcHooks {
		if err := filters.attach(h, e.objects.collection.Programs[h.name]); err != nil {
			return err
		}
	}
	stop, err := e.watchFilters(filters)
	if err != nil {
		return err
	}
	e.undos.OnClose(stop)
	return errors.Join(e.pins.release(tcIn), e.pins.release(tcOut))
}

func (e *Engine) attachLinks() error {
	for _, h := range tcHooks {
		l, err := e.pins.attach(h, e.device, e.objects.collection.Programs[h.name])
		if err != nil {
			return err
		}
		e.undos.OnRemove(func() error { return detach(l) })
	}
	return nil
}
