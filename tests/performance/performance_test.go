// Package performance measures what the walls cost, against plain GORM, and
// writes docs/performance.md.
package performance

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/internal/pgtest/wire"
	"github.com/courtroll/courtroll/migrate"
	"github.com/courtroll/courtroll/tenancy"
)

var (
	rounds = flag.Int("rounds", 3, "how often each operation is measured in each form")
	pages  = flag.Int("pages", 1000, "how many pages each of the two tenants has")
	update = flag.Bool("update", false, "write docs/performance.md anew")
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// Page belongs to a tenant.
type Page struct {
	ID       int64
	TenantID string `gorm:"index"`
	Title    string
	Views    int
}

const tenants = 2

var rules = tenancy.Rules{Models: []any{&Page{}}}

func template(name string, protect bool) pgtest.Template {
	return pgtest.Template{Name: name, BuildFor: func(owner *gorm.DB, roles pgtest.Roles) error {
		ctx := context.Background()
		m := migrate.New(owner, migrate.Config{Rules: rules, AppRole: roles.AppRole})
		if _, err := m.Up(ctx); err != nil {
			return err
		}
		if err := owner.AutoMigrate(&Page{}); err != nil {
			return err
		}
		err := owner.Exec(`INSERT INTO pages (tenant_id, title, views)
			SELECT 't' || n % ?, 'page ' || n, n FROM generate_series(1, ?) AS n`, tenants, tenants**pages).Error
		if err != nil {
			return err
		}
		if protect {
			if _, err := m.Protect(ctx); err != nil {
				return err
			}
		}
		return owner.Exec(`ANALYZE pages`).Error
	}}
}

// form is a way to keep to one tenant's rows.
type form struct {
	name string
	db   *gorm.DB // with the context of a tenant
	hand bool     // the caller writes the predicate
}

func (f form) pages() *gorm.DB {
	if f.hand {
		return f.db.Where("tenant_id = ?", "t1")
	}
	return f.db
}

// open returns the forms, plain GORM first, each on one connection through a
// proxy that delays each direction, or without one.
func open(t *testing.T, delay time.Duration) []form {
	t.Helper()
	bare, protected := pgtest.New(t, template("bare", false)), pgtest.New(t, template("protected", true))
	connect := func(db *pgtest.DB, dialector func(string) gorm.Dialector, config *tenancy.Config) *gorm.DB {
		dsn := db.AppDSN
		if delay > 0 {
			proxy := wire.Listen(t, dsn)
			proxy.Delay(delay)
			dsn = proxy.DSN()
		}
		handle := db.Open(dialector(dsn), nil)
		pool, err := handle.DB()
		must(t, err)
		pool.SetMaxOpenConns(1)
		if config != nil {
			must(t, handle.Use(tenancy.New(*config)))
		}
		return handle.WithContext(tenancy.WithTenant(t.Context(), "t1"))
	}
	alone, walled := &tenancy.Config{Rules: rules}, &tenancy.Config{Rules: rules, RowLevelSecurity: true}
	return []form{
		{"plain GORM", connect(bare, postgres.Open, nil), true},
		{"plugin", connect(bare, postgres.Open, alone), false},
		{"plugin and policies", connect(protected, tenancy.Postgres, walled), false},
		{"a transaction for each statement", connect(protected, postgres.Open, walled), false},
	}
}

type operation struct {
	name string
	slow bool // measured less often, and not over the slow line
	do   func(f form, n int) error
}

func find(f form, limit int) error {
	var list []Page
	return f.pages().Order("id").Limit(limit).Find(&list).Error
}

var operations = []operation{
	{"read by key", false, func(f form, n int) error { var p Page; return f.pages().Take(&p, "id = ?", 2*(n%*pages)+1).Error }},
	{"read 100 rows", false, func(f form, _ int) error { return find(f, 100) }},
	{"create", false, func(f form, _ int) error { return f.db.Create(&Page{TenantID: "t1", Title: "new"}).Error }},
	{"create 100 rows", false, func(f form, _ int) error {
		list := make([]Page, 100)
		for i := range list {
			list[i] = Page{TenantID: "t1", Title: "new"}
		}
		return f.db.Create(&list).Error
	}},
	{"update by key", false, func(f form, n int) error {
		return f.pages().Model(&Page{}).Where("id = ?", 2*(n%*pages)+1).Update("views", n).Error
	}},
	{"transaction of 10 reads", false, func(f form, n int) error {
		return f.db.Transaction(func(tx *gorm.DB) error {
			for i := range 10 {
				var p Page
				if err := (form{db: tx, hand: f.hand}).pages().Take(&p, "id = ?", 2*((n+i)%*pages)+1).Error; err != nil {
					return err
				}
			}
			return nil
		})
	}},
	{"read all of a tenant", true, func(f form, _ int) error { return find(f, *pages) }},
	{"count by a scan of all", true, func(f form, _ int) error {
		var n int64
		return f.pages().Model(&Page{}).Where("views % 2 >= 0").Count(&n).Error
	}},
}

func TestPerformance(t *testing.T) { //nolint:paralleltest // nothing may run beside it
	var out bytes.Buffer
	for _, line := range []struct {
		title string
		delay time.Duration
	}{{"On the machine itself", 0}, {"Through a line of 1 ms each way", time.Millisecond}} {
		forms := open(t, line.delay)
		fmt.Fprintf(&out, "\n## %s\n\n| |", line.title)
		for _, f := range forms {
			fmt.Fprintf(&out, " %s |", f.name)
		}
		fmt.Fprint(&out, "\n|---|", strings.Repeat("---:|", len(forms)), "\n")
		for _, op := range operations {
			if op.slow && line.delay > 0 {
				continue
			}
			out.WriteString(row(op.name, measure(t, op, forms)))
		}
	}
	t.Log(out.String())
	if *update {
		_, mark, trail := cutDoc(t)
		writeDoc(t, head(t)+out.String()+mark+trail)
	}
}

const doc = "../../docs/performance.md"

// cutDoc returns the document's parts: the walls', and from trailMark on the trail's.
func cutDoc(t *testing.T) (walls, mark, trail string) {
	t.Helper()
	text, err := os.ReadFile(doc)
	must(t, err)
	walls, trail, found := strings.Cut(string(text), trailMark)
	if found {
		mark = trailMark
	}
	return walls, mark, trail
}

func writeDoc(t *testing.T, text string) {
	t.Helper()
	must(t, os.WriteFile(doc, []byte(text), 0o644))
}

// measure returns the median of each form, taken in turns so that what else the
// machine does falls on all alike.
func measure(t *testing.T, op operation, forms []form) []time.Duration {
	t.Helper()
	n := *rounds
	if op.slow {
		n = max(3, n/20)
	}
	times := make([][]time.Duration, len(forms))
	for i := range n + 2 {
		for j := range forms {
			k := (i + j) % len(forms)
			begin := time.Now()
			must(t, op.do(forms[k], i))
			if i >= 2 { // the statement is prepared by then
				times[k] = append(times[k], time.Since(begin))
			}
		}
	}
	medians := make([]time.Duration, len(forms))
	for i := range times {
		medians[i] = median(times[i])
	}
	return medians
}

func median(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}

func row(name string, medians []time.Duration) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| %s | %s |", name, medians[0].Round(medians[0]/100+1))
	for _, m := range medians[1:] {
		fmt.Fprintf(&b, " %.2f |", float64(m)/float64(medians[0]))
	}
	return b.String() + "\n"
}

func head(t *testing.T) string {
	t.Helper()
	uname, err := exec.CommandContext(t.Context(), "uname", "-sm").Output()
	must(t, err)
	var version string
	must(t, pgtest.New(t, pgtest.Template{}).Owner.Raw("SHOW server_version").Scan(&version).Error)
	return fmt.Sprintf(`# What the walls cost

Written by %s: %d cores, %s, %s, PostgreSQL %s. Two tenants have %d rows each. An operation runs %d times (what reads or scans all, a twentieth of that) in each form, in turns, on one connection. The first column is the median of plain GORM with the tenant's predicate written by hand, on tables without policies; the others are ratios of medians to it. They differ by some hundredths from run to run.

- *plugin*: the tenancy plugin, on the same tables and driver.
- *plugin and policies*: the plugin on tenancy.Postgres, on tables that migrate.Protect protects. BEGIN travels with the first statement of a transaction, so that writes take two round trips where plain GORM takes three.
- *a transaction for each statement*: the same with postgres.Open, which can bind the tenant in a transaction alone.

## Round trips

Counted on the wire, with the tenant changing on every call ([the test](../tests/walls/budget_test.go)). With the audit plugin they are the same.

| | plain GORM | plugin and policies | a transaction for each statement |
|---|---:|---:|---:|
| read | 1 | 1 | 4 |
| create, update, delete, of any number of rows | 3 | 2 | 4 |
| upsert | 3 | 2 | 4 |
| transaction of N statements | N + 2 | N + 1 | N + 3 |
`, "`make performance`", runtime.NumCPU(), strings.TrimSpace(string(uname)), runtime.Version(), version, *pages, *rounds)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
