//go:build !sim

package nlbhash

// Buckets is the number of buckets a client key is hashed into. A power of two,
// so that the low bits of the hash select the bucket.
const Buckets = 4096
