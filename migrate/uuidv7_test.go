package migrate_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
)

func TestUUIDv7(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.up(t)

	t.Run("has version, variant and time", func(t *testing.T) {
		t.Parallel()
		row := b.sql.QueryRowContext(t.Context(), `SELECT clock_timestamp(), courtroll_uuidv7(), clock_timestamp()`)
		var before, after time.Time
		var id uuid.UUID
		if err := row.Scan(&before, &id, &after); err != nil {
			t.Fatal(err)
		}
		if id.Version() != 7 || id.Variant() != uuid.RFC4122 {
			t.Errorf("%s: got version %d, variant %s", id, id.Version(), id.Variant())
		}
		if at := timeOf(id); at.Before(before.Add(-time.Microsecond)) || at.After(after) {
			t.Errorf("%s: got time %s, want between %s and %s", id, at, before, after)
		}
	})

	t.Run("is distinct and in order of time", func(t *testing.T) {
		t.Parallel()
		const n = 100_000
		ids := b.lines(t, `SELECT courtroll_uuidv7()::text FROM generate_series(1, $1::int)`, n)
		// Within one microsecond the order is random.
		for i := 1; i < n; i++ {
			if timeOf(uuid.MustParse(ids[i])).Before(timeOf(uuid.MustParse(ids[i-1]))) {
				t.Fatalf("%s comes after %s", ids[i], ids[i-1])
			}
		}
		slices.Sort(ids)
		if got := len(slices.Compact(ids)); got != n {
			t.Errorf("got %d distinct of %d", got, n)
		}
	})

	t.Run("sorts by time in the database across a millisecond", func(t *testing.T) {
		t.Parallel()
		b.exec(t, `CREATE TABLE ids (n int GENERATED ALWAYS AS IDENTITY, id uuid DEFAULT courtroll_uuidv7())`)
		for range 50 {
			b.exec(t, `INSERT INTO ids DEFAULT VALUES`)
		}
		if got := b.line(t, `SELECT (array_agg(n ORDER BY id) = array_agg(n ORDER BY n))::text FROM ids`); got != "true" {
			t.Error("order by id is not the order of insertion")
		}
	})

	t.Run("is volatile, parallel safe and inlined", func(t *testing.T) {
		t.Parallel()
		if got := b.line(t, `SELECT provolatile::text || proparallel::text FROM pg_proc WHERE proname = 'courtroll_uuidv7'`); got != "vs" {
			t.Errorf("got %s, want vs", got)
		}
		if got := b.lines(t, `EXPLAIN (VERBOSE, COSTS OFF) SELECT courtroll_uuidv7()`); slices.ContainsFunc(got, isCall) {
			t.Errorf("the plan has the call:\n%s", got)
		}
	})
}

func isCall(line string) bool { return slices.Contains([]string{"  Output: courtroll_uuidv7()"}, line) }

// timeOf returns the 48 bits of milliseconds with the 12 bits of their fraction.
func timeOf(id uuid.UUID) time.Time {
	var ms int64
	for _, b := range id[:6] {
		ms = ms<<8 | int64(b)
	}
	fraction := int64(id[6]&0x0f)<<8 | int64(id[7])
	return time.UnixMilli(ms).Add(time.Duration(fraction) * time.Millisecond / 4096)
}
