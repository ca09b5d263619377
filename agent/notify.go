package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/opennlb/opennlb/config"
	"github.com/opennlb/opennlb/control"
	"github.com/opennlb/opennlb/hook"
)

// newHook makes what runs notify.command, nil where there is none. Its failures are events.
func newHook(n config.Notify, events *control.EventLog, log *slog.Logger) *hook.Hook {
	if len(n.Command) == 0 {
		return nil
	}
	return hook.New(hook.Options{Command: n.Command, Timeout: n.Timeout, Log: log, Failed: func(c hook.Call, err error) {
		var at control.Event
		_ = json.Unmarshal(c.Stdin, &at) // notify wrote it
		events.Add(control.Event{
			Time: time.Now(), Kind: "hook", Epoch: at.Epoch, Message: fmt.Sprintf("the notify command failed at event %s: %v", c.Name, err),
		})
	}})
}

// startHook lets notify.command run from now on, until end is called, which waits for it. That is
// for the time after this member has left the others: it may take seconds.
func startHook(h *hook.Hook) (end func() error) {
	if h == nil {
		return func() error { return nil }
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	return func() error {
		cancel()
		return <-done
	}
}

// notify runs notify.command for an event that it is to hear of. It never waits.
func (l *loop) notify(e control.Event) {
	kind := strings.ReplaceAll(e.Kind, " ", "_")
	if l.hook == nil || !slices.Contains(l.cfg.Notify.Events, kind) {
		return
	}
	text, err := json.Marshal(e)
	if err != nil {
		l.log.Error("write an event for the notify command", "error", err)
		return
	}
	l.hook.Push(hook.Call{Name: kind, Env: l.hookEnv(kind, e), Stdin: append(text, '\n')})
}

// hookEnv is the whole environment of notify.command, as docs/INSTALL.md has it. It has
// nothing of nlbd's own, such as systemd's sockets, but PATH.
func (l *loop) hookEnv(kind string, e control.Event) []string {
	path := os.Getenv("PATH")
	if path == "" {
		path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
	vips := make([]string, len(l.cluster.VIPs))
	for i, vip := range l.cluster.VIPs {
		vips[i] = vip.String()
	}
	env := []string{"PATH=" + path}
	for _, v := range []struct{ name, value string }{
		{"EVENT", kind},
		{"MESSAGE", e.Message},
		{"ABOUT", e.Member},
		{"CAUSE", e.Cause},
		{"BY", e.By},
		{"EPOCH", fmt.Sprint(e.Epoch)},
		{"SEQ", fmt.Sprint(e.Seq)},
		{"TIME", e.Time.Format(time.RFC3339Nano)},
		{"CLUSTER", l.cluster.Name},
		{"VIPS", strings.Join(vips, " ")},
		{"MEMBER", l.cfg.Member.Name},
		{"PRIORITY", fmt.Sprint(l.cfg.Member.Priority)},
		{"STATE", l.machine.Self().State.String()},
		{"DEFAULT_HOST", l.view.defaultHost()},
	} {
		env = append(env, "NLB_"+v.name+"="+oneLine(v.value))
	}
	return env
}

// oneLine takes control characters out of what other members may have said: a NUL would
// keep a program from starting, a line break could mislead a script.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
}
