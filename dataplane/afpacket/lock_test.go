package afpacket

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/opennlb/opennlb/dataplane/enginetest"
)

// Another agent keeps the name; a user who may not be one keeps nobody from the start.
func TestLock(t *testing.T) {
	enterNamespace(t)
	name := tableName(testSetup(t).Cluster, t.Name())
	unlock, err := lock(name)
	enginetest.Must(t, err)
	if _, err := lock(name); err == nil {
		t.Error("two agents have one name")
	}
	enginetest.Must(t, unlock())

	become := func(uid int) { // of this thread only
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), uintptr(uid), ^uintptr(0)); errno != 0 {
			t.Fatal(errno)
		}
	}
	const nobody = 65534
	become(nobody)
	squatter, err := net.Listen("unix", "@"+name)
	become(0)
	enginetest.Must(t, err)
	defer squatter.Close()
	unlock, err = lock(name)
	enginetest.Must(t, err)
	enginetest.Must(t, unlock())
}
