package tests

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/tenancy"
)

// reports are those of one context.
type reports struct {
	mu  sync.Mutex
	all []tenancy.ShadowReport
}

type reportsKey struct{}

func shadow(ctx context.Context, r tenancy.ShadowReport) {
	found, _ := ctx.Value(reportsKey{}).(*reports)
	if found == nil {
		return
	}
	found.mu.Lock()
	defer found.mu.Unlock()
	found.all = append(found.all, r)
}

func (r *reports) String() string {
	var out []string
	for _, report := range r.all {
		out = append(out, fmt.Sprintf("%s %s %d", report.Kind, report.Operation, report.Hidden))
	}
	return strings.Join(out, ", ")
}

// shadowBundle reaches one database in three ways.
type shadowBundle struct {
	*pgtest.DB
	plain, shadow, strict, super *gorm.DB
}

func setupShadow(t *testing.T, cfg *gorm.Config) *shadowBundle {
	t.Helper()
	db := pgtest.New(t, schema)
	b := &shadowBundle{
		DB: db, plain: db.OpenApp(cfg), shadow: db.OpenApp(cfg), strict: db.OpenApp(cfg),
		super: db.Open(postgres.Open(db.SuperDSN), &gorm.Config{}),
	}
	use(t, b.shadow, tenancy.New(tenancy.Config{Rules: rules, Shadow: shadow}))
	use(t, b.strict, tenancy.New(tenancy.Config{Rules: rules}))
	must(t, db.Owner.Exec(`
		INSERT INTO authors (id, tenant_id, email, name) VALUES (1, 'acme', 'ann@acme.test', 'ann'), (2, 'hal', 'dave@hal.test', 'dave');
		INSERT INTO pages (id, tenant_id, title, views, author_id, api_token) VALUES
			(1, 'acme', 'a1', 5, 1, ''), (2, 'hal', 'h1', 1, 2, ''), (3, 'acme', 'a2', 7, 2, ''), (4, 'hal', 'h2', 9, 1, ''), (5, 'hal', 'h3', 3, NULL, '');
		INSERT INTO revisions (tenant_id, page_id, number, text) VALUES ('acme', 1, 1, 'x'), ('hal', 2, 1, 'y'), ('acme', 2, 2, 'z');
		INSERT INTO countries (code, name) VALUES ('no', 'Norway');
		SELECT setval('pages_id_seq', 100)`).Error)
	return b
}

// watched returns a handle of the context whose reports are kept.
func watched(ctx context.Context, db *gorm.DB) (*gorm.DB, *reports) {
	r := &reports{}
	return db.WithContext(context.WithValue(ctx, reportsKey{}, r)), r
}

// shadowRead is a read of one statement, whose result is lines.
type shadowRead struct {
	name string
	run  func(db *gorm.DB) ([]string, error)
}

func asLines[T any](rows []T, err error) ([]string, error) {
	var out []string
	for _, row := range rows {
		text, _ := json.Marshal(row)
		out = append(out, string(text))
	}
	return out, err
}

// findPages keeps the slice that Find filled.
func findPages(query func(db *gorm.DB) *gorm.DB) func(db *gorm.DB) ([]string, error) {
	return func(db *gorm.DB) ([]string, error) {
		var found []Page
		err := query(db).Find(&found).Error
		return asLines(found, err)
	}
}

func one[T any](name string, query func(db *gorm.DB, dest *T) error) shadowRead {
	return shadowRead{name, func(db *gorm.DB) ([]string, error) {
		var row T
		err := query(db, &row)
		if errors.Is(err, gorm.ErrRecordNotFound) {
			return nil, nil
		}
		return asLines([]T{row}, err)
	}}
}

func many[T any](name string, query func(db *gorm.DB, dest *[]T) error) shadowRead {
	return shadowRead{name, func(db *gorm.DB) ([]string, error) {
		var rows []T
		err := query(db, &rows)
		return asLines(rows, err)
	}}
}

func found(name string, query func(db *gorm.DB) *gorm.DB) shadowRead {
	return shadowRead{name, findPages(query)}
}

var shadowReads = []shadowRead{
	found("find", func(db *gorm.DB) *gorm.DB { return db }),
	found("own rows alone", func(db *gorm.DB) *gorm.DB { return db.Where("title LIKE ?", "h%") }),
	found("or", func(db *gorm.DB) *gorm.DB { return db.Where("views = ?", 5).Or("views > ?", 6) }),
	found("comment", func(db *gorm.DB) *gorm.DB { return db.Where("views > 0 -- all") }),
	found("numbered by hand", func(db *gorm.DB) *gorm.DB { return db.Where("views > $1 AND views < $2 AND views > $1", 1, 9) }),
	found("limit, ordered", func(db *gorm.DB) *gorm.DB { return db.Order("id").Limit(2) }),
	found("limit, ordered, own first", func(db *gorm.DB) *gorm.DB { return db.Order("tenant_id DESC, id").Limit(2) }),
	found("offset", func(db *gorm.DB) *gorm.DB { return db.Order("views").Limit(2).Offset(1) }),
	found("limit that cuts nothing", func(db *gorm.DB) *gorm.DB { return db.Where("views = ?", 7).Limit(3) }),
	found("joins", func(db *gorm.DB) *gorm.DB { return db.Joins("Author") }),
	found("joins, own pages", func(db *gorm.DB) *gorm.DB { return db.Joins("Author").Where("pages.id IN ?", []int{2, 5}) }),
	found("inner joins", func(db *gorm.DB) *gorm.DB { return db.InnerJoins("Author") }),
	found("inner joins, numbered", func(db *gorm.DB) *gorm.DB { return db.InnerJoins("Author").Where("views > ?", 1) }),
	found("sub-query", func(db *gorm.DB) *gorm.DB {
		return db.Where("author_id IN (?)", db.Model(&Author{}).Select("id").Where("name <> ?", "x")).Where("views > ?", 1)
	}),
	found("sub-query of generics", func(db *gorm.DB) *gorm.DB {
		return db.Where("author_id IN (?)", gorm.G[Author](db).Select("id").Where("name <> ?", "x")).Where("views > ?", 1)
	}),
	found("sub-query as table", func(db *gorm.DB) *gorm.DB {
		return db.Table("(?) AS pages", db.Model(&Page{}).Where("views > ?", 1)).Where("views < ?", 9)
	}),
	found("locking", func(db *gorm.DB) *gorm.DB { return db.Clauses(clause.Locking{Strength: "UPDATE"}).Order("id").Limit(1) }),
	found("unscoped", func(db *gorm.DB) *gorm.DB { return db.Unscoped() }),
	found("table alias", func(db *gorm.DB) *gorm.DB { return db.Table("pages AS p") }),
	one("first", func(db *gorm.DB, p *Page) error { return db.First(p).Error }),
	one("first, by key", func(db *gorm.DB, p *Page) error { return db.First(p, 3).Error }),
	one("first, own", func(db *gorm.DB, p *Page) error { return db.First(p, 2).Error }),
	one("take, by key", func(db *gorm.DB, p *Page) error { return db.Take(p, 3).Error }),
	one("last", func(db *gorm.DB, p *Page) error { return db.Last(p).Error }),
	one("count", func(db *gorm.DB, n *int64) error { return db.Model(&Page{}).Count(n).Error }),
	one("count, own", func(db *gorm.DB, n *int64) error { return db.Model(&Page{}).Where("title LIKE 'h%'").Count(n).Error }),
	one("sum", func(db *gorm.DB, n *int64) error { return db.Model(&Page{}).Select("sum(views)").Scan(n).Error }),
	one("row", func(db *gorm.DB, n *int64) error { return db.Model(&Page{}).Select("max(id)").Row().Scan(n) }),
	one("generics first", func(db *gorm.DB, p *Page) (err error) {
		*p, err = gorm.G[Page](db).First(db.Statement.Context)
		return err
	}),
	many("generics find", func(db *gorm.DB, p *[]Page) (err error) {
		*p, err = gorm.G[Page](db).Where("views > ?", 1).Find(db.Statement.Context)
		return err
	}),
	many("pluck", func(db *gorm.DB, out *[]string) error { return db.Model(&Page{}).Pluck("title", out).Error }),
	many("distinct", func(db *gorm.DB, out *[]string) error {
		return db.Model(&Page{}).Distinct().Pluck("tenant_id", out).Error
	}),
	many("grouped", func(db *gorm.DB, out *[]map[string]any) error {
		return db.Model(&Page{}).Select("author_id, count(*) AS n").Group("author_id").Find(out).Error
	}),
	many("scan by name", func(db *gorm.DB, out *[]struct{ Title string }) error { return db.Table("pages").Scan(out).Error }),
	many("rows", func(db *gorm.DB, out *[]string) error {
		rows, err := db.Model(&Page{}).Select("title").Rows()
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var title string
			err = errors.Join(err, rows.Scan(&title))
			*out = append(*out, title)
		}
		return errors.Join(err, rows.Err())
	}),
	many("composite key", func(db *gorm.DB, out *[]Revision) error { return db.Where("page_id > ?", 0).Find(out).Error }),
	many("shared", func(db *gorm.DB, out *[]Country) error { return db.Find(out).Error }),
}

// missing counts the lines of a that are not among those of b, as bags.
func missing(a, b []string) (n int64) {
	left := map[string]int{}
	for _, line := range b {
		left[line]++
	}
	for _, line := range a {
		if left[line]--; left[line] < 0 {
			n++
		}
	}
	return n
}

// wanted is the report of the difference that the strict plugin makes.
func wanted(plain, strict []string, operation string) string {
	hidden, extra := missing(plain, strict), missing(strict, plain)
	switch {
	case extra > 0:
		return fmt.Sprintf("changed %s %d", operation, hidden)
	case hidden > 0:
		return fmt.Sprintf("hidden %s %d", operation, hidden)
	}
	return ""
}

func TestShadow_Reads(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]*gorm.Config{"plain": nil, "prepared": {PrepareStmt: true}} {
		b := setupShadow(t, cfg)
		ctx := tenancy.WithTenant(context.Background(), "hal")
		for _, tc := range shadowReads {
			for _, inTx := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/tx=%t", name, tc.name, inTx), func(t *testing.T) {
					want, err := tc.run(b.plain.WithContext(ctx))
					must(t, err)
					strict, err := tc.run(b.strict.WithContext(ctx))
					must(t, err)
					db, r := watched(ctx, b.shadow)
					if inTx {
						db = db.Begin()
						defer db.Rollback()
					}
					got, err := tc.run(db)
					must(t, err)
					if fmt.Sprint(got) != fmt.Sprint(want) {
						t.Errorf("read %v, plain GORM %v", got, want)
					}
					operation := "query"
					if strings.Contains(r.String(), " row ") {
						operation = "row"
					}
					if want := wanted(want, strict, operation); r.String() != want {
						t.Errorf("reported %q, want %q", r, want)
					}
					var n int
					must(t, db.Raw("SELECT 1").Scan(&n).Error)
				})
			}
		}
	}
}
