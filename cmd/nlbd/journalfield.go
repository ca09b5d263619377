package main

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"strings"
)

// field is one of an entry's, named as in slog.
type field struct{ name, value string }

// priority is the level as syslog(3) numbers it.
func priority(l slog.Level) string {
	switch {
	case l >= slog.LevelError:
		return "3"
	case l >= slog.LevelWarn:
		return "4"
	case l >= slog.LevelInfo:
		return "6"
	}
	return "7"
}

// appendAttr turns an attribute, which may be a group, into fields.
func appendAttr(fields []field, groups string, a slog.Attr) []field {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			groups += a.Key + "_"
		}
		for _, sub := range v.Group() {
			fields = appendAttr(fields, groups, sub)
		}
		return fields
	}
	if a.Key == "" {
		return fields
	}
	return append(fields, field{groups + a.Key, v.String()})
}

// maxFieldName is what journald takes.
const maxFieldName = 64

// fieldName makes a key one of journald's: NLB_ and capitals, digits and underscores.
func fieldName(key string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, key)
	name = "NLB_" + name
	return name[:min(len(name), maxFieldName)]
}

// appendField writes a field: on one line, or with its length where it has line breaks.
func appendField(b *bytes.Buffer, name, value string) {
	b.WriteString(name)
	if !strings.Contains(value, "\n") {
		b.WriteString("=" + value + "\n")
		return
	}
	b.WriteByte('\n')
	b.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(value))))
	b.WriteString(value + "\n")
}
