package nlbhash

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The C of the data plane, built for this machine, agrees with the Go for every
// length of affinity key and for the rounds of the reference vectors.
func TestSipHashInC(t *testing.T) {
	cc, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("needs a C compiler")
	}
	header, err := filepath.Abs("../dataplane/ebpf/bpf/siphash.h")
	if err != nil {
		t.Fatal(err)
	}

	key, msg := counting()
	var calls, want strings.Builder
	for _, length := range []int{0, 4, 6, 7, 8, 15, 16, 18, 63} {
		for _, rounds := range [][2]int{{1, 3}, {2, 4}} {
			words := words(msg[:length])
			fmt.Fprintf(&calls, "{ const __u64 w[] = {%s}; printf(\"%%llx\\n\", siphash_words(%d, %d, 0x%xULL, 0x%xULL, w, %d)); }\n",
				strings.Join(words, ", "), rounds[0], rounds[1],
				binary.LittleEndian.Uint64(key[:8]), binary.LittleEndian.Uint64(key[8:]), len(words))
			fmt.Fprintf(&want, "%x\n", SipHash(rounds[0], rounds[1], key, msg[:length]))
		}
	}
	source := fmt.Sprintf(`#include <stdio.h>
#include <linux/types.h>
#include %q
int main(void)
{
%s
	return 0;
}
`, header, calls.String())

	dir := t.TempDir()
	file, program := filepath.Join(dir, "main.c"), filepath.Join(dir, "main")
	if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(cc, "-O2", "-Wall", "-Werror", "-o", program, file).CombinedOutput(); err != nil {
		t.Fatalf("compile: %v\n%s", err, out)
	}
	got, err := exec.Command(program).Output()
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want.String() {
		t.Errorf("C and Go disagree: C\n%s\nGo\n%s", got, want.String())
	}
}

// words cuts a message into the blocks that siphash_words takes, as C literals.
func words(msg []byte) []string {
	block := make([]byte, (len(msg)/8+1)*8)
	copy(block, msg)
	block[len(block)-1] = byte(len(msg))
	var out []string
	for ; len(block) > 0; block = block[8:] {
		out = append(out, fmt.Sprintf("0x%xULL", binary.LittleEndian.Uint64(block)))
	}
	return out
}
