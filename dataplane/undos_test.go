package dataplane

import (
	"errors"
	"slices"
	"testing"
)

// What remains after Leave is what outlives the process; one failure keeps no other
// release from running.
func TestUndos(t *testing.T) {
	var ran []string
	step := func(name string, err error) func() error {
		return func() error {
			ran = append(ran, name)
			return err
		}
	}
	fill := func() (u Undos) {
		ran = nil
		u.OnClose(step("lock", nil))
		u.OnRemove(step("pins", errors.New("busy")))
		u.OnClose(step("map", nil))
		return u
	}
	u := fill()
	if err := u.Release(); err == nil || !slices.Equal(ran, []string{"map", "pins", "lock"}) {
		t.Errorf("released %v, %v", ran, err)
	}
	if err := u.Release(); err != nil || len(ran) != 3 {
		t.Errorf("released twice: %v, %v", ran, err)
	}
	u = fill()
	if err := u.Leave(); err != nil || !slices.Equal(ran, []string{"map", "lock"}) {
		t.Errorf("left with %v, %v", ran, err)
	}
}
