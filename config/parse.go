package config

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// MaxSize is the largest configuration, in bytes, that Parse accepts.
const MaxSize = 1 << 20

// Load reads and parses the configuration file at path.
func Load(path string) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	return Parse(path, data)
}

// Parse turns YAML into a validated configuration with all defaults filled in.
// The file name serves for messages only. The error joins a *Problem for
// everything that is wrong, in the order of the file.
func Parse(file string, data []byte) (*Config, error) {
	doc := &document{file: file}
	root := doc.parse(data)
	if len(doc.problems) > 0 {
		return nil, join(doc.problems)
	}
	c := decode(root)
	check(doc, c.check)
	if len(doc.problems) > 0 {
		return nil, join(doc.problems)
	}
	return c, nil
}

// check adds to a document what is wrong with the values decoded from it, and sorts all
// that is wrong by place.
func check(doc *document, check func(report)) {
	incomplete := len(doc.problems) > 0
	check(func(path, what, advice string) {
		if incomplete && strings.Contains(path, "rules") {
			return // may follow from what decode could not read
		}
		doc.report(path, what, advice)
	})
	slices.SortStableFunc(doc.problems, func(a, b *Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}
