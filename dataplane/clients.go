package dataplane

import "github.com/opennlb/opennlb/portrules"

// Client is a client that an engine remembers, see portrules.Clients.
type Client struct {
	Key portrules.ClientKey
	portrules.Client
}

// Clients is what an engine remembers of the clients of rules that keep them. Its
// methods may be called from any goroutine; frames go on being judged meanwhile.
type Clients interface {
	// Client looks one up.
	Client(portrules.ClientKey) (c portrules.Client, known bool, err error)
	// Clients lists them, in no order. None is told to be silent for longer than it is
	// when Clients returns: a member that lists a client too few ends up sharing it.
	Clients() ([]Client, error)
	// Learn enters clients that other members serve, except those that are known.
	Learn([]Client) error
	// Forget removes clients.
	Forget([]portrules.ClientKey) error
	// ForgetClients removes all.
	ForgetClients() error
}
