package doctor

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// bpfMagic is the type of a BPF file system (statfs(2)).
const bpfMagic = 0xcafe4a11

// maxFile is how much of a configuration file is searched, in bytes.
const maxFile = 1 << 20

func (f *Facts) readKernel() {
	k := &f.Kernel
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		f.gap("the kernel's release", err)
		return
	}
	k.Release = unix.ByteSliceToString(u.Release[:])
	_, _ = fmt.Sscanf(k.Release, "%d.%d", &k.Major, &k.Minor) // else 0.0, which is too old
	k.BTF = exists("/sys/kernel/btf/vmlinux")
	var s unix.Statfs_t
	k.BPFFS = unix.Statfs("/sys/fs/bpf", &s) == nil && s.Type == bpfMagic
	text, _ := os.ReadFile("/sys/kernel/security/lockdown") // not there: not locked
	if _, rest, found := strings.Cut(string(text), "["); found {
		k.Lockdown, _, _ = strings.Cut(rest, "]")
	}
	modules, _ := os.ReadFile("/proc/modules") // a kernel without modules has none
	k.NAT = strings.HasPrefix(string(modules), "nf_nat ") || strings.Contains(string(modules), "\nnf_nat ")
}

// balancers are programs that give addresses to one host of several.
var balancers = []string{"keepalived", "pacemakerd", "corosync", "ucarp", "vrrpd", "heartbeat", "wackamole"}

// readProcesses finds those that concern this network namespace.
func (f *Facts) readProcesses() {
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		f.gap("/proc", err)
		return
	}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		comm, err := os.ReadFile(dir + "/comm")
		name := strings.TrimSpace(string(comm))
		if err != nil || name != "nlbd" && !slices.Contains(balancers, name) {
			continue // also one that has just ended
		}
		if ns, err := os.Readlink(dir + "/ns/net"); err != nil || ns != own {
			continue
		}
		if name == "nlbd" {
			f.Nlbd = &Process{Caps: capabilities(dir)}
			f.Nlbd.PID, _ = strconv.Atoi(filepath.Base(dir))
		} else if !slices.Contains(f.Balancers, name) {
			f.Balancers = append(f.Balancers, name)
		}
	}
	ipvs, _ := os.ReadFile("/proc/net/ip_vs") // three lines of heading
	f.IPVS = strings.Count(string(ipvs), "\n") > 3
}

func capabilities(dir string) (caps uint64) {
	text, _ := os.ReadFile(dir + "/status")
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "CapEff:"); ok {
			caps, _ = strconv.ParseUint(strings.TrimSpace(value), 16, 64)
		}
	}
	return caps
}

// readListening reads the tables of sockets (proc_net_tcp of the kernel's documentation).
func (f *Facts) readListening() {
	f.Listening = []Socket{}
	for _, table := range []struct{ name, state string }{{"tcp", "0A"}, {"tcp6", "0A"}, {"udp", "07"}, {"udp6", "07"}} {
		file, err := os.Open("/proc/net/" + table.name)
		if err != nil {
			continue // no IPv6
		}
		lines := bufio.NewScanner(file)
		for lines.Scan() {
			fields := strings.Fields(lines.Text())
			if len(fields) < 4 || fields[3] != table.state {
				continue
			}
			if at, ok := socketAddress(fields[1]); ok {
				f.Listening = append(f.Listening, Socket{strings.TrimSuffix(table.name, "6"), at})
			}
		}
		file.Close()
	}
}

// socketAddress reads 0100007F:0016: words of the address in the host's order, port.
func socketAddress(text string) (netip.AddrPort, bool) {
	words, digits, _ := strings.Cut(text, ":")
	b, err := hex.DecodeString(words)
	port, portErr := strconv.ParseUint(digits, 16, 16)
	if err != nil || portErr != nil || len(b)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(b); i += 4 {
		if littleEndian {
			slices.Reverse(b[i : i+4])
		}
	}
	addr, ok := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(addr.Unmap(), uint16(port)), ok
}

// networkFiles is where distributions keep the addresses of interfaces.
var networkFiles = []string{
	"/etc/network/interfaces", "/etc/network/interfaces.d/*", "/etc/netplan/*.yaml", "/etc/systemd/network/*.network",
	"/etc/sysconfig/network-scripts/ifcfg-*", "/etc/sysconfig/network/ifcfg-*", "/etc/NetworkManager/system-connections/*",
	"/etc/keepalived/keepalived.conf",
}

func (f *Facts) readMentions() {
	for _, pattern := range networkFiles {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			info, err := os.Stat(file)
			if err != nil || !info.Mode().IsRegular() || info.Size() > maxFile {
				continue
			}
			text, err := os.ReadFile(file)
			if err != nil {
				f.gap(file, err)
				continue
			}
			f.Mentions = append(f.Mentions, mentions(f.VIPs(), file, string(text))...)
		}
	}
}

// mentions finds the VIPs that stand in a text as words of their own, outside comments.
func mentions(vips []netip.Addr, file, text string) (found []Mention) {
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		for _, word := range strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \t\r\n/,;=[]{}\"'", r) }) {
			addr, err := netip.ParseAddr(word)
			m := Mention{addr, file}
			if err == nil && slices.Contains(vips, addr) && !slices.Contains(found, m) {
				found = append(found, m)
			}
		}
	}
	return found
}
