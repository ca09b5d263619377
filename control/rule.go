package control

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Actions of a RuleRequest.
const (
	Enable   = "enable"
	Disable  = "disable"
	Weight   = "weight"
	Handling = "priority"
)

// RuleRequest changes the part that members take in one rule. Neither Members nor All
// means the member asked.
type RuleRequest struct {
	Action  string   `json:"action"` // enable, disable, drain, weight or priority
	Rule    string   `json:"rule"`
	Value   uint8    `json:"value,omitempty"` // weight 0 to 100; priority 1 to 32
	Members []string `json:"members,omitempty"`
	All     bool     `json:"all,omitempty"`
}

// Check reports what is wrong with a request.
func (r *RuleRequest) Check() error {
	actions := []string{Enable, Disable, Drain, Weight, Handling}
	switch {
	case !slices.Contains(actions, r.Action):
		return Refuse("unknown action %.64q: write one of %s", r.Action, strings.Join(actions, ", "))
	case r.Rule == "" || len(r.Rule) > 64:
		return Refuse("rule name %.64q is not usable", r.Rule)
	case r.Action == Weight && r.Value > 100:
		return Refuse("weight %d is out of range: give 0 to 100", r.Value)
	case r.Action == Handling && (r.Value < 1 || r.Value > 32):
		return Refuse("priority %d is out of range: give 1 (first) to 32", r.Value)
	case r.Action != Weight && r.Action != Handling && r.Value != 0:
		return Refuse("%s takes no value", r.Action)
	}
	return (&StateRequest{Action: Start, Members: r.Members, All: r.All}).validate()
}

func (a *api) rule(w http.ResponseWriter, r *http.Request) (*change, error) {
	var req RuleRequest
	if err := decode(w, r, &req); err != nil {
		return nil, err
	}
	if err := req.Check(); err != nil {
		return nil, err
	}
	verb, targets := "rule "+req.Action, []string{req.Rule}
	if req.Action == Weight || req.Action == Handling {
		verb, targets = req.Action, append(targets, strconv.Itoa(int(req.Value)))
	}
	targets = append(targets, req.Members...)
	if req.All {
		targets = append(targets, "--all")
	}
	return &change{verb: verb, targets: targets, do: func(ctx context.Context) (any, error) {
		results, err := a.backend.SetRule(ctx, req)
		if err != nil {
			return nil, err
		}
		return append([]Result{}, results...), nil
	}}, nil
}
