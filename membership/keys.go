package membership

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/hashicorp/memberlist"
)

// KeySize is the length of a cluster key in bytes: AES-256.
const KeySize = 32

// maxKeys is what a rotation takes. With more, memberlist's RemoveKey (keyring.go, v0.7.0)
// would move keys in a list that its readers hold.
const maxKeys = 2

var errNoKeys = errors.New("this cluster runs without a key (membership.insecure): give it one by a restart of all members")

// A key is changed without a gap in three rounds, each at all members before the next
// begins: AddKey, so that everybody understands it; UseKey, so that nobody speaks the
// old one any more; RemoveKey of the old one.

// Keys returns the keys that what arrives may be encrypted with. The first of them
// encrypts what is sent. There are none in a cluster without encryption.
func (m *Membership) Keys() [][]byte {
	if m.keys == nil {
		return nil
	}
	keys := slices.Clone(m.keys.GetKeys())
	for i, k := range keys {
		keys[i] = bytes.Clone(k)
	}
	return keys
}

// AddKey accepts a key of KeySize bytes for what arrives. One that is accepted already
// is no error.
func (m *Membership) AddKey(key []byte) error {
	switch {
	case m.keys == nil:
		return errNoKeys
	case len(key) != KeySize:
		return wrongSize(key)
	case !m.hasKey(key) && len(m.keys.GetKeys()) >= maxKeys:
		return errors.New("another cluster key is being replaced: remove the old one first")
	}
	return m.keys.AddKey(bytes.Clone(key))
}

// UseKey encrypts what is sent from now on with a key that was added.
func (m *Membership) UseKey(key []byte) error {
	if m.keys == nil {
		return errNoKeys
	}
	if !m.hasKey(key) {
		return errors.New("this member does not have that cluster key: add it at all members first")
	}
	return m.keys.UseKey(key)
}

// RemoveKey refuses what arrives with a key from now on. It cannot be the one in use;
// one that is not there is no error.
func (m *Membership) RemoveKey(key []byte) error {
	if m.keys == nil {
		return errNoKeys
	}
	if bytes.Equal(m.keys.GetPrimaryKey(), key) {
		return errors.New("that cluster key is in use: use another one at all members first")
	}
	return m.keys.RemoveKey(key)
}

func (m *Membership) hasKey(key []byte) bool {
	return slices.ContainsFunc(m.keys.GetKeys(), func(k []byte) bool { return bytes.Equal(k, key) })
}

// SetKeys makes these one or two keys the only ones, the first being in use. A key that is
// there before and after is understood all the time.
func (m *Membership) SetKeys(keys [][]byte) error {
	if len(keys) < 1 || len(keys) > maxKeys {
		return fmt.Errorf("%d cluster keys, not 1 or %d", len(keys), maxKeys)
	}
	wanted := func(key []byte) bool {
		return slices.ContainsFunc(keys, func(k []byte) bool { return bytes.Equal(k, key) })
	}
	have := m.Keys()
	if len(have) == maxKeys && !wanted(have[1]) { // makes room
		if err := m.RemoveKey(have[1]); err != nil {
			return err
		}
	}
	if err := m.AddKey(keys[0]); err != nil {
		return err
	}
	if err := m.UseKey(keys[0]); err != nil {
		return err
	}
	for _, k := range m.Keys() {
		if !wanted(k) {
			if err := m.RemoveKey(k); err != nil {
				return err
			}
		}
	}
	return m.AddKey(keys[len(keys)-1])
}

func newKeyring(key, other []byte) (*memberlist.Keyring, error) {
	if key == nil {
		return nil, nil //nolint:nilnil // without a keyring nothing is encrypted
	}
	var others [][]byte
	if other != nil {
		others = append(others, bytes.Clone(other))
	}
	return memberlist.NewKeyring(others, bytes.Clone(key))
}

func wrongSize(key []byte) error {
	return fmt.Errorf("cluster key has %d bytes, not %d: make one with nlbctl keygen", len(key), KeySize)
}
