package ebpf

import (
	"errors"
	"fmt"
	"log/slog"
	"os"

	"golang.org/x/sys/unix"
)

const bpffs = "/sys/fs/bpf"

// mountBPFFS mounts the file system of pins unless it is there.
func mountBPFFS(log *slog.Logger) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(bpffs, &fs); err != nil {
		return fmt.Errorf("look at %s: %w: mount sysfs on /sys and choose a kernel with CONFIG_BPF_SYSCALL", bpffs, err)
	}
	if fs.Type == unix.BPF_FS_MAGIC {
		return nil
	}
	if err := unix.Mount("bpf", bpffs, "bpf", 0, "mode=0700"); err != nil {
		return fmt.Errorf("mount %s: %w: run `mount -t bpf bpf %s` as root", bpffs, err, bpffs)
	}
	// In a mount namespace of its own, such as that of `ip netns exec`, pins
	// vanish with the last process in it, and the programs with them.
	own, err1 := os.Readlink("/proc/self/ns/mnt")
	first, err2 := os.Readlink("/proc/1/ns/mnt")
	if errors.Join(err1, err2) == nil && own != first {
		log.Warn("pins live in a private mount namespace: if the agent dies with it, VIP traffic is no longer kept from the kernel",
			"hint", "mount "+bpffs+" on the host, or enter namespaces with `nsenter --net`")
	}
	return nil
}
