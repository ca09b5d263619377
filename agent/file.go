package agent

import (
	"errors"
	"os"
	"path/filepath"
)

// replaceFile writes a file of state_dir anew, never leaving half of one under its name.
// With sync it survives a power failure, too, and waits for the disk: not for the loop.
func replaceFile(path string, data []byte, sync bool) error {
	next := path + ".new"
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil && sync {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(next)) // what is not whole would stay for ever
	}
	if !sync {
		return nil
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes a rename in a directory last (fsync(2): the file alone is not enough).
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
