package lab

import (
	"errors"
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

// TestNamespacesSpareTheFirstThread: a namespace on the process's first thread would
// show in /proc/self, and could never be given up.
func TestNamespacesSpareTheFirstThread(t *testing.T) {
	needRoot(t)
	home, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	// More goroutines than threads: one of them will be on the first thread.
	var tasks sync.WaitGroup
	for range 20 {
		tasks.Go(func() {
			n, err := NewNetNS()
			if err != nil {
				t.Error(err)
				return
			}
			defer n.Close()
			if now, err := os.Readlink("/proc/self/ns/net"); now != home {
				t.Errorf("the process is in %s, not in %s; %v", now, home, err)
			}
		})
	}
	tasks.Wait()
}

func TestNamespaceDo(t *testing.T) {
	needRoot(t)
	n, err := NewNetNS()
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	var links []net.Interface
	err = n.Do(func() (err error) {
		links, err = net.Interfaces()
		return err
	})
	if err != nil || len(links) != 1 || links[0].Name != "lo" {
		t.Errorf("links %v, %v; want lo only", links, err)
	}
	boom := errors.New("boom")
	if err := n.Do(func() error { return boom }); !errors.Is(err, boom) {
		t.Errorf("error %v, want boom", err)
	}
	before, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward")
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Sysctl("net/ipv4/ip_forward", "1"); err != nil {
		t.Error(err)
	}
	var inside []byte
	n.Do(func() (err error) { inside, err = os.ReadFile("/proc/sys/net/ipv4/ip_forward"); return err })
	if after, _ := os.ReadFile("/proc/sys/net/ipv4/ip_forward"); string(inside) != "1\n" || string(after) != string(before) {
		t.Errorf("setting inside %q, outside %q then %q", inside, before, after)
	}
	n.Close()
	n.Close()
	if err := n.Do(func() error { return nil }); !errors.Is(err, ErrClosed) {
		t.Errorf("work for a closed namespace: %v", err)
	}
}

// TestNamespaceIsNotItsInode: the kernel gives the inode of a namespace that is gone to a new
// one, which is not the old one left behind.
func TestNamespaceIsNotItsInode(t *testing.T) {
	needRoot(t)
	old, err := NewNetNS()
	if err != nil {
		t.Fatal(err)
	}
	if !old.isAt(old.Path()) {
		t.Error("a namespace does not know itself")
	}
	old.Close()
	for begin := time.Now(); time.Since(begin) < 2*time.Second; time.Sleep(5 * time.Millisecond) {
		n, err := NewNetNS()
		if err != nil {
			t.Fatal(err)
		}
		again := n.id == old.id
		if old.isAt(n.Path()) {
			t.Errorf("namespace %d passes for the one before it", n.id)
		}
		n.Close()
		if again {
			return
		}
	}
	t.Log("the inode was not used again")
}
