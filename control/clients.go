package control

import (
	"net/http"
	"net/netip"
	"strconv"
)

// MaxClients is how many clients one answer lists at most.
const MaxClients = 1000

// ClientsRequest asks for the clients of a rule that keeps them.
type ClientsRequest struct {
	Rule  string
	Limit int // 1 to MaxClients
}

func (r *ClientsRequest) validate() error {
	switch {
	case r.Rule == "" || len(r.Rule) > 63:
		return Refuse("the name of a rule is missing or unusable: see nlbctl status")
	case r.Limit < 1 || r.Limit > MaxClients:
		return Refuse("limit is not 1 to %d", MaxClients)
	}
	return nil
}

// ClientList is the clients of a rule that were heard not longer ago than it keeps them,
// as one member knows them, the latest first.
type ClientList struct {
	Rule    string       `json:"rule"`
	Member  string       `json:"member"` // the member asked
	Keep    Duration     `json:"keep"`   // how long a silent client stays
	Total   int          `json:"total"`  // Clients may be fewer: see ClientsRequest.Limit
	Clients []KeptClient `json:"clients"`
}

// KeptClient is what the rule's affinity takes for one client.
type KeptClient struct {
	Client netip.Addr `json:"client"`         // with affinity network one of its prefix
	Port   uint16     `json:"port,omitempty"` // with affinity none, and of a flow
	Member string     `json:"member"`         // who answers it; "" where the member asked does not know
	Bucket int        `json:"bucket"`
	Owner  string     `json:"owner"` // of the bucket: who answers new clients
	Silent Duration   `json:"silent"`
}

func (a *api) clients(_ http.ResponseWriter, r *http.Request) (any, error) {
	q := r.URL.Query()
	req := ClientsRequest{Rule: q.Get("rule"), Limit: MaxClients}
	if s := q.Get("limit"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			return nil, Refuse("limit is not a number")
		}
		req.Limit = n
	}
	if err := req.validate(); err != nil {
		return nil, err
	}
	list, err := a.backend.Clients(r.Context(), req)
	if err != nil {
		return nil, err
	}
	list.Clients = append([]KeptClient{}, list.Clients...)
	return list, nil
}
