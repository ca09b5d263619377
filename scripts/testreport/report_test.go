package main

import (
	"bytes"
	"strings"
	"testing"
)

// say builds one event of a test called T in package p.
func say(action, text string) string {
	return `{"Action":"` + action + `","Package":"p","Test":"T","Output":"` + text + `\n"}` + "\n"
}

func TestRun(t *testing.T) {
	const pkgOK = `{"Action":"output","Package":"p","Output":"ok  \tp\t0.1s\n"}` + "\n"
	const pkgFail = `{"Action":"fail","Package":"p"}` + "\n"
	tests := map[string]struct {
		args   []string
		in     string
		failed string   // part of the error; "" when the run is good
		shows  []string // parts of the output
		hides  string   // not part of the output
	}{
		"pass hides output": {
			in:    say("output", "chatter") + say("pass", "") + pkgOK,
			shows: []string{"    p.T (", "ok  \tp\t0.1s\n", "1 passed, 0 failed"},
			hides: "chatter",
		},
		"failure shows output": {
			in:     say("output", "got 1, want 2") + say("fail", "") + pkgFail,
			failed: "tests failed",
			shows:  []string{"got 1, want 2"},
		},
		"a process that dies": {
			in:     say("run", "") + say("output", "panic: boom") + pkgFail,
			failed: "tests failed",
			shows:  []string{"panic: boom"},
		},
		"a package that does not build": {
			in:     `{"Action":"build-output","ImportPath":"p","Output":"x.go:1: no"}` + "\n" + `{"Action":"build-fail","ImportPath":"p"}` + "\n",
			failed: "tests failed",
			shows:  []string{"x.go:1: no"},
		},
		"skip as root": {
			args:   []string{"-root"},
			in:     say("output", "no bpftool") + say("skip", "") + strings.ReplaceAll(say("pass", ""), `"T"`, `"U"`),
			failed: "1 tests skipped",
			shows:  []string{"no bpftool", "skipped: p T"},
		},
		"skip as somebody else": {
			in:    say("output", "needs root") + say("skip", "") + strings.ReplaceAll(say("pass", ""), `"T"`, `"U"`),
			shows: []string{"skipped: p T"},
		},
		"skip that names its switch": {
			args:  []string{"-root"},
			in:    say("output", "set NLB_SOAK=1 to run it") + say("skip", "") + strings.ReplaceAll(say("pass", ""), `"T"`, `"U"`),
			shows: []string{"not asked for: p T"},
		},
		"input that a fuzz target sorts out": {
			args:  []string{"-root"},
			in:    strings.ReplaceAll(say("skip", ""), `"T"`, `"FuzzT/seed#0"`) + say("pass", ""),
			shows: []string{"0 skipped"},
		},
		"fuzz target skipped as a whole": {
			args:   []string{"-root"},
			in:     strings.ReplaceAll(say("skip", ""), `"T"`, `"FuzzT"`) + say("pass", ""),
			failed: "1 tests skipped",
		},
		"nothing ran": {
			in:     "go: warning: matched no packages\n",
			failed: "no test ran",
			shows:  []string{"matched no packages"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			err := run(tt.args, strings.NewReader(tt.in), &out)
			if (err != nil) != (tt.failed != "") || err != nil && !strings.Contains(err.Error(), tt.failed) {
				t.Errorf("error %v, want %q", err, tt.failed)
			}
			for _, s := range tt.shows {
				if !strings.Contains(out.String(), s) {
					t.Errorf("output lacks %q:\n%s", s, out.String())
				}
			}
			if tt.hides != "" && strings.Contains(out.String(), tt.hides) {
				t.Errorf("output has %q:\n%s", tt.hides, out.String())
			}
		})
	}
}
