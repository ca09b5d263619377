package config

import (
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestNotify(t *testing.T) {
	for _, tt := range []struct {
		yaml    string
		want    Notify
		problem string
	}{
		{yaml: ""},
		{yaml: "notify:\n  command: [/bin/hook]\n", want: Notify{[]string{"/bin/hook"}, 10 * time.Second, defaultEvents()}},
		{
			yaml: "notify: {command: [/bin/hook, a b], timeout: 1m, events: [state, no_owner]}\n",
			want: Notify{[]string{"/bin/hook", "a b"}, time.Minute, []string{"state", "no_owner"}},
		},
		{yaml: "notify: {timeout: 1s}\n", problem: "notify.command: missing"},
		{yaml: "notify: {command: []}\n", problem: "notify.command: missing"},
		{yaml: "notify: {command: /bin/hook}\n", problem: "notify.command: not a list"},
		{yaml: "notify: {command: [hook]}\n", problem: `notify.command[0]: "hook" is not an absolute path`},
		{yaml: "notify: {command: [/bin/hook], timeout: 1h}\n", problem: "notify.timeout: 1h0m0s is out of range"},
		{yaml: "notify: {command: [/bin/hook], timeout: 0s}\n", problem: "notify.timeout: 0s is out of range"},
		{yaml: "notify: {command: [/bin/hook], timeout: 10}\n", problem: `notify.timeout: "10" is not a duration`},
		{yaml: "notify: {command: [/bin/hook], events: [states]}\n", problem: `notify.events[0]: "states" is not known`},
		{yaml: "notify: {command: [/bin/hook], events: [hook]}\n", problem: `notify.events[0]: "hook" is not known`},
		{yaml: "notify: {commands: [/bin/hook]}\n", problem: "notify.commands: unknown key"},
		{yaml: "notify: {command: [/bin/hook" + strings.Repeat(", a", 32) + "]}\n", problem: "notify.command: has 33 words"},
	} {
		c, err := Parse("nlb.yaml", []byte(base+tt.yaml))
		switch {
		case tt.problem != "":
			if err == nil || !strings.Contains(err.Error(), tt.problem) {
				t.Errorf("%s: got %v, want %s", tt.yaml, err, tt.problem)
			}
		case err != nil:
			t.Errorf("%s: %v", tt.yaml, err)
		case !reflect.DeepEqual(c.Notify, tt.want):
			t.Errorf("%s: got %+v, want %+v", tt.yaml, c.Notify, tt.want)
		}
	}
}

// TestNotifyReference uncomments what the reference file shows.
func TestNotifyReference(t *testing.T) {
	data, err := os.ReadFile("../deploy/nlb.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut(string(data), "# notify:\n")
	text, _, ended := strings.Cut(text, "\n\n")
	if !found || !ended {
		t.Fatal("deploy/nlb.yaml has no notify section")
	}
	c, err := Parse("nlb.yaml", []byte(base+"notify:\n"+strings.ReplaceAll(text, "#  ", "  ")))
	if err != nil {
		t.Fatal(err)
	}
	want := Notify{[]string{"/usr/local/bin/nlb-hook", "web"}, 10 * time.Second, []string{"state", "default_host"}}
	if !reflect.DeepEqual(c.Notify, want) {
		t.Errorf("got %+v", c.Notify)
	}
	flat := strings.Join(strings.Fields(strings.ReplaceAll(text, "#", "")), " ")
	if !strings.Contains(flat, "["+strings.Join(defaultEvents(), ", ")+"]") {
		t.Errorf("deploy/nlb.yaml shows other default events than %v", defaultEvents())
	}
	for _, k := range hookable() {
		if !strings.Contains(flat, k) {
			t.Errorf("deploy/nlb.yaml does not show event %s", k)
		}
	}
}
