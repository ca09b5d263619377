package control

import (
	"testing"
)

func TestEventLog(t *testing.T) {
	l := NewEventLog(3)
	events, more := l.After(0)
	if len(events) != 0 {
		t.Fatalf("got %v", events)
	}
	select {
	case <-more:
		t.Fatal("more before anything was added")
	default:
	}
	for range 5 {
		l.Add(Event{Kind: "joined"})
	}
	<-more
	for _, tt := range []struct {
		after uint64
		want  []uint64
	}{
		{0, []uint64{3, 4, 5}},
		{2, []uint64{3, 4, 5}},
		{4, []uint64{5}},
		{5, nil},
		{6, []uint64{3, 4, 5}}, // a number of an earlier run
	} {
		events, _ := l.After(tt.after)
		var got []uint64
		for _, e := range events {
			got = append(got, e.Seq)
		}
		if len(got) != len(tt.want) {
			t.Errorf("after %d: got %v, want %v", tt.after, got, tt.want)
			continue
		}
		for i := range got {
			if got[i] != tt.want[i] {
				t.Errorf("after %d: got %v, want %v", tt.after, got, tt.want)
			}
		}
	}
}
