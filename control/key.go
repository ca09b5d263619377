package control

import (
	"context"
	"net/http"
)

// KeyRequest asks for another cluster key. Force does without members that are down, and
// goes on with a change that waits for some.
type KeyRequest struct {
	Force bool `json:"force,omitempty"`
}

// KeyResult has the fingerprints of the key before and after.
type KeyResult struct {
	Old string `json:"old"`
	New string `json:"new"`
}

// KeyStatus tells which cluster key is in force, without telling the key.
type KeyStatus struct {
	Generation    uint64      `json:"generation"` // three more with each change of the key
	Fingerprint   string      `json:"fingerprint"`
	FileIsCurrent bool        `json:"file_is_current"` // membership.key_file of the member asked has that key
	UnderWay      bool        `json:"under_way"`       // a change of the key is not finished
	Waits         string      `json:"waits,omitempty"` // for what, if that is known
	By            string      `json:"by,omitempty"`    // who asked for the last change
	Members       []KeyMember `json:"members"`         // those that are alive
}

// KeyMember is how one member stands.
type KeyMember struct {
	Member     string   `json:"member"`
	Generation uint64   `json:"generation"`
	Keys       []string `json:"keys"` // fingerprints; the first is spoken, all are understood
	Error      string   `json:"error,omitempty"`
}

// KeyShown is the cluster key as membership.key_file of a new member holds it.
type KeyShown struct {
	Key         string `json:"key"`
	Fingerprint string `json:"fingerprint"`
	UnderWay    bool   `json:"under_way"` // it is about to be replaced
}

func (a *api) keyStatus(_ http.ResponseWriter, r *http.Request) (any, error) {
	s, err := a.backend.KeyStatus(r.Context())
	s.Members = append([]KeyMember{}, s.Members...)
	return s, err
}

func (a *api) rotateKey(w http.ResponseWriter, r *http.Request) (*change, error) {
	var req KeyRequest
	if err := decode(w, r, &req); err != nil {
		return nil, err
	}
	c := &change{verb: "key rotate"}
	if req.Force {
		c.verb += " --force"
	}
	c.do = func(ctx context.Context) (any, error) {
		res, err := a.backend.RotateKey(ctx, req)
		if err == nil {
			c.old, c.new = "cluster key "+res.Old, "cluster key "+res.New
		}
		return res, err
	}
	return c, nil
}

// showKey tells a secret: that is on record like a change, and not for the network.
func (a *api) showKey(w http.ResponseWriter, r *http.Request) (*change, error) {
	var req struct{}
	if err := decode(w, r, &req); err != nil {
		return nil, err
	}
	return &change{verb: "key show", do: func(ctx context.Context) (any, error) {
		if CallerOf(ctx).Remote.IsValid() {
			return nil, &Error{http.StatusForbidden, "the cluster key is shown on the member only: run nlbctl key show there"}
		}
		return a.backend.ShowKey(ctx)
	}}, nil
}
