package agent

import (
	"os"
	"path/filepath"
	"testing"
)

func TestEpochSurvives(t *testing.T) {
	dir := t.TempDir()
	if n, err := loadEpoch(dir); n != 0 || err != nil {
		t.Fatalf("at first: %d, %v", n, err)
	}
	for _, want := range []uint64{1, 7, 1<<64 - 1} {
		if err := saveEpoch(dir, want); err != nil {
			t.Fatal(err)
		}
		if n, err := loadEpoch(dir); n != want || err != nil {
			t.Fatalf("saved %d: %d, %v", want, n, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, epochFile), []byte("12x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := loadEpoch(dir); n != 0 || err == nil {
		t.Fatalf("damaged: %d, %v", n, err)
	}
}
