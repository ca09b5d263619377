package acceptance

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
)

// badInputs are the mistakes. Most change one thing of node3's configuration.
func badInputs(c *cluster) []badInput {
	node1, node3 := c.Members[0], c.Members[2]
	// Another cluster on node1, so that the instances share only what a row says.
	other := []string{
		"name: " + c.Name, "name: " + c.Name + "-other", "name: node3", "name: node1", "10.77.0.100", "10.77.0.101",
		"address: 10.77.0.3", "address: 10.77.0.1", "- 10.77.0.1\n", "", "control:", "control:\n  http: \"\"",
	}
	// A member that has agreed on a configuration does not ask its file.
	state := "state_dir: " + filepath.Join(c.Dir, "node3")
	fresh := func(write ...string) []string { return append(write, state, state+"-fresh") }
	return []badInput{
		// The command line and the file.
		{name: "no such file", args: []string{"--config", "/nonexistent.yaml"}, says: []string{"read the configuration", "/nonexistent.yaml"}},
		{name: "not a file", args: []string{"--config", c.Dir}, says: []string{"read the configuration", "is a directory"}},
		{name: "stray argument", args: []string{"start"}, says: []string{`unexpected argument "start"`, "see nlbd --help"}},
		{name: "unknown flag", args: []string{"--daemon"}, says: []string{"-daemon", "see nlbd --help"}},
		{name: "log format", args: []string{"--log-format", "xml"}, says: []string{`"xml"`, "use auto, text, json or journal"}},
		{name: "not YAML", write: []string{"cluster:", "cluster: ["}, says: []string{"broken.yaml:"}},

		// The values.
		{name: "unknown key", write: []string{"  interface:", "  interfaze: eth1\n  interface:"}, says: []string{"broken.yaml:", "member.interfaze", "unknown key", "write interface"}},
		{name: "overlapping rules", write: []string{"ports: 7\n", "ports: 7-80\n"}, says: []string{"broken.yaml:", `rules "web" and "echo" both cover tcp port 80`, "write ranges that do not meet"}},
		{name: "priority 0", write: []string{"priority: 3", "priority: 0"}, says: []string{"broken.yaml:", "member.priority", "from 1 to 32"}},
		{name: "priority 33", write: []string{"priority: 3", "priority: 33"}, says: []string{"broken.yaml:", "member.priority", "from 1 to 32"}},
		{name: "VIP is the dedicated IP", write: []string{"10.77.0.100", "10.77.0.3"}, says: []string{"broken.yaml:", "member.address", "virtual IP", "own address"}},
		{name: "VIP is the interface's first address", write: fresh("10.77.0.100", "10.77.0.3", "  address: 10.77.0.3\n", ""), says: []string{"VIP 10.77.0.3 is the dedicated IP of eth0", "choose another VIP"}},
		{name: "VIP is another address of the host", write: fresh("10.77.0.100", "10.77.0.201"), prepare: "ip address add 10.77.0.201/24 dev eth0", restore: "ip address del 10.77.0.201/24 dev eth0", says: []string{"VIP 10.77.0.201", "eth0", "remove it there"}},
		{name: "VIP is an IPv6 address of the host", write: fresh("10.77.0.100", "fd77::3"), says: []string{"VIP fd77::3", "eth0", "remove it there"}},
		{name: "address of nobody", write: []string{"address: 10.77.0.3", "address: 10.77.0.203"}, says: []string{"member.address 10.77.0.203 is not an address of this host", "write one that eth0 has"}},

		{name: "two mistakes", write: []string{"priority: 3", "priority: 0", "mode: unicast", "mode: anycast"}, lines: 2, says: []string{"broken.yaml:", "member.priority", "cluster.mode"}},

		// The host.
		{name: "missing interface", write: []string{"eth0", "eth9"}, says: []string{`interface "eth9" does not exist`, "set member.interface to one of eth0"}},
		{name: "loopback interface", write: []string{"interface: eth0", "interface: lo"}, says: []string{"interface lo is loopback", "set member.interface"}},
		{name: "interface is down", write: []string{"interface: eth0", "interface: bad0"}, prepare: "ip link add bad0 type veth peer name bad1", restore: "ip link del bad0", says: []string{"interface bad0 is down", "ip link set bad0 up"}},
		{name: "port of a bridge", write: []string{"interface: eth0", "interface: bad0"}, prepare: "ip link add bad0 up type veth peer name bad1; ip link add badbr type bridge; ip link set bad0 master badbr", restore: "ip link del bad0; ip link del badbr", says: []string{"interface bad0 is a port of badbr", "set member.interface to badbr"}},
		{name: "no capabilities", under: []string{"setpriv", "--bounding-set=-all", "--inh-caps=-all"}, says: []string{"missing capability CAP_NET_ADMIN and CAP_NET_RAW", "run as root"}},
		{name: "only network capabilities", write: []string{"dataplane: auto", "dataplane: tc"}, under: []string{"setpriv", "--bounding-set=-all,+net_admin,+net_raw", "--inh-caps=-all"}, says: []string{"CAP_BPF", "run as root"}},
		{name: "user nobody", under: []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"}, says: []string{"missing capability CAP_NET_ADMIN and CAP_NET_RAW", "run as root"}},
		{name: "state_dir cannot be made", write: []string{"state_dir: " + filepath.Join(c.Dir, "node3"), "state_dir: /proc/nlb"}, says: []string{"create state_dir: mkdir /proc/nlb", "set state_dir to"}},
		{name: "state_dir of another cluster", write: []string{"name: " + c.Name, "name: " + c.Name + "-other"}, says: []string{"configuration 1, the last that node3 agreed on", "the name of a cluster cannot change", "or remove " + filepath.Join(c.Dir, "node3", "config")}},

		// The other members, and hosts that are none.
		{name: "VIP of a host", write: fresh("10.77.0.100", "10.77.0.101", "name: "+c.Name, "name: "+c.Name+"-other"), foreign: "10.77.0.101/32", says: []string{"VIP 10.77.0.101 is in use by " + c.Client.MAC.String(), "remove the address there"}},
		{name: "IPv6 VIP of a host", write: fresh("10.77.0.100", "fd77::101", "name: "+c.Name, "name: "+c.Name+"-other"), foreign: "fd77::101/128", says: []string{"VIP fd77::101 is in use by " + c.Client.MAC.String(), "remove the address there"}},
		{name: "wrong key", write: []string{"cluster.key", "wrong.key"}, says: []string{"10.77.0.", "another cluster key", "membership.key_file"}},
		{name: "no key where the others have one", write: []string{"key_file: " + filepath.Join(c.Dir, "cluster.key"), "insecure: true"}, says: []string{"10.77.0.", "cluster key", "membership.key_file"}},
		{name: "missing key", write: []string{"cluster.key", "absent.key"}, says: []string{"absent.key", "nlbctl keygen"}},
		{name: "short key", write: []string{"cluster.key", "short.key"}, says: []string{"short.key holds 16 bytes instead of 32", "nlbctl keygen"}},
		{name: "open key", write: []string{"cluster.key", "open.key"}, says: []string{"open.key is open to other users", "chmod 600"}},
		{name: "duplicate priority", write: []string{"priority: 3", "priority: 1"}, says: []string{`priority 1 is already held by member "node1" at 10.77.0.1`, "set a free member.priority"}},
		// All hosts of the lab share one bpffs, where the two would meet first.
		{name: "duplicate name", write: []string{"name: node3", "name: node1"}, under: []string{"unshare", "--mount", "sh", "-ec", `mount -t bpf bpf /sys/fs/bpf; exec "$@"`, "sh"}, says: []string{`member name "node1" is already used by the member at 10.77.0.1`, "set another member.name"}},

		// A second instance on one host.
		{name: "control socket in use", beside: true, write: fresh(append([]string{node3.Socket, node1.Socket}, other...)...), says: []string{node1.Socket + " is in use by pid", "set another control.socket"}},
		{name: "state_dir in use", beside: true, write: append([]string{"state_dir: " + filepath.Join(c.Dir, "node3"), "state_dir: " + filepath.Join(c.Dir, "node1")}, other...), says: []string{filepath.Join(c.Dir, "node1") + " is in use by another nlbd", "give each member its own"}},
		{name: "same cluster and member", beside: true, write: []string{"name: node3", "name: node1", "address: 10.77.0.3", "address: 10.77.0.1", "control:", "control:\n  http: \"\""}, says: []string{"in use", "another nlbd runs this member of this cluster", "give this one another name"}},
		{name: "membership port in use", beside: true, write: fresh(other...), says: []string{"10.77.0.1:7946", "address already in use", "membership.port"}},
	}
}

// writeKeys writes keys that do not fit.
func (c *cluster) writeKeys() {
	c.t.Helper()
	for _, k := range []struct {
		name   string
		length int
		mode   os.FileMode
	}{{"wrong.key", 32, 0o600}, {"short.key", 16, 0o600}, {"open.key", 32, 0o644}} {
		text := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", k.length)))
		c.ok(os.WriteFile(filepath.Join(c.Dir, k.name), []byte(text+"\n"), k.mode))
	}
}
