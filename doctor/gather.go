package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/opennlb/opennlb/config"
	"github.com/opennlb/opennlb/control"
)

// patience is how long another host may take to answer.
const patience = time.Second

// Source is where facts come from.
type Source struct {
	ConfigFile string
	Socket     string // "": that of the configuration
	Version    string // of nlbctl; "": not known
	Ask        func(ctx context.Context, socket string) (control.Status, error)
}

// Gather takes the snapshot, in about a second. It changes nothing; what others see of it
// is a connection and an empty datagram to their membership ports, and two pings.
func Gather(ctx context.Context, s Source) *Facts {
	f := &Facts{Root: os.Geteuid() == 0, ConfigFile: s.ConfigFile, Version: s.Version, Sysctl: make(map[string]string)}
	f.Config, f.ConfigErr = config.Load(s.ConfigFile)
	f.Socket = s.Socket
	if f.Socket == "" && f.Config != nil {
		f.Socket = f.Config.Control.Socket
	}
	if status, err := s.Ask(ctx, f.Socket); err != nil {
		f.StatusErr = err
	} else {
		f.Status = &status
	}
	f.readKernel()
	f.readProcesses()
	f.readClock()
	f.readUnit()
	f.readListening()
	f.readMentions()
	f.readAddresses()
	if f.Config == nil {
		return f
	}
	f.readLink(f.Config.Member.Interface)
	f.readSysctl()
	f.readState()
	_, f.KeyErr = f.Config.ReadKey()
	f.reachOthers(ctx)
	return f
}

// gap notes what could not be read.
func (f *Facts) gap(what string, err error) {
	f.Gaps = append(f.Gaps, fmt.Sprintf("%s cannot be read: %v", what, err))
}

func (f *Facts) readClock() {
	var t unix.Timex // modes 0: only reads, adjtimex(2)
	state, err := unix.Adjtimex(&t)
	if err != nil {
		f.gap("the state of the clock", err)
		return
	}
	good := state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0 && time.Duration(t.Maxerror)*time.Microsecond < synced
	f.Clock = &good
}

func (f *Facts) readState() {
	var s unix.Statfs_t
	err := unix.Statfs(f.Config.StateDir, &s)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.State = &State{}
	case err != nil:
		f.gap(f.Config.StateDir, err)
	default:
		f.State = &State{Exists: true, Free: s.Bavail * uint64(s.Bsize)}
	}
}

func (f *Facts) readUnit() {
	f.Unit.Systemd = exists("/run/systemd/system")
	f.Unit.Present = slices.ContainsFunc([]string{"/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"}, func(dir string) bool {
		return exists(dir + "/nlbd.service")
	})
	f.Unit.Enabled = f.Unit.Systemd && exists("/etc/systemd/system/multi-user.target.wants/nlbd.service")
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// others are the members to try: those that nlbd has seen, or those to join.
func (f *Facts) others() (list []Reach) {
	if f.Status == nil {
		for _, a := range f.Config.Membership.Join {
			if !slices.ContainsFunc(f.Addresses, func(own Address) bool { return own.Prefix.Addr() == a }) {
				list = append(list, Reach{Addr: a})
			}
		}
		return list
	}
	for _, m := range f.Status.Members {
		if m.Name != f.Status.Self && m.Address != (netip.Addr{}) && (m.Alive || slices.Contains(f.Config.Membership.Join, m.Address)) {
			list = append(list, Reach{Name: m.Name, Addr: m.Address})
		}
	}
	for _, a := range f.Config.Membership.Join {
		known := slices.ContainsFunc(f.Status.Members, func(m control.Member) bool { return m.Address == a })
		own := slices.ContainsFunc(f.Addresses, func(own Address) bool { return own.Prefix.Addr() == a })
		if !known && !own {
			list = append(list, Reach{Addr: a})
		}
	}
	return list
}
