package config

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestEventKinds looks for the kinds of all events in the source of those who make them.
func TestEventKinds(t *testing.T) {
	kind := regexp.MustCompile(`Event\{[^}]*Kind: +"([^"]+)"|m\.event(?:About)?\((?:i, )?"([^"]+)"`)
	found := 0
	for _, dir := range []string{"../agent", "../converge"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range kind.FindAllStringSubmatch(string(text), -1) {
				found++
				if word := strings.ReplaceAll(m[1]+m[2], " ", "_"); !slices.Contains(EventKinds(), word) {
					t.Errorf("%s makes events of kind %q, which EventKinds does not list", file, word)
				}
			}
		}
	}
	if found < 12 {
		t.Errorf("found only %d places that make events", found)
	}
}
