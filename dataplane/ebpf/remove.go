package ebpf

import (
	"errors"
	"io/fs"

	"github.com/opennlb/opennlb/dataplane"
)

// Remove takes the programs of a dead agent off its interface, of which it must
// find the network namespace to be the caller's where there is no tcx, and removes
// its pins. It refuses while the agent lives. There being nothing to remove is no
// error.
func Remove(cluster, member string) error {
	p := pinsOf(cluster, member)
	lock, err := p.lock()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return hint(err)
	}
	defer lock.Close()
	old, err := p.silence()
	if err != nil {
		return hint(err)
	}
	errs := []error{p.release(xdp)}
	if old != nil && old.Clsact != clsactNone {
		errs = append(errs, clsactOf(int(old.Ifindex), p).release(old.Clsact))
	}
	errs = append(errs, p.release(tcIn), p.release(tcOut), p.removeMaps())
	return hint(errors.Join(errs...))
}

// ReadPinnedCounters reads the counters of any agent, be it dead, frozen or alive,
// without asking it, and which rules they are of, by ID. The error wraps fs.ErrNotExist
// where there are no pins.
func ReadPinnedCounters(cluster, member string) (counted []dataplane.Counter, rules map[uint16]string, err error) {
	p := pinsOf(cluster, member)
	pinned, err := p.open(pinNames)
	if err != nil {
		return nil, nil, hint(err)
	}
	defer pinned.Close()
	counters, err := p.open(pinCounters)
	if err != nil {
		return nil, nil, hint(err)
	}
	defer counters.Close()
	names, err := readNames(pinned)
	if err != nil {
		return nil, nil, err
	}
	counted, err = readCounters(counters, names.counted())
	return counted, names, err
}
