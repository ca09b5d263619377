package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
)

// print writes v as JSON or YAML, or calls table for people.
func (c *cli) print(v any, table func(io.Writer)) error {
	switch c.format {
	case "json":
		text, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			return fmt.Errorf("write JSON: %w", err)
		}
		return c.write(append(text, '\n'))
	case "yaml":
		text, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("write YAML: %w", err)
		}
		// By way of JSON, so that the names of the fields are the same.
		if text, err = yaml.JSONToYAML(text); err != nil {
			return fmt.Errorf("write YAML: %w", err)
		}
		return c.write([]byte(printable(string(text)))) // JSON escapes these itself
	}
	var b strings.Builder
	table(&b)
	return c.write([]byte(b.String()))
}

func (c *cli) write(text []byte) error {
	if _, err := c.stdout.Write(text); err != nil {
		return fmt.Errorf("write the output: %w", err)
	}
	return nil
}

// cell is one field of a table.
type cell struct {
	text  string
	color string // escape sequence; "" for none
	right bool   // aligned to the right
}

const (
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	reset  = "\x1b[0m"

	reverse = "\x1b[7m"
)

func text(v any) cell   { return cell{text: fmt.Sprint(v)} }
func number(v any) cell { return cell{text: fmt.Sprint(v), right: true} }

// paint adds a colour where the output can show one.
func (c *cli) paint(color, s string) cell {
	if !c.terminal || c.noColor {
		color = ""
	}
	return cell{text: s, color: color}
}

func (c cell) String() string {
	if c.color == "" {
		return oneLine(c.text)
	}
	return c.color + oneLine(c.text) + reset
}

// columns writes rows with their columns aligned, two spaces apart.
func columns(w io.Writer, rows [][]cell) {
	var widths []int
	for _, row := range rows {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, c := range row {
			fill := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.text))
			if i > 0 {
				line.WriteString("  ")
			}
			if c.right {
				line.WriteString(fill + c.String())
			} else {
				line.WriteString(c.String() + fill)
			}
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}

// header makes a first row.
func header(names ...string) []cell {
	row := make([]cell, len(names))
	for i, name := range names {
		row[i] = text(name)
	}
	return row
}

// printable keeps names and messages of other machines from steering the
// terminal; line breaks stay.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return '?'
		}
		return r
	}, s)
}

// oneLine is printable for what stands in a line with other things: a line break in the
// name of a certificate must not begin another one, which the reader takes for ours.
func oneLine(s string) string { return strings.ReplaceAll(printable(s), "\n", " ") }
