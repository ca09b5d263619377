//go:build sim

package nlbhash

// Buckets is small under the build tag sim, so that the agreement protocol can be
// simulated many times. No program is built that way.
const Buckets = 64
