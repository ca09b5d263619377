// Package nlbhash maps clients to buckets, with a keyed hash, and buckets to
// members, with tables that follow the weights exactly and move as little as
// possible when these change. It is pure: no clock, no randomness.
package nlbhash

// MaxPriority is the highest host priority; priorities run from 1 to MaxPriority.
const MaxPriority = 32

// Table gives each bucket its owner, a host priority from 1 to MaxPriority;
// 0 means that no member owns the bucket.
type Table [Buckets]uint8

// Targets holds the weight of each host, indexed by host priority; index 0 is
// unused. A weight of zero takes no buckets.
type Targets [MaxPriority + 1]uint32
