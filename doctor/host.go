package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"
)

// Disk space in state_dir, in bytes. A full history of the largest configurations takes
// less than the second.
const (
	noSpace     = 2 << 20
	littleSpace = 64 << 20
)

func configuration(f *Facts) []Finding {
	switch {
	case f.Config != nil:
		return ok(f.ConfigFile + " is valid")
	case f.ConfigErr == nil:
		return nil
	case !f.Root && errors.Is(f.ConfigErr, fs.ErrPermission):
		return warning(f.ConfigErr.Error(), "run nlbctl doctor as root: many checks are left out")
	case f.Status != nil:
		return warning(f.ConfigErr.Error(), "give --config with the file of the nlbd that runs; many checks are left out")
	}
	return problem(f.ConfigErr.Error(), "correct it, or give --config; deploy/nlb.yaml explains every setting")
}

func privilege(f *Facts) []Finding {
	if f.Root {
		return nil
	}
	return warning("not run as root: some things cannot be seen", "run nlbctl doctor as root")
}

func kernel(f *Facts) []Finding {
	k := f.Kernel
	older := func(major, minor int) bool { return k.Major < major || k.Major == major && k.Minor < minor }
	switch {
	case k.Release == "":
		return nil
	case older(5, 16):
		return problem("Linux "+k.Release+" is older than 5.16: neither data plane works", "use Linux 6.1 or newer")
	case older(6, 1):
		return warning("Linux "+k.Release+" is older than what nlbd is tested with", "use Linux 6.1 or newer")
	}
	return ok("Linux " + k.Release)
}

// dataplane goes by what nlbd uses if it runs, and otherwise by what the kernel offers.
func dataplane(f *Facts) []Finding {
	chosen := "auto"
	if f.Config != nil {
		chosen = f.Config.Dataplane
	}
	if f.Status != nil {
		if kind := f.Status.Dataplane.Kind; kind == "afpacket" && chosen != "afpacket" {
			return warning("nlbd decides in user space (afpacket): some 50 us per packet instead of below 1", "see its log for the reason why eBPF could not be used")
		}
		return ok(f.Status.Dataplane.Kind + " is in use")
	}
	if chosen == "afpacket" || f.Kernel.Release == "" {
		return nil
	}
	var found []Finding
	if !f.Kernel.BTF {
		found = append(found, warning("the kernel does not describe its types (no /sys/kernel/btf/vmlinux)", "use a kernel with CONFIG_DEBUG_INFO_BTF for connections behind NAT; without eBPF nlbd decides in user space")...)
	}
	if !f.Kernel.BPFFS {
		found = append(found, warning("/sys/fs/bpf is not a BPF file system", "run mount -t bpf bpf /sys/fs/bpf, or let systemd do it")...)
	}
	if f.Kernel.Lockdown == "confidentiality" {
		found = append(found, warning("the kernel is locked down for confidentiality, which forbids parts of eBPF", "boot with lockdown=integrity; otherwise nlbd may have to decide in user space")...)
	}
	return orOK(found, "eBPF can be used")
}

// nat: the connection table is read by a kernel function that a module holds, for which
// eBPF wants more privilege than the unit grants.
func nat(f *Facts) []Finding {
	if !f.Kernel.NAT || f.Nlbd == nil || f.Status == nil || f.Status.Dataplane.Kind == "afpacket" {
		return nil
	}
	if f.Nlbd.Caps&(1<<unix.CAP_SYS_ADMIN) != 0 {
		return ok("nlbd may follow connections behind NAT")
	}
	return warning("this host does NAT, and nlbd may not read its connection table: connections to services behind DNAT break when members change",
		"add CAP_SYS_ADMIN to nlbd's unit if there are such services (containers): docs/INSTALL.md, Services in containers")
}

func key(f *Facts) []Finding {
	switch {
	case f.Config == nil:
		return nil
	case f.Config.Membership.Insecure:
		return warning("membership is insecure: whoever reaches its port can steer the cluster", "make a key with nlbctl keygen, copy it to all members, and set membership.key_file")
	case f.KeyErr != nil && !f.Root:
		return nil // only root is to read it
	case f.KeyErr != nil:
		return problem(f.KeyErr.Error(), "")
	}
	return ok(f.Config.Membership.KeyFile + " is private and well-formed")
}

func stateDir(f *Facts) []Finding {
	if f.State == nil || f.Config == nil {
		return nil
	}
	free := fmt.Sprintf("%s: %d MB free", f.Config.StateDir, f.State.Free>>20)
	advice := "make room: nlbd writes the cluster's configuration there before a change is reported as done"
	switch {
	case !f.State.Exists:
		return ok(f.Config.StateDir + " will be made when nlbd starts")
	case f.State.Free < noSpace:
		return problem(free, advice)
	case f.State.Free < littleSpace:
		return warning(free, advice)
	}
	return ok(free)
}

func clock(f *Facts) []Finding {
	if f.Clock == nil {
		return nil
	}
	if *f.Clock {
		return ok("synchronized")
	}
	return warning("the clock is not synchronized: nlbd does without, but events of several members will not compare", "run chrony or systemd-timesyncd")
}

func otherBalancers(f *Facts) []Finding {
	var found []Finding
	if len(f.Balancers) > 0 {
		found = append(found, warning(strings.Join(f.Balancers, ", ")+" runs here, and may claim the VIPs for one host", "take the VIPs out of its configuration, or stop it")...)
	}
	if f.IPVS {
		found = append(found, warning("IPVS has services here, and takes packets before local services do", "make sure that none is for a VIP: ipvsadm -L")...)
	}
	return orOK(found, "none")
}

func systemd(f *Facts) []Finding {
	switch {
	case !f.Unit.Systemd:
		return nil
	case !f.Unit.Present:
		return warning("there is no nlbd.service", "run scripts/install, or see to it yourself that nlbd is restarted when it ends")
	case !f.Unit.Enabled:
		return warning("nlbd.service is not enabled: this member stays away after a reboot", "run systemctl enable nlbd")
	}
	return ok("nlbd.service is enabled")
}
