package opennlb_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/opennlb/opennlb/config"
)

// TestInstall installs dummies of the programs into an empty tree, then again
// over an administrator's configuration.
func TestInstall(t *testing.T) {
	src, dest := t.TempDir(), t.TempDir()
	for _, name := range []string{"scripts/install", "deploy/nlbd.service", "deploy/nlb.yaml"} {
		put(t, filepath.Join(src, name), read(t, name))
	}
	put(t, filepath.Join(src, "bin/nlbd"), "old")
	put(t, filepath.Join(src, "bin/nlbctl"), "#!/bin/sh\necho $1 for $2")
	install(t, src, dest)
	for shell, file := range map[string]string{
		"bash": "bash-completion/completions/nlbctl", "zsh": "zsh/vendor-completions/_nlbctl", "fish": "fish/vendor_completions.d/nlbctl.fish",
	} {
		if got := read(t, filepath.Join(dest, "usr/share", file)); got != "completion for "+shell+"\n" {
			t.Errorf("completion of %s: %q", shell, got)
		}
	}
	put(t, filepath.Join(src, "bin/nlbctl"), "for another machine")
	install(t, src, dest)

	sample := read(t, "deploy/nlb.yaml")
	conf := filepath.Join(dest, "etc/nlb/nlb.yaml")
	if got := read(t, conf); got != sample {
		t.Errorf("the first configuration is not the sample but %.80q", got)
	}
	unit := read(t, filepath.Join(dest, "usr/lib/systemd/system/nlbd.service"))
	for line := range strings.Lines(unit) {
		key, command, _ := strings.Cut(strings.TrimSpace(line), "=")
		if key != "ExecStart" && key != "ExecStartPre" {
			continue
		}
		program := strings.Fields(command)[0]
		if _, err := os.Stat(filepath.Join(dest, program)); err != nil {
			t.Errorf("%s of the unit is not where it is installed: %v", key, err)
		}
	}

	put(t, conf, "mine")
	put(t, filepath.Join(src, "bin/nlbd"), "new")
	install(t, src, dest)
	if got := read(t, conf); got != "mine" {
		t.Errorf("an upgrade wrote over the configuration: %.80q", got)
	}
	if got := read(t, filepath.Join(dest, "usr/sbin/nlbd")); got != "new" {
		t.Errorf("an upgrade left the program at %q", got)
	}
}

// TestManualConfiguration parses the configuration that docs/INSTALL.md tells
// people to write.
func TestManualConfiguration(t *testing.T) {
	_, after, found := strings.Cut(read(t, "docs/INSTALL.md"), "```yaml\n")
	text, _, closed := strings.Cut(after, "```")
	if !found || !closed {
		t.Fatal("docs/INSTALL.md has no yaml block")
	}
	if _, err := config.Parse("docs/INSTALL.md", []byte(text)); err != nil {
		t.Error(err)
	}
}

// TestManualCommands asks nlbctl for help on every verb that docs/INSTALL.md uses.
func TestManualCommands(t *testing.T) {
	nlbctl := filepath.Join(t.TempDir(), "nlbctl")
	if out, err := exec.Command("go", "build", "-o", nlbctl, "./cmd/nlbctl").CombinedOutput(); err != nil {
		t.Fatalf("build nlbctl: %v\n%s", err, out)
	}
	uses := regexp.MustCompile("(?m)(?:^|`)(nlbctl ([a-z][a-z0-9-]+))").FindAllStringSubmatch(read(t, "docs/INSTALL.md"), -1)
	if len(uses) < 5 {
		t.Fatalf("found %d uses of nlbctl", len(uses))
	}
	for _, use := range uses {
		// Help on an unknown verb is help on all, without an error.
		out, err := exec.Command(nlbctl, use[2], "--help").CombinedOutput()
		if err != nil || !strings.Contains(string(out), "Usage:\n  "+use[1]) {
			t.Errorf("there is no %s: %v\n%s", use[1], err, out)
		}
	}
}

func install(t *testing.T, src, dest string) {
	t.Helper()
	cmd := exec.Command(filepath.Join(src, "scripts/install"))
	cmd.Env = append(os.Environ(), "DESTDIR="+dest)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("install: %v\n%s", err, out)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// put writes an executable file, since scripts and programs are what most are.
func put(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}
