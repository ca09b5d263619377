package config

import (
	"errors"
	"fmt"
	"strings"
)

// Problem is one thing that is wrong with a configuration. It prints as one line,
//
//	file:line:column: what is wrong: what to write instead
//
// without the place if the configuration did not come from a file. What is wrong
// begins with the path of the value.
type Problem struct {
	File   string
	Line   int    // from 1; for a missing key, the line of the section that lacks it
	Column int    // from 1
	Path   string // of the value, such as cluster.rules[0].ports; "" for the whole file
	What   string // what is wrong with it
	Advice string // what to write instead
}

func (p *Problem) Error() string {
	var b strings.Builder
	if p.File != "" {
		fmt.Fprintf(&b, "%s:%d:%d: ", p.File, p.Line, p.Column)
	}
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.What)
	if p.Advice != "" {
		b.WriteString(": " + p.Advice)
	}
	return b.String()
}

// report is called for each problem; a path is named as in [Problem].
type report func(path, what, advice string)

// collect makes one error of all problems that check reports, or nil of none.
func collect(check func(report)) error {
	var problems []*Problem
	check(func(path, what, advice string) {
		problems = append(problems, &Problem{Path: path, What: what, Advice: advice})
	})
	return join(problems)
}

func join(problems []*Problem) error {
	errs := make([]error, len(problems))
	for i, p := range problems {
		errs[i] = p
	}
	return errors.Join(errs...)
}
