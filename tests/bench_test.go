package tests

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"gorm.io/gorm/logger"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/tenancy"
)

// BenchmarkPairs runs each operation by plain GORM with a tenant predicate
// written by hand and with the plugins, in turns, and reports the medians and
// their ratio: on a busy machine only the ratio means something.
func BenchmarkPairs(b *testing.B) {
	for _, op := range []struct {
		name string
		run  func(db *gorm.DB, i int) error
	}{
		{"find_by_key", func(db *gorm.DB, i int) error { return db.Take(&Author{}, 1+i%1000).Error }},
		{"find_100", func(db *gorm.DB, _ int) error { return db.Limit(100).Find(&[]Author{}).Error }},
		{"create", func(db *gorm.DB, i int) error {
			return db.Create(&Page{TenantID: "hal", Title: "t", Views: i}).Error
		}},
		{"create_100", func(db *gorm.DB, i int) error {
			pages := make([]Page, 100)
			for j := range pages {
				pages[j] = Page{TenantID: "hal", Views: i}
			}
			return db.Create(&pages).Error
		}},
		{"update", func(db *gorm.DB, i int) error {
			return db.Model(&Author{ID: int64(1 + i%1000)}).Update("name", fmt.Sprint(i)).Error
		}},
		{"update_1000", func(db *gorm.DB, i int) error {
			return db.Model(&Author{}).Where("id <= 1000").Update("name", fmt.Sprint(i)).Error
		}},
		{"join", func(db *gorm.DB, i int) error { return db.Joins("Author").Take(&Page{}).Error }},
	} {
		b.Run(op.name, func(b *testing.B) {
			handles := benchHandles(b)
			times := make([][]time.Duration, len(handles))
			for i := 0; b.Loop(); i++ {
				for h, db := range handles {
					start := time.Now()
					if err := op.run(db, i); err != nil {
						b.Fatal(err)
					}
					times[h] = append(times[h], time.Since(start))
				}
			}
			base := median(times[0])
			b.ReportMetric(float64(base.Microseconds()), "plain-µs")
			b.ReportMetric(float64(median(times[1]))/float64(base), "tenancy-ratio")
			b.ReportMetric(float64(median(times[2]))/float64(base), "both-ratio")
		})
	}
}

// BenchmarkBuild is what the tenancy plugin adds to a statement before it is
// sent: in time and allocations, over plain GORM with the predicate by hand.
// A dry run leaves out the check of the final text, which "checked" has.
func BenchmarkBuild(b *testing.B) {
	handles := benchHandles(b)[:2]
	for name, run := range map[string]func(db *gorm.DB) error{
		"find_by_key": func(db *gorm.DB) error { return db.Take(&Author{}, 1).Error },
		"find_100":    func(db *gorm.DB) error { return db.Limit(100).Find(&[]Author{}).Error },
		"create":      func(db *gorm.DB) error { return db.Create(&Page{TenantID: "hal", Title: "t"}).Error },
		"update":      func(db *gorm.DB) error { return db.Model(&Author{ID: 1}).Update("name", "n").Error },
		"join":        func(db *gorm.DB) error { return db.Joins("Author").Take(&Page{}).Error },
	} {
		b.Run(name+"/dry_run", func(b *testing.B) {
			added(b, handles, &gorm.Session{DryRun: true, SkipDefaultTransaction: true}, nil, run)
		})
		b.Run(name+"/checked", func(b *testing.B) {
			added(b, handles, &gorm.Session{SkipDefaultTransaction: true}, noServer{}, run)
		})
	}
}

func added(b *testing.B, handles []*gorm.DB, session *gorm.Session, pool gorm.ConnPool, run func(db *gorm.DB) error) {
	times, allocs := make([][]time.Duration, 2), make([]float64, 2)
	const batch = 100
	for b.Loop() {
		for h, db := range handles {
			db = db.Session(session)
			if pool != nil {
				db.Statement.ConnPool = pool
			}
			start := time.Now()
			for range batch {
				_ = run(db.Session(&gorm.Session{Logger: logger.Discard}))
			}
			times[h] = append(times[h], time.Since(start)/batch)
			if allocs[h] == 0 {
				allocs[h] = testing.AllocsPerRun(batch, func() { _ = run(db.Session(&gorm.Session{Logger: logger.Discard})) })
			}
		}
	}
	b.ReportMetric(float64((median(times[1])-median(times[0])).Nanoseconds())/1000, "added-µs")
	b.ReportMetric(allocs[1]-allocs[0], "added-allocs")
}

// noServer is a connection that answers nothing.
type noServer struct{ gorm.ConnPool }

var errNoServer = errors.New("no server")

func (noServer) ExecContext(context.Context, string, ...any) (sql.Result, error) {
	return nil, errNoServer
}

func (noServer) QueryContext(context.Context, string, ...any) (*sql.Rows, error) {
	return nil, errNoServer
}

func median(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}

// benchHandles returns three handles on one database: plain, with tenancy, with both plugins.
func benchHandles(b *testing.B) []*gorm.DB {
	db := pgtest.New(b, schema)
	authors := make([]Author, 1000)
	for i := range authors {
		authors[i] = Author{ID: int64(i + 1), TenantID: "hal", Email: fmt.Sprint(i), Name: "name"}
	}
	one := int64(1)
	for _, rows := range []any{&authors, &Page{TenantID: "hal", AuthorID: &one}} {
		if err := db.Owner.Create(rows).Error; err != nil {
			b.Fatal(err)
		}
	}
	ctx := tenancy.WithTenant(context.Background(), "hal")
	byHand := clause.Eq{Column: clause.Column{Table: clause.CurrentTable, Name: "tenant_id"}, Value: "hal"}
	plain := db.OpenApp(&gorm.Config{}).WithContext(ctx).Where(byHand).Session(&gorm.Session{})
	handles := []*gorm.DB{plain}
	for _, plugins := range [][]gorm.Plugin{
		{tenancy.New(tenancy.Config{Rules: rules})},
		{tenancy.New(tenancy.Config{Rules: rules}), audit.New(audit.Config{Rules: rules})},
	} {
		handle := db.OpenApp(&gorm.Config{})
		for _, p := range plugins {
			if err := handle.Use(p); err != nil {
				b.Fatal(err)
			}
		}
		handles = append(handles, handle.WithContext(ctx))
	}
	return handles
}
