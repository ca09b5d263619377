package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// section is one YAML mapping, from which values are taken by key.
type section struct {
	doc    *document
	path   string
	values map[string]ast.Node
	keys   []key // in the order of the file
}

type key struct {
	name string
	at   *token.Position
}

// child is the path of a key of this section.
func (s section) child(key string) string {
	if s.path == "" {
		return key
	}
	return s.path + "." + key
}

// read fills the section from a mapping; nothing at all counts as an empty one.
func (s *section) read(n ast.Node) {
	if _, empty := n.(*ast.NullNode); empty {
		return
	}
	m, ok := n.(*ast.MappingNode)
	if !ok {
		if s.path == "" {
			p := at(n)
			s.doc.fail(p.Line, p.Column, "the file does not start with a section", "write cluster:, member: and membership:")
			return
		}
		s.doc.report(s.path, "not a section", "write keys and values below it, indented by two spaces")
		return
	}
	s.values = make(map[string]ast.Node, len(m.Values))
	if s.doc.places == nil {
		s.doc.places = make(map[string]*token.Position)
	}
	for _, v := range m.Values {
		name, ok := scalar(v.Key)
		if !ok {
			p := at(v.Key)
			s.doc.fail(p.Line, p.Column, "the key is not plain text", "write the settings out, without ?, anchors, aliases or <<")
			continue
		}
		path := s.child(name)
		s.doc.places[path] = at(v.Key)
		if _, ok := scalar(v.Value); ok {
			s.doc.places[path] = at(v.Value)
		}
		s.values[name] = v.Value
		s.keys = append(s.keys, key{name, at(v.Key)})
	}
}

// only refuses keys other than these.
func (s section) only(known ...string) {
	for _, k := range s.keys {
		if slices.Contains(known, k.name) {
			continue
		}
		advice := "write one of " + strings.Join(known, ", ")
		if near := nearest(k.name, known); near != "" {
			advice = "write " + near
		}
		s.doc.places[s.child(k.name)] = k.at
		s.doc.report(s.child(k.name), "unknown key", advice)
	}
}

// section returns the section below a key, empty if there is none.
func (s section) section(key string) section {
	sub := section{doc: s.doc, path: s.child(key)}
	if n, ok := s.values[key]; ok {
		sub.read(n)
	}
	return sub
}

// items returns the elements of the list below a key, with the path of each.
func (s section) items(key string) (nodes []ast.Node, paths []string) {
	n, ok := s.values[key]
	if !ok {
		return nil, nil
	}
	if _, empty := n.(*ast.NullNode); empty {
		return nil, nil
	}
	list, ok := n.(*ast.SequenceNode)
	if !ok {
		s.doc.report(s.child(key), "not a list", "write [one, two] or one item a line, each after a dash")
		return nil, nil
	}
	for i, item := range list.Values {
		path := fmt.Sprintf("%s[%d]", s.child(key), i)
		s.doc.places[path] = at(item)
		paths = append(paths, path)
	}
	return list.Values, paths
}

// sections returns the list of sections below a key.
func (s section) sections(key string) []section {
	nodes, paths := s.items(key)
	subs := make([]section, len(nodes))
	for i, n := range nodes {
		subs[i] = section{doc: s.doc, path: paths[i]}
		subs[i].read(n)
		if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 {
			s.doc.places[paths[i]] = at(m.Values[0].Key)
		}
	}
	return subs
}

// take stores the value of a key in dst, which keeps its default without one.
func take[T any](s section, key string, dst *T, parse func(string) (T, *complaint)) {
	if n, ok := s.values[key]; ok {
		convert(s.doc, s.child(key), n, dst, parse)
	}
}

// takeAll stores the values of a list.
func takeAll[T any](s section, key string, dst *[]T, parse func(string) (T, *complaint)) {
	nodes, paths := s.items(key)
	for i, n := range nodes {
		var v T
		convert(s.doc, paths[i], n, &v, parse)
		*dst = append(*dst, v)
	}
}

func convert[T any](d *document, path string, n ast.Node, dst *T, parse func(string) (T, *complaint)) {
	if _, empty := n.(*ast.NullNode); empty {
		d.report(path, "no value", "write one, or remove the key to take the default")
		return
	}
	text, ok := scalar(n)
	if !ok {
		d.report(path, "not a single value", "write one value, without brackets, anchors, aliases or tags")
		return
	}
	v, wrong := parse(text)
	if wrong != nil {
		d.report(path, quote(text)+" "+wrong.what, wrong.advice)
		return
	}
	*dst = v
}

// scalar returns the text of a single value as it stands in the file: YAML's own
// ideas of numbers and truth play no part.
func scalar(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	}
	return "", false
}

// quote keeps a wrong value from flooding the message.
func quote(text string) string {
	if r := []rune(text); len(r) > 64 {
		text = string(r[:64]) + "…"
	}
	return strconv.Quote(text)
}
