package agent

import (
	"bytes"
	"encoding/base64"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/opennlb/opennlb/membership"
)

func testKey(b byte) []byte { return bytes.Repeat([]byte{b}, membership.KeySize) }

// Three steps change the key, and each is above the one before.
func TestKeyringSteps(t *testing.T) {
	old := keyring{Keys: [][]byte{testKey(1)}}
	added := old.begin([]string{"n1", "n2"}, "root")
	used := added.next()
	done := used.next()
	fresh := added.Keys[1]
	for i, want := range [][][]byte{{testKey(1)}, {testKey(1), fresh}, {fresh, testKey(1)}, {fresh}} {
		r := []keyring{old, added, used, done}[i]
		if r.Generation != uint64(i) || !reflect.DeepEqual(r.Keys, want) || r.check() != nil || r.unfinished() != (len(want) == 2) {
			t.Errorf("step %d: %+v", i, r)
		}
		if i > 0 && r.By != "root" || r.unfinished() != (len(r.Members) == 2) {
			t.Errorf("step %d: %+v", i, r)
		}
		for j, other := range []keyring{old, added, used, done} {
			if r.stamp().above(other.stamp()) != (i > j) {
				t.Errorf("step %d above %d: %t", i, j, i <= j)
			}
		}
	}
	if bytes.Equal(old.begin(nil, "").Keys[1], fresh) {
		t.Error("two new keys are the same")
	}
	a, b := old.begin(nil, "").stamp(), old.begin(nil, "").stamp()
	if a.above(b) == b.above(a) {
		t.Error("of two rotations at once, not one wins")
	}
	if strings.Contains(a.Fingerprints, string(old.Keys[0])) {
		t.Error("a fingerprint tells the key")
	}
}

// What is kept counts at the next start, unless there is another key in key_file or it is damaged.
func TestKeyringOnDisk(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, keyringFile)
	file := testKey(1)
	own := keyring{Keys: [][]byte{file}}
	if r, problem := loadKeyring(dir, file); !reflect.DeepEqual(r, own) || problem != "" {
		t.Errorf("at first: %+v, %q", r, problem)
	}
	kept := own.begin([]string{"n1"}, "root at n1").next()
	save := func() {
		t.Helper()
		if err := saveKeyring(dir, fingerprint(file), kept); err != nil {
			t.Fatal(err)
		}
	}
	save()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	for range 2 {
		if r, problem := loadKeyring(dir, file); !reflect.DeepEqual(r, kept) || problem != "" {
			t.Errorf("kept: %+v, %q", r, problem)
		}
	}
	given := keyring{Keys: [][]byte{testKey(2)}}
	if r, problem := loadKeyring(dir, testKey(2)); !reflect.DeepEqual(r, given) || !strings.Contains(problem, "replaces") {
		t.Errorf("with another key_file: %+v, %q", r, problem)
	}
	if r, problem := loadKeyring(dir, file); !reflect.DeepEqual(r, own) || problem != "" {
		t.Errorf("set aside: %+v, %q", r, problem)
	}

	save()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"empty": "", "cut": string(whole[:len(whole)/2]), "of zeros": strings.Repeat("\x00", len(whole)), "null": "null",
		"another version": strings.Replace(string(whole), `"version":1`, `"version":2`, 1),
		"one key less":    strings.Replace(string(whole), `"generation":2`, `"generation":3`, 1),
		"the same twice":  `{"version":1,"file":"x","generation":1,"keys":["` + b64(testKey(1)) + `","` + b64(testKey(1)) + `"]}`,
		"a short key":     `{"version":1,"file":"x","generation":0,"keys":["AAAA"]}`,
		"large":           `{"by":"` + strings.Repeat("x", 1<<20),
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		r, problem := loadKeyring(dir, file)
		if !reflect.DeepEqual(r, own) || !strings.Contains(problem, "damaged") || !strings.Contains(problem, "nlbctl key show") {
			t.Errorf("%s: %+v, %q", name, r, problem)
		}
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s: it is still there", name)
		}
	}
}

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// A keyring that is sealed for one process tells others nothing.
func TestSealedKeyring(t *testing.T) {
	sealers := make([]sealer, 3)
	for i := range sealers {
		var err error
		if sealers[i], err = newSealer(); err != nil {
			t.Fatal(err)
		}
	}
	from, to, other := sealers[0], sealers[1], sealers[2]
	r := keyring{Keys: [][]byte{testKey(1)}}.begin([]string{"n1"}, "root")
	box, err := from.seal(r, to.public())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := to.open(box, from.public()); err != nil || !reflect.DeepEqual(got, r) {
		t.Errorf("opened %+v, %v", got, err)
	}
	if bytes.Contains(box, r.Keys[1]) || bytes.Contains(box, []byte(b64(r.Keys[1]))) {
		t.Error("the key is legible")
	}
	for name, try := range map[string]func() (keyring, error){
		"another process":  func() (keyring, error) { return other.open(box, from.public()) },
		"another sender":   func() (keyring, error) { return to.open(box, other.public()) },
		"the sender again": func() (keyring, error) { return from.open(box, to.public()) },
		"changed": func() (keyring, error) {
			return to.open(append(bytes.Clone(box[:len(box)-1]), box[len(box)-1]^1), from.public())
		},
		"cut":           func() (keyring, error) { return to.open(box[:5], from.public()) },
		"no public key": func() (keyring, error) { return to.open(box, nil) },
		"a zero one":    func() (keyring, error) { return to.open(box, make([]byte, 32)) },
	} {
		if got, err := try(); err == nil {
			t.Errorf("%s: opened %+v", name, got)
		}
	}
	if _, err := from.seal(r, nil); err == nil {
		t.Error("sealed for nobody")
	}
}

// A step is on the disk before it counts, and one that is not above the present is none.
func TestTakeKeyring(t *testing.T) {
	dir := t.TempDir()
	k, err := newKeyholder(dir, "web", testKey(1), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	added := k.current().begin(nil, "")
	for i, row := range []struct {
		take    keyring
		changed bool
		now     uint64
	}{{added, true, 1}, {added, false, 1}, {k.current(), false, 1}, {added.next(), true, 2}, {added, false, 2}, {added.next().next(), true, 3}} {
		now, changed, err := k.take(row.take)
		if err != nil || changed != row.changed || now.Generation != row.now {
			t.Errorf("take %d: generation %d, changed %t, %v", i, now.Generation, changed, err)
		}
		if stored, err := readKeyring(filepath.Join(dir, keyringFile)); err != nil || stored.Generation != row.now {
			t.Errorf("take %d: generation %d on the disk, %v", i, stored.Generation, err)
		}
	}
	if _, _, err := k.take(keyring{Generation: 9}); err == nil {
		t.Error("takes a keyring without keys")
	}
	k.dir = filepath.Join(dir, "gone")
	next := k.current().begin(nil, "")
	if now, changed, err := k.take(next); err == nil || changed || now.Generation != 3 || k.current().Generation != 3 {
		t.Errorf("without a disk: generation %d, changed %t, %v", now.Generation, changed, err)
	}
	insecure, err := newKeyholder(dir, "web", nil, slog.New(slog.DiscardHandler))
	if err != nil || insecure.secure() || insecure.key() != nil {
		t.Errorf("insecure: %v", err)
	}
}

// FuzzSealed: whatever another member says about keys, this one neither panics nor loses
// its own.
func FuzzSealed(f *testing.F) {
	f.Add([]byte("box"), make([]byte, 32), uint64(1), "")
	f.Add(make([]byte, 60), bytes.Repeat([]byte{9}, 32), uint64(0), "x")
	k, err := newKeyholder(f.TempDir(), "web", testKey(1), slog.New(slog.DiscardHandler))
	if err != nil {
		f.Fatal(err)
	}
	l := &loop{keys: k, rotor: newRotor()}
	before := k.current().stamp()
	f.Fuzz(func(t *testing.T, sealed, public []byte, generation uint64, fingerprints string) {
		s, err := l.answerKeys(keyOffer{Stamp: stamp{generation, fingerprints}, Public: public, Sealed: sealed})
		if err == nil && len(sealed) > 0 {
			t.Errorf("took %x", sealed)
		}
		if k.current().stamp() != before || err == nil && s.Stamp != before {
			t.Errorf("the keyring is %+v", k.current().stamp())
		}
	})
}
