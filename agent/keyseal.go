package agent

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
)

// A new cluster key goes to each member under a key that only the two processes can know
// (X25519, HKDF, AES-256-GCM), inside the messages that the present cluster key protects.
// So who has that and listens does not learn its successor.

// sealer is the part of one process in that.
type sealer struct{ private *ecdh.PrivateKey }

func newSealer() (sealer, error) {
	private, err := ecdh.X25519().GenerateKey(rand.Reader)
	return sealer{private}, err
}

func (s sealer) public() []byte { return s.private.PublicKey().Bytes() }

// seal encrypts a keyring for the process with that public key.
func (s sealer) seal(r keyring, to []byte) ([]byte, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode the cluster key: %w", err)
	}
	gcm, err := s.cipher(to, s.public(), to)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, gcm.NonceSize())
	rand.Read(nonce)
	return gcm.Seal(nonce, nonce, text, nil), nil
}

// open decrypts what the process with that public key sealed for this one.
func (s sealer) open(box, from []byte) (r keyring, err error) {
	gcm, err := s.cipher(from, from, s.public())
	if err != nil {
		return r, err
	}
	if len(box) < gcm.NonceSize() {
		return r, errSealed
	}
	text, err := gcm.Open(nil, box[:gcm.NonceSize()], box[gcm.NonceSize():], nil)
	if err != nil {
		return r, errSealed
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("decode the cluster key: %w: do all members run the same version of nlbd?", err)
	}
	return r, r.check()
}

var errSealed = errors.New("the cluster key is sealed for another process: it will be sent again")

func (s sealer) cipher(with, from, to []byte) (cipher.AEAD, error) {
	public, err := ecdh.X25519().NewPublicKey(with)
	if err != nil {
		return nil, fmt.Errorf("the cluster key cannot be sealed: %w: do all members run the same version of nlbd?", err)
	}
	shared, err := s.private.ECDH(public)
	if err != nil {
		return nil, fmt.Errorf("the cluster key cannot be sealed: %w", err)
	}
	key, err := hkdf.Key(sha256.New, shared, nil, "opennlb keyring "+string(from)+string(to), 32)
	if err != nil {
		return nil, fmt.Errorf("the cluster key cannot be sealed: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("the cluster key cannot be sealed: %w", err)
	}
	return cipher.NewGCM(block)
}
