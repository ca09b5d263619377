package membership

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"
)

// maxPreset is the most bytes in the name of a preset.
const maxPreset = 16

// detection is how quickly a member may declare others dead. It must be alike on all
// members: a member's lease is shorter than the earliest death that it expects of
// itself, and one impatient peer would gossip a death to all before that lease is over.
type detection struct {
	preset string // as in cluster.detection, for messages
	death  uint32 // ms; what counts, for presets may differ between versions
}

func (d detection) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, d.death)
	b = append(b, uint8(len(d.preset)))
	return append(b, d.preset...)
}

// parse decodes what append wrote, and what may follow it; b has 5 bytes at least.
func (d *detection) parse(b []byte) error {
	name, n := b[5:], int(b[4])
	if n > maxPreset || n > len(name) {
		return fmt.Errorf("metadata has a preset of %d bytes", n)
	}
	if !isPreset(string(name[:n])) {
		return fmt.Errorf("metadata has a preset %q", name[:n])
	}
	*d = detection{preset: string(name[:n]), death: binary.BigEndian.Uint32(b)}
	return nil
}

// isPreset reports whether a name is short and of letters a-z only, or empty.
func isPreset(name string) bool {
	return len(name) <= maxPreset && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz") == ""
}

func (d detection) String() string {
	return fmt.Sprintf("%s (a silent member is dead after %s)", d.preset, time.Duration(d.death)*time.Millisecond)
}

// differs is the error of two members that cannot be in one cluster, or nil. Its text
// begins with differText, by which explainJoin knows it again.
func (c claim) differs(self claim) error {
	if c.detection == self.detection {
		return nil
	}
	if c.detection.preset == self.detection.preset {
		return fmt.Errorf("%s that of %q in its figures: there %s, here %s: run one version of nlbd on all members",
			differText, c.Name, c.detection, self.detection)
	}
	return fmt.Errorf("%s that of %q: there %s, here %s: write the same word, %s or %s, on all members",
		differText, c.Name, c.detection, self.detection, c.detection.preset, self.detection.preset)
}

const differText = "cluster.detection differs from"
