package tests

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/courtroll/courtroll/tenancy"
)

var shadowWrites = map[string]func(db *gorm.DB) *gorm.DB{
	"update":         func(db *gorm.DB) *gorm.DB { return db.Model(&Page{}).Where("views > ?", 1).Update("title", "x") },
	"update, own":    func(db *gorm.DB) *gorm.DB { return db.Model(&Page{}).Where("id = ?", 2).Update("title", "x") },
	"update, by key": func(db *gorm.DB) *gorm.DB { return db.Model(&Page{ID: 1}).Updates(Page{Title: "x", Views: 2}) },
	"update, or":     func(db *gorm.DB) *gorm.DB { return db.Model(&Page{}).Where("id = 1").Or("id = 2").Update("views", 0) },
	"update, expression": func(db *gorm.DB) *gorm.DB {
		return db.Model(&Page{}).Where("id < 4").Update("views", gorm.Expr("views + ?", 1))
	},
	"update, columns": func(db *gorm.DB) *gorm.DB { return db.Table("pages").Where("id < ?", 4).UpdateColumn("views", 3) },
	"update, sub-query": func(db *gorm.DB) *gorm.DB {
		return db.Model(&Page{}).Where("author_id IN (?)", db.Model(&Author{}).Select("id").Where("name = ?", "ann")).Update("views", 8)
	},
	"update, all": func(db *gorm.DB) *gorm.DB {
		return db.Session(&gorm.Session{AllowGlobalUpdate: true}).Model(&Page{}).Update("views", 1)
	},
	"update, returning": func(db *gorm.DB) *gorm.DB {
		return db.Model(&[]Page{}).Clauses(clause.Returning{}).Where("id < 4").Update("views", 1)
	},
	"delete, soft":   func(db *gorm.DB) *gorm.DB { return db.Where("id IN ?", []int{1, 2, 3}).Delete(&Page{}) },
	"delete":         func(db *gorm.DB) *gorm.DB { return db.Where("page_id > ?", 1).Delete(&Revision{}) },
	"delete, by key": func(db *gorm.DB) *gorm.DB { return db.Delete(&Revision{TenantID: "acme", PageID: 1, Number: 1}) },
	"save":           func(db *gorm.DB) *gorm.DB { return db.Omit("CreatedAt").Save(&Page{ID: 2, Title: "saved"}) },
}

// rowsOf returns what the database holds, times aside.
func rowsOf(t *testing.T, db *gorm.DB) string {
	t.Helper()
	var rows []string
	must(t, db.WithContext(tenancy.AsSystem(context.Background(), "test")).Raw(`
		SELECT concat_ws(' ', 'page', id, tenant_id, title, views, author_id, deleted_at IS NULL) AS r FROM pages
		UNION ALL SELECT concat_ws(' ', 'author', id, tenant_id, email) FROM authors
		UNION ALL SELECT concat_ws(' ', 'revision', tenant_id, page_id, number, text) FROM revisions ORDER BY r`).Scan(&rows).Error)
	return strings.Join(rows, "\n")
}

// inVain runs a statement in a transaction that is rolled back, and returns what it left.
func inVain(t *testing.T, db *gorm.DB, run func(db *gorm.DB) *gorm.DB) (rows string, affected int64, err error) {
	t.Helper()
	tx := db.Begin()
	must(t, tx.Error)
	defer tx.Rollback()
	done := run(tx)
	if done.Error != nil {
		return "", 0, done.Error
	}
	return rowsOf(t, tx), done.RowsAffected, nil
}

func TestShadow_Writes(t *testing.T) {
	t.Parallel()
	b := setupShadow(t, nil)
	ctx := tenancy.WithTenant(context.Background(), "hal")
	for name, run := range shadowWrites {
		t.Run(name, func(t *testing.T) {
			want, all, err := inVain(t, b.plain.WithContext(ctx), run)
			must(t, err)
			_, own, err := inVain(t, b.strict.WithContext(ctx), run)
			must(t, err)
			db, r := watched(ctx, b.shadow)
			got, affected, err := inVain(t, db, run)
			must(t, err)
			if name == "save" { // which would have emptied the column
				want = strings.Replace(want, "page 2  saved", "page 2 hal saved", 1)
			}
			if got != want || affected != all {
				t.Errorf("%d rows, plain GORM %d:\n%s\nwant\n%s", affected, all, got, want)
			}
			report := ""
			if operation, _, _ := strings.Cut(name, ","); all > own {
				report = fmt.Sprintf("hidden %s %d", strings.Replace(operation, "save", "update", 1), all-own)
			}
			if name == "delete, soft" {
				report = strings.Replace(report, "update", "delete", 1)
			}
			if r.String() != report {
				t.Errorf("reported %q, want %q", r, report)
			}
		})
	}
}

func TestShadow_Creates(t *testing.T) {
	t.Parallel()
	b := setupShadow(t, nil)
	ctx := tenancy.WithTenant(context.Background(), "hal")
	for name, tc := range map[string]struct {
		run    func(db *gorm.DB) *gorm.DB
		want   string // the tenants of the new rows
		report string
		err    error
	}{
		"struct":        {run: func(db *gorm.DB) *gorm.DB { return db.Create(&Page{Title: "new"}) }, want: "hal"},
		"own":           {run: func(db *gorm.DB) *gorm.DB { return db.Create(&Page{Title: "new", TenantID: "hal"}) }, want: "hal"},
		"slice":         {run: func(db *gorm.DB) *gorm.DB { return db.Create([]Page{{Title: "new"}, {Title: "new"}}) }, want: "hal,hal"},
		"map":           {run: func(db *gorm.DB) *gorm.DB { return db.Model(&Page{}).Create(map[string]any{"title": "new"}) }, want: "hal"},
		"table by name": {run: func(db *gorm.DB) *gorm.DB { return db.Table("pages").Create(map[string]any{"title": "new"}) }, want: "hal"},
		"selected":      {run: func(db *gorm.DB) *gorm.DB { return db.Select("Title").Create(&Page{Title: "new"}) }, want: "hal"},
		"associations": {run: func(db *gorm.DB) *gorm.DB {
			return db.Create(&Page{Title: "new", Author: &Author{ID: 9, Email: "x"}, Revisions: []Revision{{Number: 1}}})
		}, want: "hal", report: ""},
		"foreign": {
			run:  func(db *gorm.DB) *gorm.DB { return db.Create(&Page{Title: "new", TenantID: "acme"}) },
			want: "acme", report: "refused create -1", err: tenancy.ErrCrossTenant,
		},
		"foreign and none": {
			run: func(db *gorm.DB) *gorm.DB {
				return db.Create([]*Page{{Title: "new", TenantID: "acme"}, {Title: "new"}})
			},
			want: "acme,hal", report: "refused create -1", err: tenancy.ErrCrossTenant,
		},
		"foreign map": {
			run: func(db *gorm.DB) *gorm.DB {
				return db.Model(&Page{}).Create(&[]map[string]any{{"title": "new", "tenant_id": "acme"}, {"title": "new"}})
			},
			want: "acme,hal", report: "refused create -1", err: tenancy.ErrCrossTenant,
		},
		"no tenant": {
			run: func(db *gorm.DB) *gorm.DB {
				return db.WithContext(context.WithoutCancel(tenancy.WithTenant(db.Statement.Context, ""))).Create(&Page{Title: "new"})
			},
			want: "", report: "refused create -1", err: tenancy.ErrNoTenant,
		},
		"system without one": {
			run: func(db *gorm.DB) *gorm.DB {
				return db.WithContext(tenancy.AsSystem(db.Statement.Context, "x")).Create(&Page{Title: "new"})
			},
			want: "", report: "refused create -1", err: tenancy.ErrNoTenant,
		},
		"saved slice that meets a row": {
			run:  func(db *gorm.DB) *gorm.DB { return db.Save([]*Page{{ID: 1, Title: "new"}, {ID: 2, Title: "new"}}) },
			want: "acme,hal", report: "refused create -1", err: gorm.ErrDuplicatedKey,
		},
	} {
		t.Run(name, func(t *testing.T) {
			db, r := watched(ctx, b.shadow)
			tx := db.Begin()
			defer tx.Rollback()
			must(t, tc.run(tx).Error)
			var tenants []string
			must(t, tx.WithContext(context.Background()).Raw("SELECT tenant_id FROM pages WHERE title = 'new' ORDER BY 1").Scan(&tenants).Error)
			if got := strings.Join(tenants, ","); got != tc.want {
				t.Errorf("tenants %q, want %q", got, tc.want)
			}
			if r.String() != tc.report || tc.err != nil && !errors.Is(r.all[0].Err, tc.err) {
				t.Errorf("reported %q, %v", r, r.all)
			}
		})
	}
}

// loose is a table that no model is known of.
const loose = "CREATE TABLE loose (x text); INSERT INTO loose VALUES ('secret'); CREATE VIEW some_pages AS SELECT title AS x FROM pages"

var shadowRefusals = map[string]struct {
	want error
	run  func(db *gorm.DB) ([]string, error)
}{
	"raw":          {tenancy.ErrOpaqueSQL, scanned("SELECT title FROM pages WHERE title <> 'secret' ORDER BY 1")},
	"two":          {tenancy.ErrOpaqueSQL, scanned("SELECT title FROM pages JOIN authors ON author_id = authors.id ORDER BY 1")},
	"unclassified": {tenancy.ErrUnclassified, scanned("SELECT x FROM loose")},
	"view": {tenancy.ErrUnclassified, func(db *gorm.DB) (out []string, err error) {
		return out, db.Table("some_pages").Order("x").Pluck("x", &out).Error
	}},
	"no tenant": {tenancy.ErrNoTenant, func(db *gorm.DB) (out []string, err error) {
		return out, db.WithContext(tenancy.WithTenant(db.Statement.Context, " ")).Model(&Page{}).Order("id").Pluck("title", &out).Error
	}},
	"joins by hand": {tenancy.ErrOpaqueSQL, func(db *gorm.DB) (out []string, err error) {
		return out, db.Model(&Page{}).Joins("JOIN authors a ON a.id = author_id").Order("pages.id").Pluck("a.name", &out).Error
	}},
	"numbered behind a join": {tenancy.ErrOpaqueSQL, func(db *gorm.DB) (out []string, err error) {
		return out, db.Model(&Page{}).InnerJoins("Author").Where("views > $1", 1).Order("pages.id").Pluck("title", &out).Error
	}},
	"row": {tenancy.ErrOpaqueSQL, func(db *gorm.DB) ([]string, error) {
		var title string
		err := db.Raw("SELECT max(title) FROM pages").Row().Scan(&title)
		return []string{title}, err
	}},
	"sub-query of another tenant": {tenancy.ErrCrossTenant, func(db *gorm.DB) (out []string, err error) {
		other := db.Session(&gorm.Session{NewDB: true, Context: tenancy.WithTenant(context.Background(), "acme")})
		return out, db.Model(&Page{}).Where("author_id IN (?)", other.Model(&Author{}).Select("id")).Order("id").Pluck("title", &out).Error
	}},
	"sub-query without a tenant": {tenancy.ErrNoTenant, func(db *gorm.DB) (out []string, err error) {
		other := db.Session(&gorm.Session{NewDB: true, Context: context.Background()})
		return out, db.Model(&Page{}).Where("author_id IN (?)", other.Model(&Author{}).Select("id")).Order("id").Pluck("title", &out).Error
	}},
	"exec": {tenancy.ErrOpaqueSQL, execute("UPDATE pages SET title = 'secret'")},
	"do":   {tenancy.ErrOpaqueSQL, execute("DO $$ BEGIN DELETE FROM revisions; END $$")},
	"ddl":  {tenancy.ErrMigrateHandle, execute("TRUNCATE loose")},
	"immutable": {tenancy.ErrTenantImmutable, func(db *gorm.DB) ([]string, error) {
		return nil, db.Model(&Page{}).Where("id = 5").Update("tenant_id", "acme").Error
	}},
	"immutable, by expression": {tenancy.ErrTenantImmutable, func(db *gorm.DB) ([]string, error) {
		return nil, db.Model(&Page{}).Where("id = 5").Update("tenant_id", gorm.Expr("'acme'")).Error
	}},
}

func scanned(query string) func(db *gorm.DB) ([]string, error) {
	return func(db *gorm.DB) (out []string, err error) { return out, db.Raw(query).Scan(&out).Error }
}

func execute(query string) func(db *gorm.DB) ([]string, error) {
	return func(db *gorm.DB) ([]string, error) { return nil, db.Exec(query).Error }
}

func TestShadow_Refused(t *testing.T) {
	t.Parallel()
	b := setupShadow(t, nil)
	must(t, b.Owner.Exec(loose).Error)
	must(t, b.Owner.Exec("GRANT TRUNCATE ON loose TO "+b.AppRole).Error)
	ctx := tenancy.WithTenant(context.Background(), "hal")
	for name, tc := range shadowRefusals {
		t.Run(name, func(t *testing.T) {
			run := func(db *gorm.DB) (result []string, rows string) {
				rows, _, err := inVain(t, db, func(db *gorm.DB) *gorm.DB {
					var err error
					result, err = tc.run(db)
					must(t, err)
					return db
				})
				must(t, err)
				return result, rows
			}
			_, refused := tc.run(b.strict.WithContext(ctx))
			if !errors.Is(refused, tc.want) {
				t.Fatalf("the strict plugin says %v", refused)
			}
			want, wantRows := run(b.plain.WithContext(ctx))
			db, r := watched(ctx, b.shadow)
			got, gotRows := run(db)
			if fmt.Sprint(got) != fmt.Sprint(want) || gotRows != wantRows {
				t.Errorf("got %v, plain GORM %v\n%s\n%s", got, want, gotRows, wantRows)
			}
			if len(r.all) != 1 {
				t.Fatalf("reported %v", r.all)
			}
			report := r.all[0]
			if report.Kind != tenancy.ShadowRefused || report.Hidden != -1 || report.Err.Error() != refused.Error() {
				t.Errorf("reported %v, refused with %v", report, refused)
			}
			if text := fmt.Sprint(report.SQL, report.Err); strings.Contains(text, "secret") || strings.Contains(text, "acme") {
				t.Errorf("a value is in %q", text)
			}
			if file, _, _ := strings.Cut(filepath.Base(report.Caller), ":"); file != "shadow_writes_test.go" {
				t.Errorf("caller %q", report.Caller)
			}
		})
	}
}
