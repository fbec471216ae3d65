package suspension

import (
	"context"
	"slices"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/internal/pgtest/wire"
	"github.com/courtroll/courtroll/tenancy"
)

// pair is an app that asks, and one that does not, on one database.
type pair struct{ asking, silent *bundle }

var modes = []tenancy.Suspended{tenancy.RefuseSuspended, tenancy.ReadOnlySuspended}

// cost is an operation, and how many round trips the question adds to it on a
// connection that does not ask by itself.
type cost struct {
	name string
	more int
	do   func(db *gorm.DB) error
}

var costs = []cost{
	{"read", 1, func(db *gorm.DB) error { return db.Find(&[]Book{}).Error }},
	{"create", 1, func(db *gorm.DB) error { return db.Create(&Book{Title: "n"}).Error }},
	{"update", 1, func(db *gorm.DB) error { return db.Model(&Book{}).Where("title = ?", "a").Update("copies", 1).Error }},
	{"delete", 1, func(db *gorm.DB) error { return db.Where("title = ?", "n").Delete(&Book{}).Error }},
	{"transaction", 2, func(db *gorm.DB) error {
		return db.Transaction(func(tx *gorm.DB) error {
			if err := tx.Find(&[]Book{}).Error; err != nil {
				return err
			}
			return tx.Create(&Book{Title: "n"}).Error
		})
	}},
}

// TestRoundTrips counts them: the question adds none where the driver asks, and one for
// each statement where the plugin does.
func TestRoundTrips(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		eachForm(t, tenancy.IgnoreSuspended, func(t *testing.T, b *bundle) {
			silent, asking := counted(t, b.form, tenancy.IgnoreSuspended), counted(t, b.form, mode)
			for _, c := range costs {
				want := silent(t, c)
				if !b.form.isOurs() {
					want += c.more
				}
				if got := asking(t, c); got != want {
					t.Errorf("%s: %d round trips, want %d", c.name, got, want)
				}
			}
		})
	}
}

// counted returns what counts the round trips of an operation once its statements are prepared.
func counted(t *testing.T, f form, mode tenancy.Suspended) func(*testing.T, cost) int {
	t.Helper()
	db := pgtest.New(t, tables(f.walled))
	proxy := wire.Listen(t, db.AppDSN)
	b := f.on(t, db, mode, proxy.DSN())
	pool, err := b.app.DB()
	must(t, err)
	pool.SetMaxOpenConns(1) // one statement cache
	return func(t *testing.T, c cost) (n int) {
		t.Helper()
		for range 3 {
			proxy.Reset()
			must(t, c.do(b.app.WithContext(b.acme)))
			n = proxy.RoundTrips()
		}
		return n
	}
}

// BenchmarkAsking reports by which factor the question makes an operation slower, as the
// median of runs that take turns with those of an app that does not ask.
func BenchmarkAsking(b *testing.B) {
	for _, f := range []form{forms[0], forms[2], forms[3]} {
		b.Run(f.name, func(b *testing.B) {
			db := pgtest.New(b, tables(f.walled))
			p := pair{silent: f.on(b, db, tenancy.IgnoreSuspended, "")}
			must(b, p.silent.super.Exec(`DELETE FROM books; DELETE FROM shelves; DELETE FROM tenants`).Error)
			p.asking = f.on(b, db, tenancy.RefuseSuspended, "")
			for _, c := range costs[:3] {
				b.Run(c.name, func(b *testing.B) { p.measure(b, c) })
			}
		})
	}
}

func (p pair) measure(b *testing.B, c cost) {
	b.Helper()
	var with, without []time.Duration
	for b.Loop() {
		without = append(without, timed(b, p.silent, c))
		with = append(with, timed(b, p.asking, c))
	}
	b.ReportMetric(float64(median(with))/float64(median(without)), "×")
	b.ReportMetric(float64(median(with)-median(without))/1000, "µs-more")
}

func timed(b *testing.B, in *bundle, c cost) time.Duration {
	b.Helper()
	db := in.app.WithContext(context.WithoutCancel(in.acme))
	start := time.Now()
	err := c.do(db)
	took := time.Since(start)
	must(b, err)
	return took
}

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}
