package lifecycle

import (
	"cmp"
	"time"

	"gorm.io/gorm"
)

const (
	firstBatch   = 500
	largestBatch = 10_000
	childAlias   = "courtroll_child"
)

// batch changes some of the rows that query selects, and says how many.
type batch func(some *gorm.DB) *gorm.DB

// empty deletes a table's rows, those first that no other refers to.
func (r *deletion) empty(t *table) error {
	own := r.self(t)
	leaves := func() *gorm.DB {
		query := r.of(r.id).Model(t.model())
		for _, l := range own {
			query = query.Where("NOT EXISTS (?)", r.children(t, l))
		}
		return query
	}
	if err := r.batches("deleting ", t, leaves, r.rowsOf(t), r.deleteSome(t)); err != nil || len(own) == 0 {
		return err
	}
	return r.emptyCircles(t, own, leaves)
}

// emptyCircles deletes rows that refer to each other.
func (r *deletion) emptyCircles(t *table, own []link, leaves func() *gorm.DB) error {
	var n int64
	if err := r.of(r.id).Model(t.model()).Count(&n).Error; err != nil || n == 0 {
		return err
	}
	for _, l := range own {
		if l.Cut == "" {
			return r.emptyAtOnce(t, own)
		}
		if err := r.sever(l); err != nil {
			return err
		}
	}
	return r.batches("deleting ", t, leaves, r.rowsOf(t), r.deleteSome(t))
}

// emptyAtOnce leaves it to PostgreSQL, which looks at the keys when all rows are gone,
// unless one is ON DELETE RESTRICT.
func (r *deletion) emptyAtOnce(t *table, own []link) error {
	for _, l := range own {
		if l.Restrict && l.Cut == "" {
			return faultOf([]string{t.Name}, ErrCycle)
		}
	}
	result := r.of(r.id).Where("1 = 1").Delete(t.model())
	r.deleted[t.schema.Table] += result.RowsAffected
	return result.Error
}

// children selects the rows that refer to one of the table's by the key, that row not
// among them.
func (r *deletion) children(t *table, l link) *gorm.DB {
	return r.of(r.id).Model(t.model()).Table(t.sql() + " AS " + childAlias).Select("1").
		Where("(" + t.list(childAlias, l.Columns) + ") = (" + t.list("", l.References) + ")").
		Where("(" + t.list(childAlias, t.identity()) + ") <> (" + t.columns() + ")")
}

func (r *deletion) deleteSome(t *table) batch {
	return func(some *gorm.DB) *gorm.DB {
		result := r.of(r.id).Where("("+t.columns()+") IN (?)", some).Delete(t.model())
		r.deleted[t.schema.Table] += result.RowsAffected
		return result
	}
}

// sever takes a key's references away.
func (r *deletion) sever(l link) error {
	t := r.tables[newGraph(r.tables, nil).index(l.Child)]
	column := t.list("", []string{l.Cut})
	linked := func() *gorm.DB { return r.of(r.id).Model(t.model()).Where(column + " IS NOT NULL") }
	return r.batches("cutting the circles of ", t, linked, linked, func(some *gorm.DB) *gorm.DB {
		return r.of(r.id).Model(t.model()).Where("("+t.columns()+") IN (?)", some).UpdateColumn(l.Cut, nil)
	})
}

func (r *deletion) rowsOf(t *table) func() *gorm.DB {
	return func() *gorm.DB { return r.of(r.id).Model(t.model()) }
}

// movement tells whether batches get on: what all selects becomes less.
type movement struct {
	query, all func() *gorm.DB
	left, done int64
}

// stuck is told of each batch's rows. It counts once there were more than there should be.
func (m *movement) stuck(rows int64) (bool, error) {
	var n int64
	if rows == 0 {
		err := m.query().Limit(1).Count(&n).Error
		return n > 0, err
	}
	if m.done += rows; m.done <= m.left {
		return false, nil
	}
	if err := m.all().Count(&n).Error; err != nil || n >= m.left {
		return err == nil, err
	}
	m.left, m.done = n, 0
	return false, nil
}

// batches runs a batch until no row is left to select. Each is a transaction.
func (r *deletion) batches(doing string, t *table, query, all func() *gorm.DB, run batch) error {
	sizes, begun := r.Pace.Batches(firstBatch, largestBatch), time.Now()
	p := Progress{Step: doing + t.schema.Table, Total: r.counts[t.schema.Table]}
	m := movement{query: query, all: all, left: max(p.Total, firstBatch)}
	for {
		start := time.Now()
		if err := r.checkForeign(r.system(), r.crossing(t, true)); err != nil {
			return err
		}
		result := run(query().Select(t.columns()).Limit(int(sizes.Size())))
		if result.Error != nil {
			return result.Error
		}
		if stuck, err := m.stuck(result.RowsAffected); stuck || err != nil {
			return cmp.Or(err, faultOf([]string{t.Name}, ErrStuck))
		}
		if result.RowsAffected == 0 {
			return nil
		}
		p.Done, p.Elapsed = p.Done+result.RowsAffected, time.Since(begun)
		r.Deletion.Progress(p)
		if err := sizes.Done(r.ctx, time.Since(start)); err != nil {
			return err
		}
	}
}
