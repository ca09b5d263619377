package lab

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Leftovers lists what is left of a lab: processes, namespaces, pins, directory. It
// is empty after Close. Namespaces are found as long as any process uses them; the
// kernel reuses their numbers, so ask before another lab is built.
func (l *Lab) Leftovers() []string {
	var left []string
	for _, path := range []string{pinDir(l.Name), l.Dir} {
		if _, err := os.Lstat(path); err == nil {
			left = append(left, path)
		}
	}
	spaces := map[string]*NetNS{}
	for _, h := range l.Hosts() {
		spaces[fmt.Sprintf("net:[%d]", h.ns.id)] = h.ns
	}
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range processes {
		env, _ := os.ReadFile(p + "/environ") // the process may be gone by now
		if bytes.Contains(env, []byte(mark+"="+l.Name+"\x00")) {
			name, _ := os.ReadFile(p + "/comm")
			left = append(left, fmt.Sprintf("process %s (%s)", filepath.Base(p), strings.TrimSpace(string(name))))
		}
		for _, pattern := range []string{"/task/*/ns/net", "/fd/*"} {
			links, _ := filepath.Glob(p + pattern)
			for _, link := range links {
				if to, err := os.Readlink(link); err == nil && spaces[to] != nil && spaces[to].isAt(link) {
					left = append(left, "namespace "+to+" held by "+link)
				}
			}
		}
	}
	return left
}

// Hosts lists the switch, the client host and the members.
func (l *Lab) Hosts() []*Host {
	var all []*Host
	if l.Switch != nil {
		all = append(all, l.Switch.Host)
	}
	if l.Client != nil {
		all = append(all, l.Client.Host)
	}
	for _, m := range l.Members {
		all = append(all, m.Host)
	}
	return all
}
