package control

import (
	"strings"
	"testing"
	"time"
)

// The key is shown at the member only, changed by administrators only, and all of that is
// on record, without the key.
func TestKeyIsShownLocally(t *testing.T) {
	s := newSite(t, []string{"alice"}, []string{"monitor"})
	ctx := t.Context()
	alice := s.client(s.ca, "alice", time.Now())
	if res, err := alice.RotateKey(ctx, KeyRequest{Force: true}); err != nil || res.New != "4ew" {
		t.Errorf("alice rotates: %+v, %v", res, err)
	}
	_, err := alice.ShowKey(ctx)
	s.expectError(err, "shown on the member only")
	monitor := s.client(s.ca, "monitor", time.Now())
	if got, err := monitor.KeyStatus(ctx); err != nil || got.Fingerprint != "4ew" || got.Members == nil {
		t.Errorf("monitor: %+v, %v", got, err)
	}
	_, err = monitor.RotateKey(ctx, KeyRequest{})
	s.expectError(err, "monitor")
	_, err = monitor.ShowKey(ctx)
	s.expectError(err, "monitor")
	if len(s.fake.rotates) != 1 || !s.fake.rotates[0].Force {
		t.Errorf("asked %+v", s.fake.rotates)
	}
	var got []string
	for _, e := range last(t, s.audit, 10) {
		got = append(got, e.Who+" "+e.Verb+" "+e.Result+" "+e.Old+" "+e.New)
	}
	want := "alice key rotate --force done cluster key 0ld cluster key 4ew, alice key show refused  , monitor key rotate refused  , monitor key show refused  "
	if text := strings.Join(got, ", "); text != want {
		t.Errorf("on record:\n%s\nwant\n%s", text, want)
	}

	local, _ := start(t, s.fake)
	if k, err := local.ShowKey(ctx); err != nil || k.Key != "c2VjcmV0" {
		t.Errorf("at the socket: %+v, %v", k, err)
	}
}
