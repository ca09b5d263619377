package config

import (
	"fmt"
	"slices"
	"time"
)

// Bounds of Notify.
const (
	maxCommand  = 32 // words
	minNotify   = 100 * time.Millisecond
	maxNotify   = 10 * time.Minute
	plainNotify = 10 * time.Second
)

// Notify is the program that a member runs at events. The zero value runs none.
type Notify struct {
	Command []string      // the program's absolute path and its arguments
	Timeout time.Duration // then it is killed
	Events  []string      // of EventKinds; see defaultEvents
}

// defaultEvents are those with which something changed for clients.
func defaultEvents() []string {
	return []string{"join", "leave", "state", "default_host", "drained", "config", "out", "conflict", "link", "no_owner", "owner"}
}

func decodeNotify(s section) Notify {
	s.only("command", "timeout", "events")
	if len(s.keys) == 0 {
		return Notify{}
	}
	n := Notify{Timeout: plainNotify}
	takeAll(s, "command", &n.Command, anyText)
	take(s, "timeout", &n.Timeout, duration)
	takeAll(s, "events", &n.Events, word(hookable()...))
	if _, ok := s.values["events"]; !ok {
		n.Events = defaultEvents()
	}
	if len(n.Command) == 0 {
		s.doc.report(s.child("command"), "missing", "write the program and its arguments, such as [/usr/local/bin/hook, web]")
	}
	return n
}

// hookable are the events that may run the program: all but what is told of the program itself.
func hookable() []string {
	return slices.DeleteFunc(EventKinds(), func(k string) bool { return k == "hook" })
}

func (n *Notify) check(report report) {
	if len(n.Command) == 0 {
		return
	}
	absolute(report, "notify.command[0]", n.Command[0], 4096)
	if len(n.Command) > maxCommand {
		report("notify.command", fmt.Sprintf("has %d words", len(n.Command)), fmt.Sprintf("write at most %d, or a script that has the others", maxCommand))
	}
	if n.Timeout < minNotify || n.Timeout > maxNotify {
		report("notify.timeout", n.Timeout.String()+" is out of range", fmt.Sprintf("write a duration from %v to %v", minNotify, maxNotify))
	}
	for i, e := range n.Events {
		oneOf(report, fmt.Sprintf("notify.events[%d]", i), e, hookable()...)
	}
}
