package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"regexp"
	"strings"
)

// event is one line of `go test -json`; see `go doc test2json`.
type event struct {
	Action  string
	Package string
	Test    string
	Elapsed float64 // seconds
	Output  string
}

type testID struct{ pkg, test string }

// report counts tests and keeps the output of each until it is known whether
// anybody needs to read it.
type report struct {
	out    io.Writer
	root   bool
	output map[testID][]string

	passed, failed int
	optional       []string // skipped, and the message names the switch
	skipped        []string // skipped for any other reason
}

// optIn is what the message of a permitted skip says.
var optIn = regexp.MustCompile(`\bset NLB_[A-Z_]+=`)

// read consumes the whole stream. Lines that are not JSON, such as complaints
// of the go command, are passed on as they are.
func (r *report) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			r.line(line)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read test events: %w", err)
		}
	}
}

func (r *report) line(line []byte) {
	var e event
	if json.Unmarshal(line, &e) != nil {
		fmt.Fprintf(r.out, "%s", line)
		return
	}
	switch {
	case e.Action == "build-output":
		fmt.Fprint(r.out, e.Output)
	case e.Action == "build-fail":
		r.failed++
	case e.Test == "":
		r.ofPackage(e)
	default:
		r.ofTest(e)
	}
}

// ofPackage handles what is about a package as a whole: its output appears at
// once, because a panic or a race outside any test shows up here.
func (r *report) ofPackage(e event) {
	switch e.Action {
	case "output":
		if e.Output != "PASS\n" && !strings.HasSuffix(e.Output, "[no test files]\n") {
			fmt.Fprint(r.out, e.Output)
		}
	case "fail":
		r.failed++
		r.unfinished(e.Package)
	}
}

func (r *report) ofTest(e event) {
	id := testID{e.Package, e.Test}
	switch e.Action {
	case "output":
		r.output[id] = append(r.output[id], e.Output)
		return
	case "pass":
		r.passed++
		if !strings.Contains(e.Test, "/") {
			fmt.Fprintf(r.out, "    %s.%s (%.2fs)\n", path.Base(e.Package), e.Test, e.Elapsed)
		}
	case "fail":
		r.failed++
		r.print(id)
	case "skip":
		if strings.HasPrefix(e.Test, "Fuzz") && strings.Contains(e.Test, "/") {
			break // one input of many, sorted out by the fuzz target
		}
		r.skip(id)
	default:
		return
	}
	delete(r.output, id)
}

func (r *report) skip(id testID) {
	message := strings.Join(r.output[id], "")
	name := id.pkg + " " + id.test
	if optIn.MatchString(message) {
		r.optional = append(r.optional, name)
		return
	}
	r.skipped = append(r.skipped, name)
	r.print(id)
}

// unfinished prints what the tests said that neither passed nor failed: those
// that ran when the process died.
func (r *report) unfinished(pkg string) {
	for id := range r.output {
		if id.pkg == pkg {
			r.failed++
			r.print(id)
			delete(r.output, id)
		}
	}
}

func (r *report) print(id testID) {
	fmt.Fprint(r.out, strings.Join(r.output[id], ""))
}

// close writes the summary and says whether the run as a whole is good.
func (r *report) close() error {
	fmt.Fprintf(r.out, "\n%d passed, %d failed, %d skipped, %d not asked for\n",
		r.passed, r.failed, len(r.skipped), len(r.optional))
	for _, name := range r.optional {
		fmt.Fprintln(r.out, "  not asked for:", name)
	}
	for _, name := range r.skipped {
		fmt.Fprintln(r.out, "  skipped:", name)
	}
	switch {
	case r.failed > 0:
		return errFailed
	case r.passed == 0:
		return errNothing
	case r.root && len(r.skipped) > 0:
		return fmt.Errorf("%d tests skipped though run as root: a test that cannot run here hides regressions", len(r.skipped))
	}
	return nil
}
