package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/opennlb/opennlb/config"
)

// verdict is what validate says of a file.
type verdict struct {
	File     string    `json:"file"`
	Valid    bool      `json:"valid"`
	Problems []problem `json:"problems"`
}

type problem struct {
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Path    string `json:"path,omitempty"`
	Message string `json:"message"` // the whole line
	Advice  string `json:"advice,omitempty"`
}

func (c *cli) validate() *cobra.Command {
	return &cobra.Command{
		Use:   "validate FILE",
		Short: "Check a configuration file",
		Args:  exactly("FILE"),

		ValidArgsFunction: cobra.FixedCompletions([]string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt),
		RunE: func(_ *cobra.Command, args []string) error {
			_, err := config.Load(args[0])
			if err != nil && c.format == "table" {
				fmt.Fprintln(c.stderr, printable(err.Error())) // file:line first, for editors
				return errReported
			}
			v := verdict{File: args[0], Valid: err == nil, Problems: problems(err)}
			if err := c.print(v, func(w io.Writer) { fmt.Fprintf(w, "%s is valid.\n", args[0]) }); err != nil {
				return err
			}
			if !v.Valid {
				return errReported
			}
			return nil
		},
	}
}

// problems takes an error of config.Load apart.
func problems(err error) []problem {
	list := []problem{}
	if err == nil {
		return list
	}
	errs := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		errs = joined.Unwrap()
	}
	for _, err := range errs {
		entry := problem{Message: err.Error()}
		var p *config.Problem
		if errors.As(err, &p) {
			entry.Line, entry.Column, entry.Path, entry.Advice = p.Line, p.Column, p.Path, p.Advice
		}
		list = append(list, entry)
	}
	return list
}
