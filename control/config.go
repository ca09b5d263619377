package control

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// ApplyRequest replaces the cluster's configuration.
type ApplyRequest struct {
	File    string `json:"file"`              // its name, for messages
	YAML    string `json:"yaml"`              // a configuration; of its sections only cluster counts
	Version uint64 `json:"version,omitempty"` // what it replaces; 0: whatever is in force
	DryRun  bool   `json:"dry_run,omitempty"`
	Note    string `json:"note,omitempty"` // kept with the version
}

// RollbackRequest brings back an earlier configuration, as a new version.
type RollbackRequest struct {
	Version uint64 `json:"version"`
	DryRun  bool   `json:"dry_run,omitempty"`
}

// ApplyResult is what a change of the configuration did, or would do.
type ApplyResult struct {
	Version  uint64   `json:"version"` // in force afterwards
	Was      uint64   `json:"was"`
	DryRun   bool     `json:"dry_run"`
	Done     bool     `json:"done"`
	Changes  []string `json:"changes"`
	Buckets  int      `json:"buckets"` // that change their owner
	Moves    []Move   `json:"moves"`   // the largest of these changes
	Warnings []string `json:"warnings"`
	Members  []Result `json:"members"` // who has it on its disk
}

// ConfigVersion is one version of the cluster's configuration.
type ConfigVersion struct {
	Version uint64    `json:"version"` // 0: of the member's file, not agreed on yet
	Digest  string    `json:"digest"`
	Cluster string    `json:"cluster"`
	InForce bool      `json:"in_force"`
	By      string    `json:"by"`
	At      time.Time `json:"at"`
	Note    string    `json:"note,omitempty"`
	Changes []string  `json:"changes,omitempty"` // against the version kept before it
	YAML    string    `json:"yaml,omitempty"`
}

// maxNote is the longest note, in bytes.
const maxNote = 200

func (a *api) config(_ http.ResponseWriter, r *http.Request) (any, error) {
	var version uint64
	if s := r.URL.Query().Get("version"); s != "" {
		var err error
		if version, err = strconv.ParseUint(s, 10, 63); err != nil || version == 0 {
			return nil, Refuse("version %.32q is not a number from 1", s)
		}
	}
	return a.backend.Config(r.Context(), version)
}

func (a *api) configHistory(_ http.ResponseWriter, r *http.Request) (any, error) {
	list, err := a.backend.ConfigHistory(r.Context())
	return append([]ConfigVersion{}, list...), err
}

func (a *api) apply(w http.ResponseWriter, r *http.Request) (*change, error) {
	var req ApplyRequest
	if err := decode(w, r, &req); err != nil {
		return nil, err
	}
	switch {
	case len(req.Note) > maxNote:
		return nil, Refuse("the note is longer than %d bytes", maxNote)
	case strings.ContainsFunc(req.Note, unicode.IsControl): // it stands in the first line of nlbctl config
		return nil, Refuse("the note has line breaks or other control characters: write it on one line")
	case len(req.File) > 4096:
		return nil, Refuse("the name of the file is longer than 4096 bytes")
	}
	return configChange("apply", req.DryRun, nil, func(ctx context.Context) (ApplyResult, error) {
		return a.backend.Apply(ctx, req)
	}), nil
}

func (a *api) rollback(w http.ResponseWriter, r *http.Request) (*change, error) {
	var req RollbackRequest
	if err := decode(w, r, &req); err != nil {
		return nil, err
	}
	if req.Version == 0 {
		return nil, Refuse("say which version: nlbctl config history lists them")
	}
	return configChange("config rollback", req.DryRun, []string{strconv.FormatUint(req.Version, 10)}, func(ctx context.Context) (ApplyResult, error) {
		return a.backend.Rollback(ctx, req)
	}), nil
}

// configChange tells the audit log which version followed which.
func configChange(verb string, dry bool, targets []string, do func(context.Context) (ApplyResult, error)) *change {
	if dry {
		verb += " --dry-run"
	}
	c := &change{verb: verb, targets: targets}
	c.do = func(ctx context.Context) (any, error) {
		res, err := do(ctx)
		if err == nil {
			c.old, c.new = fmt.Sprint("configuration ", res.Was), auditText(res.Changes)
			switch {
			case len(res.Changes) == 0:
				c.new = c.old
			case res.Done:
				c.new = fmt.Sprintf("configuration %d: %s", res.Version, c.new)
			}
		}
		return res.filled(), err
	}
	return c
}

// auditText tells changes within the bounds of a line of the audit log; the version that
// they made is kept in whole.
func auditText(changes []string) string {
	text := strings.Join(changes, "; ")
	if len(text) > auditLine/4 {
		return text[:auditLine/4] + "…"
	}
	return text
}

// filled makes empty lists print as [].
func (r ApplyResult) filled() ApplyResult {
	r.Changes = append([]string{}, r.Changes...)
	r.Moves = append([]Move{}, r.Moves...)
	r.Warnings = append([]string{}, r.Warnings...)
	r.Members = append([]Result{}, r.Members...)
	return r
}
