package ebpf

import (
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Capabilities that the unit may name (linux/capability.h).
var capabilities = map[string]uintptr{
	"CAP_CHOWN":     unix.CAP_CHOWN,
	"CAP_NET_ADMIN": unix.CAP_NET_ADMIN,
	"CAP_NET_RAW":   unix.CAP_NET_RAW,
	"CAP_BPF":       unix.CAP_BPF,
	"CAP_PERFMON":   unix.CAP_PERFMON,
}

// An agent with no more capabilities than the systemd unit leaves it starts, and
// takes over from one that was killed.
func TestCapabilitiesOfUnit(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			enterNamespace(t)
			w := newWire(t)
			keepCapabilities(t, "../../deploy/nlbd.service")
			for range 3 {
				kill := startChild(t, k.kind, k.opts)
				kill()
			}
			untilSilent(t, w)
		})
	}
}

// keepCapabilities takes from whatever the thread executes all capabilities but
// those in the unit. The thread keeps its own.
func keepCapabilities(t *testing.T, unit string) {
	t.Helper()
	text, err := os.ReadFile(unit)
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "\nCapabilityBoundingSet=")
	line, _, _ := strings.Cut(after, "\n")
	var keep []uintptr
	for _, name := range strings.Fields(line) {
		number, ok := capabilities[name]
		if !ok {
			t.Fatalf("the unit grants %s, of which this test does not know", name)
		}
		keep = append(keep, number)
	}
	if len(keep) == 0 {
		t.Fatalf("%s names no capabilities", unit)
	}
	for number := range uintptr(unix.CAP_LAST_CAP + 1) {
		if slices.Contains(keep, number) {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, number, 0, 0, 0); err != nil {
			t.Fatalf("drop capability %d: %v", number, err)
		}
	}
}
