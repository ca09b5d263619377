package acceptance

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/lab"
)

// damage is what became of a member's state_dir while its agent was down.
type damage struct {
	name string
	do   func(dir string) error
	says string // in the log of the next start; "": nothing need be said
}

// versions are the files of a history, the latest first.
func versions(dir string) []string {
	list, _ := filepath.Glob(filepath.Join(dir, "config", "*.json"))
	slices.Sort(list)
	slices.Reverse(list)
	return list
}

// onFiles damages the latest n versions in a state_dir, -1: all.
func onFiles(n int, do func(path string) error) func(dir string) error {
	return func(dir string) error {
		list := versions(dir)
		if len(list) == 0 {
			return fmt.Errorf("no version of the configuration in %s", dir)
		}
		if n >= 0 {
			list = list[:n]
		}
		for _, path := range list {
			if err := do(path); err != nil {
				return err
			}
		}
		return nil
	}
}

func overwrite(text string) func(path string) error {
	return func(path string) error { return os.WriteFile(path, []byte(text), 0o600) }
}

func inDir(name string, do func(path string) error) func(dir string) error {
	return func(dir string) error { return do(filepath.Join(dir, name)) }
}

func truncated(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return os.Truncate(path, info.Size()*2/3)
}

// zeroed is what some file systems leave after a power failure.
func zeroed(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return os.WriteFile(path, make([]byte, info.Size()), 0o600)
}

// flipped changes a port, so that all but the digest is well.
func flipped(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return os.WriteFile(path, []byte(strings.Replace(string(text), "ports: 80", "ports: 81", 1)), 0o600)
}

// replaced puts a directory with something in it where a file was.
func replaced(path string) error {
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	return os.MkdirAll(filepath.Join(path, "sub"), 0o700)
}

// dangling puts a link to nowhere where a file was.
func dangling(path string) error {
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	return os.Symlink("/nowhere", path)
}

func damages() []damage {
	const version, garbage = "a version of the configuration is damaged", "\x00\xff{]\x7fELF"
	return []damage{
		{"the latest version truncated", onFiles(1, truncated), version},
		{"all versions garbage", onFiles(-1, overwrite(garbage)), version},
		{"the latest version zeroed, the epoch garbage", func(dir string) error {
			if err := inDir("epoch", overwrite(garbage))(dir); err != nil {
				return err
			}
			return onFiles(1, zeroed)(dir)
		}, "forget the last epoch"},
		{"the retained state truncated, the audit log a directory", func(dir string) error {
			if err := inDir("audit.log", replaced)(dir); err != nil {
				return err
			}
			return inDir("state.json", overwrite(`{"version":1,"sta`))(dir)
		}, "start in member.initial_state"},
		{"the latest version a directory", onFiles(1, replaced), version},
		{"the latest version with another port", onFiles(1, flipped), "its digest is another"},
		{"the history is gone", func(dir string) error { return os.RemoveAll(filepath.Join(dir, "config")) }, ""},
		{"the history is a file", inDir("config", func(path string) error {
			if err := os.RemoveAll(path); err != nil {
				return err
			}
			return overwrite(garbage)(path)
		}), "is kept as"},
		{"the latest version a link to nowhere", onFiles(1, dangling), version},
		{"all versions empty", onFiles(-1, overwrite("")), version},
		{"half of a version that was being written", func(dir string) error {
			return os.WriteFile(versions(dir)[0]+".new", []byte("{"), 0o600)
		}, ""},
		{"epoch and retained state directories", func(dir string) error {
			if err := inDir("epoch", replaced)(dir); err != nil {
				return err
			}
			return inDir("state.json", replaced)(dir)
		}, "forget the last epoch"},
		{"the audit log garbage, the epoch too large", func(dir string) error {
			if err := inDir("audit.log", overwrite(garbage))(dir); err != nil {
				return err
			}
			return inDir("epoch", overwrite("99999999999999999999999\n"))(dir)
		}, "forget the last epoch"},
		{"nothing left at all", os.RemoveAll, ""},
	}
}

func stateDir(m *lab.Member) string { return m.Config["state_dir"].(string) }

// TestDamagedState damages the files of members that are down, two at a time: they start,
// say what was wrong, and have the configuration of the others; alone, the previous version.
func TestDamagedState(t *testing.T) {
	beside(t)
	c := start(t, lab.Options{Clients: 60, Edit: func(m *lab.Member) {
		undampened(m)
		m.Config["member"].(map[string]any)["retain_state"] = true
	}})
	for i := range 3 {
		c.more(c.Members[i], fmt.Sprintf("before%d", i), 900+i)
	}
	want := c.agreed()
	for pair := range slices.Chunk(damages()[:trials(8, len(damages()))], 2) {
		victims := c.Members[1 : 1+len(pair)]
		c.all(victims, killed.die)
		marks := make([]int, len(victims))
		for i, m := range victims {
			marks[i] = len(c.log(m))
			c.ok(pair[i].do(stateDir(m)))
		}
		c.all(victims, killed.revive)
		now := c.agreed()
		for i, m := range victims {
			said := c.log(m)[marks[i]:]
			t.Logf("%s: %s", pair[i].name, complaint(said))
			if !strings.Contains(said, pair[i].says) {
				t.Errorf("%s: %s does not say %q:\n%s", pair[i].name, m.Name, pair[i].says, said)
			}
			if now.Version != want.Version || now.YAML != want.YAML {
				t.Errorf("%s: version %d became %d", pair[i].name, want.Version, now.Version)
			}
			c.awaitKept(m, now.Digest)
		}
	}
	c.aloneWithDamage(want.Version)
	c.fullDisk()
}

// aloneWithDamage starts one member without the others, and without its latest version: it
// goes on with the one before; the others bring the latest back.
func (c *cluster) aloneWithDamage(latest uint64) {
	c.t.Helper()
	want := c.agreed()
	c.all(c.Members, killed.die)
	m := c.Members[0]
	c.ok(onFiles(1, truncated)(stateDir(m)))
	c.ok(m.Start())
	if now := c.agreed(); now.Version != latest-1 {
		c.t.Errorf("alone, without version %d: version %d", latest, now.Version)
	}
	c.owners(c.Client.Addrs[:5])
	c.all(c.Members[1:], killed.revive)
	if now := c.agreed(); now.Version != latest || now.YAML != want.YAML {
		c.t.Errorf("the others bring version %d, and version %d is in force", latest, now.Version)
	}
}

// fullDisk lets a member's state_dir have no room: it takes part in a change, who asks is
// told what is wrong, a start without the change gets it from the others, and once there is
// room the change is kept.
func (c *cluster) fullDisk() {
	c.t.Helper()
	m := c.Members[2]
	dir := stateDir(m)
	c.ok(m.Kill())
	c.ok(os.RemoveAll(dir))
	c.ok(os.MkdirAll(dir, 0o700))
	undo := mountSmall(c.t, dir, 64<<10)
	defer undo()
	c.ok(m.Start())
	c.agreed()
	c.fill(dir)
	res := <-c.begin(c.Members[1], c.agreed(), "full", 950).result
	c.ok(res.err)
	now := c.agreed()
	for _, r := range res.Members {
		if r.OK == (r.Member == m.Name) {
			c.t.Errorf("the disk of %s is full, but of %s is told: %t, %s", m.Name, r.Member, r.OK, r.Error)
		}
		if r.Member == m.Name {
			c.t.Logf("%s: %s", m.Name, r.Error)
		}
	}
	c.ok(m.Kill())
	mark := len(c.log(m))
	c.ok(m.Start())
	if again := c.agreed(); again.Digest != now.Digest {
		c.t.Errorf("with a full disk version %d became %d", now.Version, again.Version)
	}
	c.sleep(100 * time.Millisecond) // until it has tried to write
	s, err := m.Status(c.ctx)
	c.ok(err)
	if !strings.Contains(strings.Join(s.Warnings, "\n"), "make room in state_dir") || !strings.Contains(c.log(m)[mark:], "no space left on device") {
		c.t.Errorf("with a full disk %s warns %q and logs:\n%s", m.Name, s.Warnings, c.log(m)[mark:])
	}
	if soak() {
		now = c.otherMAC(m)
	}
	c.ok(os.Remove(filepath.Join(dir, "filling")))
	c.awaitKept(m, now.Digest)
	c.ok(m.Kill())
	undo()
	c.ok(m.Start())
	c.agreed()
}

// otherMAC changes the mode, for which all begin anew; a member whose disk is full must do
// so just once.
func (c *cluster) otherMAC(m *lab.Member) control.ConfigVersion {
	c.t.Helper()
	mark, was := len(c.log(m)), c.agreed()
	_, err := c.Members[1].Control().Apply(c.ctx, control.ApplyRequest{File: "mode", YAML: strings.Replace(was.YAML, "mode: unicast", "mode: multicast", 1)})
	c.ok(err)
	c.sleep(6 * time.Second)
	now := c.agreed()
	if n := strings.Count(c.log(m)[mark:], "begin anew under"); n != 1 {
		c.t.Errorf("%s, whose disk is full, began anew %d times", m.Name, n)
	}
	return now
}

// more adds a rule and waits until everybody has it on the disk.
func (c *cluster) more(via *lab.Member, rule string, port int) {
	c.t.Helper()
	res := <-c.begin(via, c.agreed(), rule, port).result
	c.ok(res.err)
	for _, r := range res.Members {
		if !r.OK {
			c.t.Fatalf("%s: %s", r.Member, r.Error)
		}
	}
}

func (c *cluster) log(m *lab.Member) string {
	c.t.Helper()
	text, err := os.ReadFile(m.LogPath())
	c.ok(err)
	return string(text)
}

// complaint is the first line of a log that is not of level INFO.
func complaint(log string) string {
	for line := range strings.Lines(log) {
		if strings.Contains(line, "level=WARN") || strings.Contains(line, "level=ERROR") {
			_, text, _ := strings.Cut(strings.TrimSpace(line), "level=")
			return text[:min(len(text), 300)]
		}
	}
	return "says nothing"
}

// awaitKept waits until a member has a version on its disk.
func (c *cluster) awaitKept(m *lab.Member, digest string) {
	c.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; c.sleep(20 * time.Millisecond) {
		list := versions(stateDir(m))
		if len(list) > 0 && strings.Contains(list[0], digest) {
			return
		}
		if time.Now().After(deadline) {
			c.t.Errorf("%s does not keep %s: %v", m.Name, digest, list)
			return
		}
	}
}

// fill leaves no room in a directory that is a file system of its own.
func (c *cluster) fill(dir string) {
	c.t.Helper()
	f, err := os.Create(filepath.Join(dir, "filling"))
	c.ok(err)
	defer f.Close()
	for block := make([]byte, 512); ; {
		if _, err := f.Write(block); err != nil {
			return
		}
	}
}
