package control

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestListenMakesDirectoryAndMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a/b/nlbd.sock")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != os.ModeSocket|0o660 {
		t.Errorf("mode %v", info.Mode())
	}
}

func TestSecondInstanceIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nlbd.sock")
	first, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Listen(path)
	want := path + " is in use by pid " + strconv.Itoa(os.Getpid())
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Fatalf("got %v, want %q", err, want)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the refused instance removed the socket: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the socket outlives its listener: %v", err)
	}
	again, err := Listen(path)
	if err != nil {
		t.Fatalf("not free after the first one ended: %v", err)
	}
	again.Close()
}

// Only one of many that start at the same moment gets the socket, stale or not.
func TestStartRace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nlbd.sock")
	leaveStale(t, path)
	results := make(chan net.Listener)
	for range 16 {
		go func() {
			l, _ := Listen(path)
			results <- l
		}()
	}
	won := 0
	for range 16 {
		if l := <-results; l != nil {
			won++
			defer l.Close()
		}
	}
	if won != 1 {
		t.Errorf("%d instances got the socket", won)
	}
	if _, err := net.Dial("unix", path); err != nil {
		t.Error(err)
	}
}

func TestStaleSocketIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nlbd.sock")
	leaveStale(t, path)
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}

// leaveStale leaves a socket as a killed process does.
func leaveStale(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
}

func TestForeignSocketIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nlbd.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "in use by pid "+strconv.Itoa(os.Getpid())) {
		t.Errorf("got %v", err)
	}
}

func TestOrdinaryFileIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nlbd.sock")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "is not a socket") {
		t.Errorf("got %v", err)
	}
	if text, err := os.ReadFile(path); string(text) != "precious" {
		t.Errorf("the file is now %q, %v", text, err)
	}
}

func TestUnreachable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nlbd.sock")
	want := "cannot reach nlbd at " + path + ": is it running? (systemctl status nlbd)"
	if _, err := Dial(path).Status(t.Context()); err == nil || err.Error() != want {
		t.Errorf("no socket: got %v", err)
	}
	leaveStale(t, path)
	if _, err := Dial(path).Status(t.Context()); err == nil || err.Error() != want {
		t.Errorf("stale socket: got %v", err)
	}
	late, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	if _, err := Dial(path).Status(late); err == nil || !strings.Contains(err.Error(), "does not answer: is it stopped") {
		t.Errorf("no answer in time: got %v", err)
	}
}

// A stranger cannot use the socket. The test runs itself as nobody.
func TestPermission(t *testing.T) {
	if path := os.Getenv("CONTROL_TEST_SOCKET"); path != "" {
		_, err := Dial(path).Status(t.Context())
		if err == nil || !strings.Contains(err.Error(), "permission denied: run as root, or join the group nlb") {
			t.Errorf("got %v", err)
		}
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root to become nobody")
	}
	_, path := start(t, newFake())
	for dir := filepath.Dir(path); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	binary, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	self := filepath.Join(filepath.Dir(path), "test")
	if err := os.WriteFile(self, binary, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^TestPermission$", "-test.v")
	cmd.Env = append(os.Environ(), "CONTROL_TEST_SOCKET="+path)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestPermission") {
		t.Errorf("%v\n%s", err, out)
	}
}
