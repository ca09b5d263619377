package acceptance

import (
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opennlb/opennlb/lab"
)

// hostState is everything of a host that nlbd may touch, one thing per line:
// addresses, link flags, group memberships, accepted MACs, programs on hooks, the
// lab's pins and control sockets.
func (c *cluster) hostState(h *lab.Host) []string {
	c.t.Helper()
	out, err := h.Run(c.ctx, "sh", "-ec", "ip -o address; ip -o link; ip -o -d link | grep -o 'promiscuity [0-9]*'; ip -o maddress; bridge fdb show; tc qdisc show; bpftool net show")
	c.ok(err)
	state := strings.Split(out, "\n")
	pins, err := filepath.Glob("/sys/fs/bpf/nlb/" + c.Name + "*")
	c.ok(err)
	for _, dir := range pins {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			state = append(state, "pin "+path)
			return err
		})
		c.ok(err)
	}
	sockets, err := filepath.Glob(filepath.Join(c.Dir, "*.sock"))
	c.ok(err)
	return append(state, sockets...)
}

// changes lists what differs between two states, as diff(1) does.
func changes(before, after []string) []string {
	var out []string
	for _, line := range before {
		if !slices.Contains(after, line) {
			out = append(out, "- "+line)
		}
	}
	for _, line := range after {
		if !slices.Contains(before, line) {
			out = append(out, "+ "+line)
		}
	}
	return out
}
