package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/opennlb/opennlb/dataplane"
	"github.com/opennlb/opennlb/membership"
	"github.com/opennlb/opennlb/nlbhash"
)

// keyholder has the cluster key of a member, on the disk and in use. Steps of a rotation
// wait for the disk, so they are taken outside the loop. Its methods may be called by
// several goroutines.
type keyholder struct {
	dir     string
	cluster string
	file    []byte // the key in membership.key_file
	log     *slog.Logger
	sealer  sealer
	beacon  atomic.Pointer[nlbhash.Key] // of what is sent

	mu         sync.Mutex // guards what follows, and lets steps be taken one by one
	ring       keyring
	engine     dataplane.Engine       // of the present life; nil: none yet
	membership *membership.Membership // the same
}

// errInsecure says that there is no key to show or to change.
var errInsecure = errors.New("this cluster runs without a key (membership.insecure): give it one by a restart of all members")

// newKeyholder reads the keyring; a file of nil is a cluster without a key.
func newKeyholder(dir, cluster string, file []byte, log *slog.Logger) (*keyholder, error) {
	k := &keyholder{dir: dir, cluster: cluster, file: file, log: log, ring: keyring{Keys: [][]byte{nil}}}
	if file == nil {
		return k, nil
	}
	var err error
	if k.sealer, err = newSealer(); err != nil {
		return nil, fmt.Errorf("prepare for changes of the cluster key: %w", err)
	}
	var problem string
	if k.ring, problem = loadKeyring(dir, file); problem != "" {
		log.Warn(problem)
	}
	return k, nil
}

// secure reports whether there is a key at all.
func (k *keyholder) secure() bool { return k != nil && k.file != nil }

// current is the keyring in use. Its slices do not change.
func (k *keyholder) current() keyring {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.ring
}

// key is the one that is spoken, nil without any.
func (k *keyholder) key() []byte { return k.current().Keys[0] }

// beaconKey is that of beacons sent.
func (k *keyholder) beaconKey() nlbhash.Key { return deriveKey("beacon", k.cluster, k.key()) }

// guard gives the data plane the keys of beacons.
func (k *keyholder) guard(e dataplane.Engine) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.engine, k.membership = e, nil
	return k.useBeacons(k.ring.Keys)
}

// join starts membership. A member that was off while a rotation ended has the old key in
// use, which the others refuse, and the new one as well: then it uses that.
func (k *keyholder) join(start func(key, other []byte) (*membership.Membership, error)) (*membership.Membership, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	keys := k.ring.Keys
	if !k.ring.unfinished() {
		keys = [][]byte{keys[0], nil}
	}
	m, err := start(keys[0], keys[1])
	if errors.Is(err, membership.ErrWrongKey) && k.ring.unfinished() {
		k.log.Info("the others refuse the cluster key that was in use here: try the other one of the rotation that this member knows")
		m, err = start(keys[1], keys[0])
	}
	if err != nil {
		return nil, err
	}
	k.membership = m
	return m, k.useBeacons(m.Keys())
}

// take replaces the keyring by one above it: first on the disk, then in use. It returns
// the one that this member has then, and whether its keys are others than before.
func (k *keyholder) take(r keyring) (now keyring, changed bool, err error) {
	if err := r.check(); err != nil {
		return keyring{}, false, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	was := k.ring
	if !r.stamp().above(was.stamp()) {
		return was, false, nil
	}
	if err := saveKeyring(k.dir, fingerprint(k.file), r); err != nil {
		return was, false, err
	}
	k.ring = r
	changed = r.stamp().Fingerprints != was.stamp().Fingerprints
	if k.membership == nil { // it will start with these
		return r, changed, nil
	}
	return r, changed, errors.Join(k.useBeacons(r.Keys), k.membership.SetKeys(r.Keys))
}

// useBeacons sends beacons with the first of the keys, and hears those of all. Of none, in a
// cluster without a key, that is the key that follows from the cluster's name.
func (k *keyholder) useBeacons(keys [][]byte) error {
	if len(keys) == 0 {
		keys = [][]byte{nil}
	}
	derived := make([]nlbhash.Key, len(keys))
	for i, key := range keys {
		derived[i] = deriveKey("beacon", k.cluster, key)
	}
	if err := k.engine.SetBeaconKeys(derived); err != nil {
		return err
	}
	k.beacon.Store(&derived[0])
	return nil
}
