package config

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestKeyRoundTrip(t *testing.T) {
	text := NewKey()
	if text == NewKey() {
		t.Fatal("two keys are the same")
	}
	want, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"", "\n", "\r\n", " \n"} {
		got, err := keyFrom(t, text+suffix, 0o600).ReadKey()
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) || len(got) != KeySize {
			t.Errorf("suffix %q: got %x, want %x", suffix, got, want)
		}
	}
}

func TestInsecureHasNoKey(t *testing.T) {
	c := &Config{Membership: Membership{Insecure: true}}
	if key, err := c.ReadKey(); key != nil || err != nil {
		t.Errorf("got %x, %v", key, err)
	}
}

func TestKeyErrors(t *testing.T) {
	good := NewKey()
	for _, tt := range []struct {
		name, text string
		mode       os.FileMode
		want       string
	}{
		{"world-readable", good, 0o644, "chmod 600"},
		{"group-writable", good, 0o660, "chmod 600"},
		{"short", base64.StdEncoding.EncodeToString(make([]byte, 31)), 0o600, "31 bytes instead of 32"},
		{"long", base64.StdEncoding.EncodeToString(make([]byte, 33)), 0o600, "33 bytes instead of 32"},
		{"hex", strings.Repeat("z!", 32), 0o600, "not base64"},
		{"two keys", good + "\n" + good, 0o600, "not base64"},
		{"empty", "", 0o600, "0 bytes instead of 32"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			key, err := keyFrom(t, tt.text, tt.mode).ReadKey()
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
			if key != nil {
				t.Error("a key beside the error")
			}
			if strings.Contains(err.Error(), good) {
				t.Error("the message shows the key")
			}
		})
	}
}

func TestKeyMissing(t *testing.T) {
	c := &Config{Membership: Membership{KeyFile: filepath.Join(t.TempDir(), "cluster.key")}}
	if _, err := c.ReadKey(); err == nil || !strings.Contains(err.Error(), "nlbctl keygen --out "+c.Membership.KeyFile) {
		t.Errorf("got %v", err)
	}
}

func TestKeyIsPipe(t *testing.T) {
	c := &Config{Membership: Membership{KeyFile: filepath.Join(t.TempDir(), "cluster.key")}}
	if err := syscall.Mkfifo(c.Membership.KeyFile, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ReadKey(); err == nil || !strings.Contains(err.Error(), "is not a file") {
		t.Errorf("got %v", err)
	}
}

func keyFrom(t *testing.T, text string, mode os.FileMode) *Config {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cluster.key")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return &Config{Membership: Membership{KeyFile: path}}
}
