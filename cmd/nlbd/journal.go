package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// journal is a [slog.Handler] that sends each record as one entry. What With adds is in
// fields only; what a record has itself is in fields and in the message.
type journal struct {
	to     *journalConn
	level  slog.Leveler
	fields []field
	groups string // before the names of attributes, "" or ending in _
	spare  slog.Handler
}

// newJournal makes a handler for the socket at path. What it cannot send because there is
// no journal goes to spare.
func newJournal(path string, level slog.Leveler, spare slog.Handler) (*journal, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open a socket for the journal: %w", err)
	}
	wait := unix.NsecToTimeval(patience.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &wait); err != nil {
		return nil, errors.Join(fmt.Errorf("set up the socket for the journal: %w", err), unix.Close(fd))
	}
	return &journal{to: &journalConn{fd: fd, to: unix.SockaddrUnix{Name: path}}, level: level, spare: spare}, nil
}

// quoted is a value as it stands in a message. One control character, in the name of a
// certificate for one, and journalctl shows "[82B blob data]" instead of the message.
func quoted(value string) string {
	if q := strconv.Quote(value); value == "" || strings.ContainsAny(value, " =") || q[1:len(q)-1] != value {
		return q
	}
	return value
}

// Enabled implements slog.Handler.
func (j *journal) Enabled(_ context.Context, l slog.Level) bool { return l >= j.level.Level() }

// WithAttrs implements slog.Handler.
func (j *journal) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *j
	with.fields = append([]field{}, j.fields...)
	for _, a := range attrs {
		with.fields = appendAttr(with.fields, j.groups, a)
	}
	with.spare = j.spare.WithAttrs(attrs)
	return &with
}

// WithGroup implements slog.Handler.
func (j *journal) WithGroup(name string) slog.Handler {
	with := *j
	if name != "" {
		with.groups += name + "_"
	}
	with.spare = j.spare.WithGroup(name)
	return &with
}

// Handle implements slog.Handler. It hardly waits for journald: the loop logs.
func (j *journal) Handle(ctx context.Context, r slog.Record) error {
	var own []field
	r.Attrs(func(a slog.Attr) bool {
		own = appendAttr(own, j.groups, a)
		return true
	})
	message := r.Message
	for _, f := range own {
		message += " " + f.name + "=" + quoted(f.value)
	}
	lost := j.to.lost.Swap(0)
	if lost > 0 {
		message += fmt.Sprintf(" (%d lines before this one were lost: journald is too slow)", lost)
	}
	var b bytes.Buffer
	appendField(&b, "MESSAGE", message)
	appendField(&b, "PRIORITY", priority(r.Level))
	appendField(&b, "SYSLOG_IDENTIFIER", "nlbd")
	for _, f := range append(j.fields[:len(j.fields):len(j.fields)], own...) {
		appendField(&b, fieldName(f.name), f.value)
	}
	switch err := j.to.send(b.Bytes()); {
	case err == nil:
		return nil
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOBUFS):
		j.to.lost.Add(lost + 1)
		return nil
	}
	return j.spare.Handle(ctx, r)
}
