package acceptance

import (
	"fmt"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// mountSmall puts a file system of so many bytes in a directory; undo takes it away again,
// as the end of the test does.
func mountSmall(t *testing.T, dir string, size int) (undo func()) {
	t.Helper()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", size)); err != nil {
		t.Fatal(err)
	}
	undo = sync.OnceFunc(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(undo)
	return undo
}
