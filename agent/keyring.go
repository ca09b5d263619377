package agent

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/opennlb/opennlb/membership"
)

// keyringFile is where a member keeps the cluster key from the first rotation on.
const keyringFile = "keyring.json"

const keyringVersion = 1

// keyring is the cluster key, or the two of a rotation that is not finished. A rotation is
// three steps, each of which raises the generation by one:
//
//	generation  keys      what is new
//	3n          old
//	3n+1        old, new  the new key is understood
//	3n+2        new, old  the new key is spoken
//	3n+3        new       the old key is refused
//
// Members at neighbouring generations understand each other.
type keyring struct {
	Generation uint64   `json:"generation"`
	Keys       [][]byte `json:"keys"`              // membership.KeySize bytes each; the first is spoken
	Members    []string `json:"members,omitempty"` // who must have taken a step before the next; of an unfinished rotation
	By         string   `json:"by,omitempty"`      // who asked for the last rotation, and at which member
}

func (r keyring) unfinished() bool { return len(r.Keys) == 2 }

// begin is the first step of a rotation, with a new key.
func (r keyring) begin(members []string, by string) keyring {
	fresh := make([]byte, membership.KeySize)
	rand.Read(fresh) // never fails: crypto/rand
	return keyring{r.Generation + 1, [][]byte{r.Keys[0], fresh}, members, by}
}

// next is the step that follows in a rotation that is not finished.
func (r keyring) next() keyring {
	n := keyring{r.Generation + 1, [][]byte{r.Keys[1], r.Keys[0]}, r.Members, r.By}
	if n.Generation%3 == 0 {
		n.Keys, n.Members = r.Keys[:1], nil
	}
	return n
}

// stamp identifies a keyring without telling its keys.
type stamp struct {
	Generation   uint64
	Fingerprints string
}

func (r keyring) stamp() stamp {
	s := stamp{Generation: r.Generation}
	for _, k := range r.Keys {
		s.Fingerprints += fingerprint(k) + " "
	}
	return s
}

// above is the order in which keyrings replace each other. Of two rotations that began
// apart, one wins everywhere.
func (s stamp) above(o stamp) bool {
	return s.Generation > o.Generation || s.Generation == o.Generation && s.Fingerprints > o.Fingerprints
}

// fingerprint names a key: 64 bits of its SHA-256, from which nobody finds the key.
func fingerprint(key []byte) string {
	sum := sha256.Sum256(append([]byte("opennlb cluster key\x00"), key...))
	return hex.EncodeToString(sum[:8])
}

func (r keyring) check() error {
	want := 2
	if r.Generation%3 == 0 {
		want = 1
	}
	wrong := func(k []byte) bool { return len(k) != membership.KeySize }
	if len(r.Keys) != want || slices.ContainsFunc(r.Keys, wrong) || want == 2 && bytes.Equal(r.Keys[0], r.Keys[1]) {
		return fmt.Errorf("its keys are not those of generation %d", r.Generation)
	}
	return nil
}

// storedKeyring is the content of keyringFile.
type storedKeyring struct {
	Version int    `json:"version"`
	File    string `json:"file"` // fingerprint of the key in membership.key_file when this was written
	keyring
}

// loadKeyring returns the keyring that counts beside a key in membership.key_file: that on
// the disk, unless the operator has put another key into the file since. problem says
// why one on the disk does not count; it is moved aside.
func loadKeyring(dir string, file []byte) (r keyring, problem string) {
	own := keyring{Keys: [][]byte{file}}
	path := filepath.Join(dir, keyringFile)
	stored, err := readKeyring(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return own, ""
	case err != nil:
		problem = fmt.Sprintf("%v: the key in membership.key_file is used; if the others refuse it, write into it what `nlbctl key show` prints at one of them", err)
	case stored.File != fingerprint(file):
		problem = "membership.key_file holds another key than before: it replaces the key that this member had from a rotation"
	default:
		return stored.keyring, ""
	}
	if err := os.Rename(path, path+".old"); err != nil {
		problem += fmt.Sprintf("; move %s away: %v", path, err)
	}
	return own, problem
}

func readKeyring(path string) (s storedKeyring, err error) {
	f, err := os.Open(path)
	if err != nil {
		return s, fmt.Errorf("read the cluster key: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	switch {
	case err != nil:
	case s.Version != keyringVersion:
		err = fmt.Errorf("it is of version %d, not %d", s.Version, keyringVersion)
	default:
		err = s.check()
	}
	if err != nil {
		return s, fmt.Errorf("read the cluster key of the last rotation: %s is damaged: %w", path, err)
	}
	return s, nil
}

// saveKeyring returns when the disk has it.
func saveKeyring(dir, file string, r keyring) error {
	data, err := json.Marshal(storedKeyring{keyringVersion, file, r})
	if err != nil {
		return fmt.Errorf("keep the cluster key: %w", err)
	}
	if err := replaceFile(filepath.Join(dir, keyringFile), append(data, '\n'), true); err != nil {
		return fmt.Errorf("keep the cluster key: %w: is there room in state_dir?", err)
	}
	return nil
}
