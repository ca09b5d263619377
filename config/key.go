package config

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// KeySize is the length of the cluster key in bytes: AES-256, as memberlist takes it.
const KeySize = 32

const newKeyHint = "make a key with `nlbctl keygen --out %s` on one member and copy it to the others"

// NewKey makes a cluster key as it stands in a key file: base64, without a newline.
func NewKey() string {
	var key [KeySize]byte
	rand.Read(key[:]) // never fails: crypto/rand
	return base64.StdEncoding.EncodeToString(key[:])
}

// ReadKey reads the cluster key, KeySize bytes, from the key file; nil if the
// configuration says insecure. A file that others may read or change is refused.
func (c *Config) ReadKey() ([]byte, error) {
	if c.Membership.Insecure {
		return nil, nil
	}
	path := c.Membership.KeyFile
	// Without O_NONBLOCK, opening a named pipe would wait for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the cluster key: %w: "+newKeyHint, err, path)
	}
	if err != nil {
		return nil, fmt.Errorf("read the cluster key: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read the cluster key: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read the cluster key: %s is not a file: "+newKeyHint, path, path)
	}
	if perm := info.Mode().Perm(); perm&0o027 != 0 {
		return nil, fmt.Errorf("read the cluster key: %s is open to other users (mode %04o): run `chmod 600 %s`, and make a new key if others may have read it", path, perm, path)
	}
	text, err := io.ReadAll(io.LimitReader(f, 1024))
	if err != nil {
		return nil, fmt.Errorf("read the cluster key: %w", err)
	}
	key, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(text)))
	if err != nil {
		return nil, fmt.Errorf("read the cluster key: %s is not base64: "+newKeyHint, path, path)
	}
	if len(key) != KeySize {
		return nil, fmt.Errorf("read the cluster key: %s holds %d bytes instead of %d: "+newKeyHint, path, len(key), KeySize, path)
	}
	return key, nil
}
