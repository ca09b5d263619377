package agent

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// checkCapabilities refuses to start without what every data plane needs. What
// only one of them needs, it asks for itself.
func checkCapabilities() error {
	var have [2]unix.CapUserData // version 3 of capget(2): 64 bits
	if err := unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &have[0]); err != nil {
		return fmt.Errorf("read own capabilities: %w", err)
	}
	var missing []string
	for _, c := range []struct {
		bit  int
		name string
	}{{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"}, {unix.CAP_NET_RAW, "CAP_NET_RAW"}} {
		if have[0].Effective&(1<<c.bit) == 0 {
			missing = append(missing, c.name)
		}
	}
	if missing == nil {
		return nil
	}
	return fmt.Errorf("missing capability %s: run as root, or give nlbd what deploy/nlbd.service lists", strings.Join(missing, " and "))
}
