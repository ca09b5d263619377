package afpacket

import (
	"log/slog"
	"time"
)

// tellEvery is how often the log tells of losses.
const tellEvery = 10 * time.Second

// losses are frames that were not answered though nobody decided so. Clients repeat
// them.
type losses struct {
	full    int   // found no room in the ring or, large ones, in the queue
	refused int   // accepted, but not taken by the kernel
	why     error // of the last one that was refused
	told    time.Time
}

// tell logs what was lost since it was told last, now and then.
func (l *losses) tell(log *slog.Logger, now time.Time) {
	if l.full == 0 && l.refused == 0 || now.Sub(l.told) < tellEvery {
		return
	}
	log.Warn("frames were lost: this data plane is too slow for what arrives; use eBPF, or spread the load over more members",
		"ring_full", l.full, "refused_by_kernel", l.refused, "last_error", l.why)
	*l = losses{told: now}
}
