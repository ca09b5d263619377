package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Build compiles nlbd and nlbctl of this module into dir and returns the path of
// nlbd. Run it once per test run, from inside the module.
func Build(ctx context.Context, dir string) (nlbd string, err error) {
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("find the module to build: %w", err)
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", dir+string(os.PathSeparator), "./cmd/nlbd", "./cmd/nlbctl")
	cmd.Dir = strings.TrimSpace(string(root))
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build nlbd: %w:\n%s", err, out)
	}
	return filepath.Join(dir, "nlbd"), nil
}
