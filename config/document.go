package config

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// The YAML parser's time grows with the square of the nesting, so both ways to
// nest deeply are bounded before it runs, and with the square of some lists. The
// configuration needs a depth of 4, and some 12,000 tokens with all rules that there may be.
const (
	maxLine   = 4096 // bytes
	maxDepth  = 16   // brackets and braces
	maxTokens = 32768
)

// byteOrderMark is how editors on Windows begin a file in UTF-8; YAML takes it (1.2, section 5.2).
const byteOrderMark = "\ufeff"

// document is one YAML file: where each of its values stands, and what is wrong
// with it so far.
type document struct {
	file     string
	places   map[string]*token.Position // by path
	reported map[string]bool            // by path
	problems []*Problem
}

// report notes a problem with the value at path, unless one is known already of
// it or of the section around it. A value that is missing is placed at the section that lacks it.
func (d *document) report(path, what, advice string) {
	for p := path; p != ""; p = parent(p) {
		if d.reported[p] {
			return
		}
	}
	if d.reported == nil {
		d.reported = make(map[string]bool)
	}
	d.reported[path] = true
	p := &Problem{File: d.file, Line: 1, Column: 1, Path: path, What: what, Advice: advice}
	if at := d.place(path); at != nil {
		p.Line, p.Column = at.Line, at.Column
	}
	d.problems = append(d.problems, p)
}

// place finds the value at path or the innermost section around it, or nil.
func (d *document) place(path string) *token.Position {
	for path != "" {
		if at := d.places[path]; at != nil {
			return at
		}
		path = parent(path)
	}
	return nil
}

// parent is the path of the section or list around a value, "" for the outermost.
func parent(path string) string {
	return path[:max(0, strings.LastIndexAny(path, ".["))]
}

// fail notes a problem that belongs to a place and not to a path.
func (d *document) fail(line, column int, what, advice string) {
	d.problems = append(d.problems, &Problem{File: d.file, Line: line, Column: column, What: what, Advice: advice})
}

// parse reads the syntax and returns the outermost section.
func (d *document) parse(data []byte) section {
	root := section{doc: d}
	data = bytes.TrimPrefix(data, []byte(byteOrderMark))
	if len(data) > MaxSize {
		d.fail(1, 1, "the file is larger than 1 MiB", "remove what is not configuration")
		return root
	}
	for i, line := range bytes.Split(data, []byte{'\n'}) {
		if len(line) > maxLine {
			d.fail(i+1, maxLine+1, fmt.Sprintf("the line is longer than %d bytes", maxLine), "write lists with one item a line")
			return root
		}
		if !utf8.Valid(line) {
			d.fail(i+1, 1, "the line is not UTF-8 text", "save the file as UTF-8")
			return root
		}
	}
	tokens := lexer.Tokenize(string(data))
	if at := tooDeep(tokens); at != nil {
		d.fail(at.Line, at.Column, fmt.Sprintf("brackets are nested more than %d deep", maxDepth), "write lists with one item a line")
		return root
	}
	if at := secondDocument(tokens); at != nil {
		d.fail(at.Line, at.Column, "a second document starts here", "keep one configuration per file and remove this line")
		return root
	}
	if at := tooMany(tokens); at != nil {
		d.fail(at.Line, at.Column, fmt.Sprintf("the file has more than %d words and signs before this one", maxTokens), "remove what is not configuration")
		return root
	}
	file, err := parser.Parse(tokens, 0)
	if err != nil {
		d.syntax(err)
		return root
	}
	if len(file.Docs) == 0 || file.Docs[0].Body == nil {
		d.fail(1, 1, "the file is empty", "write at least the sections cluster, member and membership")
		return root
	}
	root.read(file.Docs[0].Body)
	return root
}

// tooDeep returns the place of the first bracket nested too deeply, or nil.
func tooDeep(tokens token.Tokens) *token.Position {
	depth := 0
	for _, t := range tokens {
		switch t.Type {
		case token.MappingStartType, token.SequenceStartType:
			depth++
		case token.MappingEndType, token.SequenceEndType:
			depth--
		}
		if depth > maxDepth {
			return t.Position
		}
	}
	return nil
}

// tooMany returns the place of the first token too many, or nil. Comments are none.
func tooMany(tokens token.Tokens) *token.Position {
	n := 0
	for _, t := range tokens {
		if t.Type == token.CommentType {
			continue
		}
		if n++; n > maxTokens {
			return t.Position
		}
	}
	return nil
}

// secondDocument returns the place of a line --- that is not the first thing in
// the file, or of a line that ends a document, or nil.
func secondDocument(tokens token.Tokens) *token.Position {
	begun := false
	for _, t := range tokens {
		switch t.Type {
		case token.CommentType:
		case token.DocumentHeaderType, token.DocumentEndType:
			if begun {
				return t.Position
			}
			begun = true
		default:
			begun = true
		}
	}
	return nil
}

// syntax notes what the YAML parser refused. Its own text for the error quotes
// the file at length; only the message and the place are used.
func (d *document) syntax(err error) {
	line, column, what := 1, 1, "the file is not YAML"
	var located yaml.Error
	if errors.As(err, &located) {
		what, _, _ = strings.Cut(located.GetMessage(), "\n")
		if t := located.GetToken(); t != nil && t.Position != nil {
			line, column = t.Position.Line, t.Position.Column
		}
	}
	advice := "correct the YAML"
	switch {
	case strings.Contains(what, "already defined"):
		advice = "remove one of the two"
	case strings.Contains(what, `character '	'`):
		what, advice = "the line is indented with a tab", "indent with spaces"
	}
	d.fail(max(line, 1), max(column, 1), what, advice)
}

// at returns where a node stands.
func at(n ast.Node) *token.Position {
	if t := n.GetToken(); t != nil && t.Position != nil {
		return t.Position
	}
	return &token.Position{Line: 1, Column: 1}
}
