package migrate

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/courtroll/courtroll/internal/pace"
)

const (
	firstBlocks   = 16
	largestBlocks = 8192 // 64 MB
	// patience is how many sweeps in a row may bring nothing forward.
	patience = 5
)

// sweep is what one way through the table, or one batch of it, met.
type sweep struct {
	nulls  int64 // rows without a tenant
	seen   int64 // of these, those that nobody had locked
	filled int64
	bad    int64 // those whose source gave no tenant
	rows   int64 // of the range, with a tenant or without
}

func (s *sweep) add(o sweep) {
	s.nulls += o.nulls
	s.seen += o.seen
	s.filled += o.filled
	s.bad += o.bad
}

// fill sweeps through the table until it meets no row without a tenant. What it
// passes over, since it was locked or moved, it meets the next time.
func (r *adoptRun) fill(ctx context.Context) error {
	batches := r.adoption.Pace.Batches(firstBlocks, largestBlocks)
	var last sweep
	stuck, late, pause := 0, 0, busyPauseMin
	for n := 0; ; n++ {
		s, err := r.sweep(ctx, batches)
		if err != nil || s.nulls == 0 {
			return err
		}
		switch {
		case s.filled == 0 && s.seen > 0 && s.seen == s.nulls:
			stuck++
		case n > 0 && s.filled > 0 && s.nulls >= last.nulls:
			late++
		default:
			stuck = 0
		}
		if err := r.stopped(s, stuck, late); err != nil {
			return err
		}
		last = s
		if s.filled > 0 && late == 0 && r.adoption.Func == nil { // a level of a table that is its own parent
			pause = busyPauseMin
			continue
		}
		if err := pace.Sleep(ctx, jitter(pause)); err != nil {
			return err
		}
		pause = min(2*pause, busyPauseMax)
	}
}

// stopped says why further sweeps would bring nothing. Rows that are locked are
// waited for.
func (r *adoptRun) stopped(s sweep, stuck, late int) error {
	switch {
	case stuck >= patience && r.source.parent != nil && s.bad > 0:
		return &AdoptError{Table: r.table.String(), Rows: s.bad, Err: ErrOrphans}
	case stuck >= patience:
		return &AdoptError{Table: r.table.String(), Rows: s.seen, Err: ErrNotFilled}
	case late >= patience:
		return &AdoptError{Table: r.table.String(), Rows: s.nulls, Err: ErrStillWritten}
	}
	return nil
}

// sweep goes through the table once. The blocks that come into being meanwhile hold
// rows with a tenant, or are the next one's.
func (r *adoptRun) sweep(ctx context.Context, batches *pace.Batches) (all sweep, err error) {
	blocks, err := r.blocks(ctx)
	if err != nil {
		return all, err
	}
	r.at("backfill", 0, blocks)
	ahead := r.adoption.Pace.Batches(firstBlocks, largestBlocks)
	for from := int64(0); from < blocks; {
		to, began := min(from+batches.Size(), blocks), time.Now()
		s, err := r.batch(ctx, from, to)
		if err != nil {
			return all, err
		}
		all.add(s)
		r.done.Filled += s.filled
		r.at("backfill", to, blocks)
		if err := r.paced(ctx, batches, s, time.Since(began)); err != nil {
			return all, err
		}
		if from = to; s.nulls > 0 {
			continue
		}
		if from, err = r.skip(ctx, from, blocks, ahead); err != nil {
			return all, err
		}
	}
	return all, nil
}

// paced rests after a batch that wrote. Ranges grow by what one would take whose rows
// are all without a tenant: behind filled blocks may lie such.
func (r *adoptRun) paced(ctx context.Context, batches *pace.Batches, s sweep, took time.Duration) error {
	if s.seen == 0 {
		return ctx.Err()
	}
	want := cmp.Or(r.adoption.Pace.BatchTime, pace.DefaultBatchTime)
	full := time.Duration(float64(took) * float64(max(s.rows, s.seen)) / float64(s.seen))
	switch {
	case took >= want:
		batches.Resize(took)
	case full < want:
		batches.Resize(full)
	}
	return batches.Rest(ctx, took)
}

// skip passes over blocks that hold no row without a tenant, which costs no more than
// reading them, and returns the first other one.
func (r *adoptRun) skip(ctx context.Context, from, blocks int64, ahead *pace.Batches) (int64, error) {
	for from < blocks {
		to, began := min(from+ahead.Size(), blocks), time.Now()
		found := int64(-1)
		err := r.transact(ctx, func(p *protectRun) error {
			return p.tx.QueryRowContext(ctx, fmt.Sprintf(`SELECT coalesce((min(ctid)::text::point)[0]::bigint, -1) FROM ONLY %s AS courtroll_row
				WHERE %s IS NULL AND %s`, r.table.sql(), ident(r.table.column), within("courtroll_row", from, to))).Scan(&found)
		})
		if err != nil || found >= 0 {
			return found, err
		}
		ahead.Resize(time.Since(began))
		r.at("backfill", to, blocks)
		from = to
	}
	return from, nil
}

func (r *adoptRun) blocks(ctx context.Context) (blocks int64, err error) {
	err = r.transact(ctx, func(p *protectRun) error {
		return p.tx.QueryRowContext(ctx, `SELECT pg_relation_size($1::bigint::oid::regclass) / current_setting('block_size')::bigint`, r.table.OID).Scan(&blocks)
	})
	return blocks, err
}

func (r *adoptRun) batch(ctx context.Context, from, to int64) (s sweep, err error) {
	if r.adoption.Func != nil {
		return r.funcBatch(ctx, from, to)
	}
	err = r.transact(ctx, func(p *protectRun) error {
		if err := r.lookAround(ctx, p); err != nil {
			return err
		}
		lock, err := r.rowLock(ctx, p)
		if err != nil {
			return err
		}
		s = sweep{}
		err = p.tx.QueryRowContext(ctx, r.fillSQL(lock, from, to)).Scan(&s.nulls, &s.rows, &s.seen, &s.filled, &s.bad)
		if err == nil && s.bad > 0 && r.source.parent == nil {
			return &AdoptError{Table: r.table.String(), Rows: s.bad, Err: ErrTenantValue}
		}
		return err
	})
	return s, err
}

// lookAround sets the search_path of SQL for the rest of the transaction.
func (r *adoptRun) lookAround(ctx context.Context, p *protectRun) error {
	if r.adoption.SQL == "" {
		return nil
	}
	_, err := p.tx.ExecContext(ctx, `SET LOCAL search_path = `+r.source.path)
	return err
}

// rowLock is the one that the update will take. The weaker one lets foreign keys
// check the row meanwhile; where the column is in a unique index the update takes the
// stronger one, and would wait for it with the batch's rows in its hands.
func (r *adoptRun) rowLock(ctx context.Context, p *protectRun) (string, error) {
	keyed, err := queryStrings(ctx, p.tx, `SELECT 'yes' FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attname = $2
		WHERE i.indrelid = $1::bigint::oid AND i.indisunique AND a.attnum = ANY (i.indkey::int2[]) LIMIT 1`, r.table.OID, r.table.column)
	if len(keyed) > 0 {
		return `UPDATE`, err
	}
	return `NO KEY UPDATE`, err
}

// within is the condition that a row lies in a range of blocks.
func within(row string, from, to int64) string {
	return fmt.Sprintf(`%s.ctid >= '(%d,0)'::tid AND %[1]s.ctid < '(%[3]d,0)'::tid`, row, from, to)
}

// fillSQL fills the rows of a range that nobody has locked, and counts all. The range
// is said twice, so that no plan ever reads more than it.
func (r *adoptRun) fillSQL(lock string, from, to int64) string {
	table, row, tenant := r.table.sql(), ident(r.table.Name), ident(r.table.column)
	return fmt.Sprintf(`WITH b AS MATERIALIZED (
	SELECT %[2]s.ctid AS at, (%[4]s)::text AS tenant FROM ONLY %[1]s AS %[2]s
	WHERE %[2]s.%[3]s IS NULL AND %[5]s FOR %[6]s OF %[2]s SKIP LOCKED
), u AS (
	UPDATE ONLY %[1]s AS courtroll_row SET %[3]s = b.tenant::%[7]s FROM b
	WHERE courtroll_row.ctid = b.at AND %[8]s AND %[9]s RETURNING courtroll_row.%[3]s IS NOT NULL AS filled
) SELECT n.nulls, n.rows, (SELECT count(*) FROM b), (SELECT count(*) FROM u WHERE filled),
	(SELECT count(*) FROM b WHERE (%[9]s) IS NOT TRUE)
	FROM (SELECT count(*) FILTER (WHERE %[3]s IS NULL) AS nulls, count(*) AS rows FROM ONLY %[1]s AS courtroll_row WHERE %[8]s) n`,
		table, row, tenant, r.value(row), within(row, from, to), lock, r.tenant.sql,
		within("courtroll_row", from, to), r.tenant.valid("b.tenant"))
}

// value is the tenant of a row in SQL.
func (r *adoptRun) value(row string) string {
	switch {
	case r.adoption.Constant != "":
		return r.literal(r.adoption.Constant)
	case r.adoption.SQL != "":
		return r.adoption.SQL
	}
	orphans := `NULL`
	if r.adoption.Orphans != "" {
		orphans = literal(r.adoption.Orphans)
	}
	return fmt.Sprintf(`SELECT CASE WHEN %s THEN %s ELSE (SELECT courtroll_parent.%s::text FROM %s AS courtroll_parent WHERE %s) END`,
		r.orphaned(row), orphans, ident(r.table.column), r.source.parent.sql(), r.matches(row))
}
