package pace_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/courtroll/courtroll/internal/pace"
)

func TestBatches_Size(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name        string
		first, most int64
		took        time.Duration
		want        int64
	}{
		{"AsLongAsItShould", 100, 1000, 100 * time.Millisecond, 100},
		{"TwiceAsLong", 100, 1000, 200 * time.Millisecond, 50},
		{"FarTooLong", 100, 1000, time.Hour, 1},
		{"AtMostTwice", 100, 1000, time.Millisecond, 200},
		{"AtMostTheLargest", 100, 150, time.Millisecond, 150},
		{"NoTimeAtAll", 100, 1000, 0, 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := pace.Pace{Rest: -1}.Batches(c.first, c.most)
			if err := b.Done(t.Context(), c.took); err != nil {
				t.Fatal(err)
			}
			if got := b.Size(); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}

func TestBatches_Rest(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		pace     pace.Pace
		min, max time.Duration
	}{
		{"AsLongAsTheBatch", pace.Pace{}, 50 * time.Millisecond, time.Minute},
		{"Given", pace.Pace{Rest: 20 * time.Millisecond}, 20 * time.Millisecond, time.Minute},
		{"None", pace.Pace{Rest: -1}, 0, 45 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			begin := time.Now()
			if err := c.pace.Batches(1, 1).Done(t.Context(), 50*time.Millisecond); err != nil {
				t.Fatal(err)
			}
			if got := time.Since(begin); got < c.min || got > c.max {
				t.Errorf("rested for %s, want %s to %s", got, c.min, c.max)
			}
		})
	}
}

func TestBatches_ContextEnds(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, rest := range []time.Duration{0, -1} {
		if err := (pace.Pace{Rest: rest}).Batches(1, 1).Done(ctx, time.Hour); !errors.Is(err, context.Canceled) {
			t.Errorf("rest %s: got %v", rest, err)
		}
	}
}
