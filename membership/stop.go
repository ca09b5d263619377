package membership

import (
	"errors"
	"fmt"
	"time"
)

// Leave sends what is queued, tells the others that this member goes, and
// shuts down. Each of the first two may take up to timeout; the error says if
// that was too short. Only the first call of Leave or Shutdown does anything;
// later ones wait for it and return its error.
func (m *Membership) Leave(timeout time.Duration) error {
	return m.stop(func() error {
		close(m.flush)
		sent := make(chan struct{})
		go func() {
			m.senders.Wait()
			close(sent)
		}()
		select {
		case <-sent:
		case <-time.After(timeout):
		}
		if m.usurper.Load() {
			return nil
		}
		if err := m.list.Leave(timeout); err != nil {
			return fmt.Errorf("tell the others that this member leaves (they will notice by themselves): %w", err)
		}
		return nil
	})
}

// Shutdown stops without telling anybody, as a crash would.
func (m *Membership) Shutdown() error {
	return m.stop(func() error { return nil })
}

func (m *Membership) stop(goodbye func() error) error {
	m.stopOnce.Do(func() {
		m.stopMu.Lock()
		m.stopping = true // no sender starts after this
		m.stopMu.Unlock()
		m.cancel()

		err := goodbye()
		m.roster.close()
		m.stopErr = errors.Join(err, m.list.Shutdown())
		m.senders.Wait()
		m.background.Wait()
	})
	return m.stopErr
}
