package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// bpffs is where nlbd keeps its pins: /sys/fs/bpf/nlb/CLUSTER/MEMBER.
const bpffs = "/sys/fs/bpf"

func pinDir(lab string) string { return filepath.Join(bpffs, "nlb", lab) }

// mountBPF mounts bpffs where it belongs, unless it is there. It is the only thing
// that a lab does to the machine and does not undo: others may have come to use it.
func mountBPF() error {
	var st unix.Statfs_t
	if err := unix.Statfs(bpffs, &st); err != nil {
		return fmt.Errorf("look for bpffs at %s: %w", bpffs, err)
	}
	if st.Type == unix.BPF_FS_MAGIC {
		return nil
	}
	if err := unix.Mount("bpf", bpffs, "bpf", 0, "mode=0700"); err != nil {
		return fmt.Errorf("mount bpffs at %s: %w (needs root)", bpffs, err)
	}
	return nil
}

// Sweep removes the pins and the directories under dir of labs whose owner is dead.
func Sweep(dir string) error {
	var errs []error
	for _, parent := range []string{filepath.Dir(pinDir("x")), dir} {
		entries, err := os.ReadDir(parent)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
		for _, e := range entries {
			if pid, ok := owner(e.Name()); ok && !running(pid) {
				errs = append(errs, os.RemoveAll(filepath.Join(parent, e.Name())))
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("sweep dead labs: %w", err)
	}
	return nil
}

// owner reads the process id from a name like lab-PID-N.
func owner(name string) (pid int, ok bool) {
	part := strings.Split(name, "-")
	if len(part) != 3 || part[0] != "lab" {
		return 0, false
	}
	pid, err := strconv.Atoi(part[1])
	if err != nil || pid <= 0 {
		return 0, false
	}
	if _, err := strconv.ParseUint(part[2], 10, 32); err != nil {
		return 0, false
	}
	return pid, true
}

// running reports whether pid runs. A reused process id keeps a dead lab's remains
// until that process ends too; nothing alive is ever removed.
func running(pid int) bool {
	return !errors.Is(unix.Kill(pid, 0), unix.ESRCH)
}
