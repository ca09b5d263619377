// Package converge is the agreement between members: who owns which bucket.
//
// It is a pure state machine. Inputs are what a member learns (who is alive,
// a message, the time); outputs are what it must do (install decision tables,
// send messages). It has no clock, goroutine or socket, and nothing depends on
// the order of a map, so that the tests can run thousands of random schedules.
//
// The members of the last committed assignment are the view. Its live member
// with the lowest priority number is the coordinator. A change of members or of
// what they say about themselves makes the coordinator propose the next epoch:
//
//	Prepare    coordinator -> members   the complete assignment
//	Prepared   member -> coordinator    promised; buckets I lose take no new flows
//	Announce   coordinator -> everyone  committed: take what you gain; repeated as heartbeat
//
// A bucket therefore has no owner for an instant, and never two.
package converge
