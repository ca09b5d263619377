package lab

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// Options says what to build. The zero value is three members in unicast mode.
type Options struct {
	Members   int           // 1 to 32; default 3
	Mode      string        // unicast (default), multicast or igmp
	Dataplane string        // auto (default), xdp, tc or afpacket
	Clients   int           // client addresses, 1 to 4000; default 300
	IPv6      bool          // a second VIP, fd77::100, and an IPv6 address for every client
	Rules     string        // port rules as a YAML list; default DefaultRules
	Dir       string        // parent of the lab's directory; default os.TempDir()
	Nlbd      string        // path of the program; default: beside this program, or from PATH
	Edit      func(*Member) // may change Member.Config before each start
}

// DefaultRules spread HTTP and echo by client address. Echo over UDP has a rule of its
// own, so that its counters tell datagrams from TCP's segments, and keeps no clients: a
// member with clients that never fall silent would never be drained.
const DefaultRules = `
- {name: web, vip: all, protocol: tcp, ports: 80, mode: multiple, affinity: single}
- {name: echo, vip: all, protocol: tcp, ports: 7, mode: multiple, affinity: single}
- {name: ` + datagramRule + `, vip: all, protocol: udp, ports: 7, mode: multiple, affinity: none}
`

// datagramRule covers UDP port 7, whose datagrams the switch counts.
const datagramRule = "echo-udp"

func (o Options) withDefaults() (Options, error) {
	o.Members = cmp.Or(o.Members, 3)
	o.Clients = cmp.Or(o.Clients, 300)
	o.Mode = cmp.Or(o.Mode, "unicast")
	o.Dataplane = cmp.Or(o.Dataplane, "auto")
	o.Rules = cmp.Or(o.Rules, DefaultRules)
	o.Dir = cmp.Or(o.Dir, os.TempDir())
	o.Nlbd = cmp.Or(o.Nlbd, findNlbd())
	if o.Members < 1 || o.Members > 32 {
		return o, fmt.Errorf("members: %d: use 1 to 32", o.Members)
	}
	if o.Clients < 1 || o.Clients > 4000 {
		return o, fmt.Errorf("clients: %d: use 1 to 4000", o.Clients)
	}
	if !slices.Contains([]string{"unicast", "multicast", "igmp"}, o.Mode) {
		return o, fmt.Errorf("mode: %q: use unicast, multicast or igmp", o.Mode)
	}
	if !slices.Contains([]string{"auto", "xdp", "tc", "afpacket"}, o.Dataplane) {
		return o, fmt.Errorf("dataplane: %q: use auto, xdp, tc or afpacket", o.Dataplane)
	}
	if _, err := exec.LookPath(o.Nlbd); err != nil {
		return o, fmt.Errorf("find nlbd: %w: run make build first", err)
	}
	if os.Geteuid() != 0 {
		return o, fmt.Errorf("create network namespaces: needs root: run with sudo")
	}
	return o, nil
}

// findNlbd looks beside the running program, then in PATH.
func findNlbd() string {
	if self, err := os.Executable(); err == nil {
		path := filepath.Join(filepath.Dir(self), "nlbd")
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	path, err := exec.LookPath("nlbd")
	if err != nil {
		return "nlbd"
	}
	return path
}
