package control

import (
	"math"
	"sync"
	"time"
)

// rate is how many requests a caller may make: so many a second, and burst at once.
type rate struct{ perSecond, burst float64 }

// maxCallers bounds the memory of limits; who asked nothing for longest is forgotten.
const maxCallers = 256

// limits counts requests by caller (the token bucket of ITU-T I.371, annex A).
type limits struct {
	rate
	mu      sync.Mutex
	callers map[string]*allowance
}

type allowance struct {
	left float64
	at   time.Time
}

func newLimits(r rate) *limits { return &limits{rate: r, callers: make(map[string]*allowance)} }

// allow reports whether a caller may make one more request now.
func (l *limits) allow(caller string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	a, ok := l.callers[caller]
	if !ok {
		if len(l.callers) >= maxCallers {
			l.forget()
		}
		a = &allowance{l.burst, now}
		l.callers[caller] = a
	}
	a.left = math.Min(l.burst, a.left+now.Sub(a.at).Seconds()*l.perSecond)
	a.at = now
	if a.left < 1 {
		return false
	}
	a.left--
	return true
}

// forget drops the caller who asked nothing for longest. Callers hold mu.
func (l *limits) forget() {
	var oldest string
	var at time.Time
	for caller, a := range l.callers {
		if at.IsZero() || a.at.Before(at) {
			oldest, at = caller, a.at
		}
	}
	delete(l.callers, oldest)
}
