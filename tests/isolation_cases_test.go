package tests

import (
	"errors"
	"strings"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/courtroll/courtroll/tenancy"
)

// Every case below runs as hal in a database in which acme has the rows of
// seed and hal has rows like them. Afterwards acme's rows must be
// byte-identical. want is the error, nil for none; titles are what the case
// returns of what it read.
type isolationCase struct {
	name   string
	run    func(hal *gorm.DB, acme *seeded) ([]string, error)
	want   error
	titles []string
}

// seeded holds what acme owns and what hal owns.
type seeded struct {
	page, halPage     Page
	author, halAuthor Author
}

func seed(t *testing.T, b *bundle) *seeded {
	t.Helper()
	s := &seeded{
		author:    Author{ID: 1, Email: "ann@acme.test", Name: "acme author"},
		halAuthor: Author{ID: 2, Email: "dave@hal.test", Name: "hal author"},
	}
	must(t, b.as(b.acme).Create(&s.author).Error)
	must(t, b.as(b.hal).Create(&s.halAuthor).Error)
	s.page = Page{Title: "acme page", Views: 1, AuthorID: &s.author.ID, Revisions: []Revision{{Number: 1, Text: "acme text"}}}
	s.halPage = Page{Title: "hal page", Views: 1, AuthorID: &s.halAuthor.ID, Revisions: []Revision{{Number: 1, Text: "hal text"}}}
	must(t, b.as(b.acme).Create(&s.page).Error)
	must(t, b.as(b.hal).Create(&s.halPage).Error)
	must(t, b.as(b.system).Create(&Country{Code: "no", Name: "Norway"}).Error)
	return s
}

// snapshot returns all rows of acme, as text.
func snapshot(t *testing.T, b *bundle) string {
	t.Helper()
	var rows []string
	must(t, b.super.Raw(`SELECT t::text FROM (SELECT 1, p::text FROM pages p WHERE tenant_id = 'acme'
		UNION ALL SELECT 2, a::text FROM authors a WHERE tenant_id = 'acme'
		UNION ALL SELECT 3, r::text FROM revisions r WHERE tenant_id = 'acme') t ORDER BY t::text`).Scan(&rows).Error)
	return strings.Join(rows, "\n")
}

func TestIsolation(t *testing.T) {
	t.Parallel()
	for _, group := range [][]isolationCase{readCases, createCases, changeCases, upsertCases, rawCases} {
		for _, tc := range group {
			t.Run(tc.name, func(t *testing.T) {
				t.Parallel()
				b := setup(t)
				s := seed(t, b)
				before := snapshot(t, b)

				titles, err := tc.run(b.as(b.hal), s)
				if tc.want == nil && err != nil || !errors.Is(err, tc.want) {
					t.Errorf("error %v, want %v", err, tc.want)
				}
				if err != nil && strings.Contains(err.Error(), "acme") {
					t.Errorf("the error names another tenant or a value of its row: %v", err)
				}
				if got, want := strings.Join(titles, ", "), strings.Join(tc.titles, ", "); got != want {
					t.Errorf("read %q, want %q", got, want)
				}
				if after := snapshot(t, b); after != before {
					t.Errorf("another tenant's rows changed:\n%s\n%s", before, after)
				}
			})
		}
	}
}

func titles(pages []Page) []string {
	var out []string
	for _, p := range pages {
		out = append(out, p.Title)
	}
	return out
}

// find is a read case that ends in Find.
func find(name string, query func(hal *gorm.DB, acme *seeded) *gorm.DB, want ...string) isolationCase {
	return isolationCase{name: name, titles: want, run: func(hal *gorm.DB, acme *seeded) ([]string, error) {
		var pages []Page
		err := query(hal, acme).Order("title").Find(&pages).Error
		return titles(pages), err
	}}
}

var readCases = []isolationCase{
	find("find", func(hal *gorm.DB, _ *seeded) *gorm.DB { return hal }, "hal page"),
	find("where_own_column", func(hal *gorm.DB, _ *seeded) *gorm.DB { return hal.Where("views = 1") }, "hal page"),
	find("or", func(hal *gorm.DB, _ *seeded) *gorm.DB { return hal.Where("views = 9").Or("views = 1") }, "hal page"),
	find("or_first", func(hal *gorm.DB, _ *seeded) *gorm.DB { return hal.Or("1 = 1") }, "hal page"),
	find("or_unscoped", func(hal *gorm.DB, _ *seeded) *gorm.DB { return hal.Unscoped().Where("views = 9").Or("1=1") }, "hal page"),
	find("or_struct", func(hal *gorm.DB, _ *seeded) *gorm.DB { return hal.Where("views = 9").Or(Page{Views: 1}) }, "hal page"),
	find("or_tabs", func(hal *gorm.DB, _ *seeded) *gorm.DB { return hal.Where("1=0\tor\n1=1") }, "hal page"),
	find("or_parentheses", func(hal *gorm.DB, _ *seeded) *gorm.DB { return hal.Where("(1=0)OR(1=1)") }, "hal page"),
	find("or_group", func(hal *gorm.DB, _ *seeded) *gorm.DB {
		return hal.Where(hal.Where("1=0")).Or(hal.Where("1=1").Or("2=2"))
	}, "hal page"),
	find("unbalanced_but_wrapped", func(hal *gorm.DB, _ *seeded) *gorm.DB { return hal.Where("1=1) OR (1=1") }, "hal page"),
	find("not", func(hal *gorm.DB, _ *seeded) *gorm.DB { return hal.Not("views = 9") }, "hal page"),
	find("comment", func(hal *gorm.DB, _ *seeded) *gorm.DB { return hal.Where("views = 1 --") }, "hal page"),
	find("foreign_tenant_column", func(hal *gorm.DB, _ *seeded) *gorm.DB { return hal.Where("tenant_id = ?", "acme") }),
	find("foreign_tenant_struct", func(hal *gorm.DB, _ *seeded) *gorm.DB { return hal.Where(&Page{TenantID: "acme"}) }),
	find("foreign_or_own", func(hal *gorm.DB, _ *seeded) *gorm.DB {
		return hal.Where("tenant_id = ?", "acme").Or("tenant_id = ?", "acme")
	}),
	find("foreign_key", func(hal *gorm.DB, acme *seeded) *gorm.DB { return hal.Where("id = ?", acme.page.ID) }),
	find("unscoped", func(hal *gorm.DB, _ *seeded) *gorm.DB { return hal.Unscoped() }, "hal page"),
	find("scopes", func(hal *gorm.DB, _ *seeded) *gorm.DB {
		return hal.Scopes(func(db *gorm.DB) *gorm.DB { return db.Or("1=1") })
	}, "hal page"),
	find("table_name", func(hal *gorm.DB, _ *seeded) *gorm.DB { return hal.Table("pages") }, "hal page"),
	find("table_alias", func(hal *gorm.DB, _ *seeded) *gorm.DB { return hal.Table("pages AS p") }, "hal page"),
	find("table_schema", func(hal *gorm.DB, _ *seeded) *gorm.DB { return hal.Table("public.pages").Unscoped() }, "hal page"),
	find("joins_association", func(hal *gorm.DB, _ *seeded) *gorm.DB { return hal.Joins("Author") }, "hal page"),
	find("inner_joins_association", func(hal *gorm.DB, _ *seeded) *gorm.DB { return hal.InnerJoins("Author") }, "hal page"),
	find("joins_association_or", func(hal *gorm.DB, _ *seeded) *gorm.DB {
		return hal.Joins("Author", hal.Where("1=0").Or("1=1"))
	}, "hal page"),
	find("sub_query", func(hal *gorm.DB, _ *seeded) *gorm.DB {
		return hal.Where("author_id IN (?)", hal.Model(&Author{}).Select("id"))
	}, "hal page"),
	find("sub_query_from", func(hal *gorm.DB, _ *seeded) *gorm.DB {
		return hal.Table("(?) AS pages", hal.Model(&Page{}))
	}, "hal page"),
	find("locking", func(hal *gorm.DB, _ *seeded) *gorm.DB { return hal.Clauses(clause.Locking{Strength: "UPDATE"}) }, "hal page"),
	find("skip_hooks", func(hal *gorm.DB, _ *seeded) *gorm.DB { return hal.Session(&gorm.Session{SkipHooks: true}) }, "hal page"),
	find("new_session", func(hal *gorm.DB, _ *seeded) *gorm.DB { return hal.Session(&gorm.Session{NewDB: true}) }, "hal page"),
	find("prepared", func(hal *gorm.DB, _ *seeded) *gorm.DB { return hal.Session(&gorm.Session{PrepareStmt: true}) }, "hal page"),
	find("join_of_shared_table", func(hal *gorm.DB, _ *seeded) *gorm.DB { return joined(hal, clause.LeftJoin) }, ""),
	{name: "preload", titles: []string{"hal page", "hal author", "hal text"}, run: func(hal *gorm.DB, _ *seeded) ([]string, error) {
		var pages []Page
		if err := hal.Preload("Author").Preload("Revisions").Find(&pages).Error; err != nil {
			return nil, err
		}
		return append(titles(pages), pages[0].Author.Name, pages[0].Revisions[0].Text), nil
	}},
	{name: "first_foreign", want: gorm.ErrRecordNotFound, run: func(hal *gorm.DB, acme *seeded) ([]string, error) {
		var page Page
		return nil, hal.First(&page, acme.page.ID).Error
	}},
	{name: "take_foreign_preset", want: gorm.ErrRecordNotFound, run: func(hal *gorm.DB, acme *seeded) ([]string, error) {
		page := Page{ID: acme.page.ID}
		return nil, hal.Take(&page).Error
	}},
	{name: "pluck", titles: []string{"hal page"}, run: func(hal *gorm.DB, _ *seeded) (out []string, err error) {
		return out, hal.Model(&Page{}).Pluck("title", &out).Error
	}},
	{name: "table_pluck", titles: []string{"hal page"}, run: func(hal *gorm.DB, _ *seeded) (out []string, err error) {
		return out, hal.Table("pages").Pluck("title", &out).Error
	}},
	{name: "scan_dto", titles: []string{"hal page"}, run: func(hal *gorm.DB, _ *seeded) ([]string, error) {
		var dto []struct{ Title string }
		err := hal.Table("pages").Or("1=1").Scan(&dto).Error
		return []string{dto[0].Title}, err
	}},
	{name: "find_map", titles: []string{"hal page"}, run: func(hal *gorm.DB, _ *seeded) ([]string, error) {
		var rows []map[string]any
		err := hal.Model(&Page{}).Find(&rows).Error
		if len(rows) != 1 {
			return nil, errors.Join(err, errors.New("not one row"))
		}
		return []string{rows[0]["title"].(string)}, err
	}},
	{name: "count", titles: []string{"1"}, run: func(hal *gorm.DB, _ *seeded) ([]string, error) {
		var n int64
		err := hal.Model(&Page{}).Or("1=1").Count(&n).Error
		return []string{number(n)}, err
	}},
	{name: "rows", titles: []string{"hal page"}, run: func(hal *gorm.DB, _ *seeded) (out []string, err error) {
		rows, err := hal.Model(&Page{}).Select("title").Rows()
		if err != nil {
			return nil, err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var title string
			err = errors.Join(err, rows.Scan(&title))
			out = append(out, title)
		}
		return out, errors.Join(err, rows.Err())
	}},
	{name: "row", titles: []string{"hal page"}, run: func(hal *gorm.DB, _ *seeded) ([]string, error) {
		var title string
		err := hal.Model(&Page{}).Select("max(title)").Row().Scan(&title)
		return []string{title}, err
	}},
	{name: "find_in_batches", titles: []string{"hal page"}, run: func(hal *gorm.DB, _ *seeded) (out []string, err error) {
		var pages []Page
		return out, hal.FindInBatches(&pages, 1, func(*gorm.DB, int) error { out = append(out, titles(pages)...); return nil }).Error
	}},
	{name: "association_find_foreign_owner", run: func(hal *gorm.DB, acme *seeded) ([]string, error) {
		var revisions []Revision
		err := hal.Model(&acme.page).Association("Revisions").Find(&revisions)
		return make([]string, len(revisions)), err
	}},
	{name: "shared", titles: []string{"Norway"}, run: func(hal *gorm.DB, _ *seeded) ([]string, error) {
		var country Country
		err := hal.First(&country).Error
		return []string{country.Name}, err
	}},
	{name: "joined_row_stays_left", titles: []string{"hal page", "nobody"}, run: func(hal *gorm.DB, acme *seeded) ([]string, error) {
		// hal's page points at acme's author: the row stays, the author does not show.
		if err := hal.Model(&acme.halPage).Update("author_id", acme.author.ID).Error; err != nil {
			return nil, err
		}
		var page Page
		err := hal.Joins("Author").First(&page).Error
		if page.Author != nil && page.Author.Name != "" {
			return []string{page.Title, page.Author.Name}, err
		}
		return []string{page.Title, "nobody"}, err
	}},
}

var rawCases = []isolationCase{
	raw("raw", tenancy.ErrOpaqueSQL, "SELECT title FROM pages"),
	raw("raw_with_predicate", tenancy.ErrOpaqueSQL, "SELECT title FROM pages WHERE tenant_id = 'hal' OR 1=1"),
	raw("raw_quoted", tenancy.ErrOpaqueSQL, `SELECT title FROM "public"."pages"`),
	raw("raw_comment", tenancy.ErrOpaqueSQL, "SELECT title FROM/**/pages"),
	raw("raw_second_table", tenancy.ErrOpaqueSQL, "SELECT title FROM countries set, pages"),
	raw("raw_cte", tenancy.ErrOpaqueSQL, "WITH pages AS (SELECT title FROM pages) SELECT title FROM pages"),
	raw("raw_union", tenancy.ErrOpaqueSQL, "SELECT name FROM countries UNION SELECT title FROM pages"),
	raw("raw_two_statements", tenancy.ErrOpaqueSQL, "SELECT 1; SELECT title FROM pages"),
	raw("raw_xml", tenancy.ErrOpaqueSQL, "SELECT query_to_xml('SELECT title FROM pages', true, true, '')"),
	raw("raw_statistics", tenancy.ErrUnclassified, "SELECT most_common_vals::text FROM pg_stats"),
	raw("raw_unknown_table", tenancy.ErrUnclassified, "SELECT x FROM mystery"),
	raw("raw_do", tenancy.ErrOpaqueSQL, "DO $$ BEGIN DELETE FROM pages; END $$"),
	raw("raw_setting", tenancy.ErrOpaqueSQL, "SELECT set_config('courtroll.tenant_id', 'x', false)"),
	raw("raw_ddl", tenancy.ErrMigrateHandle, "DROP TABLE pages"),
	raw("raw_harmless", nil, "SELECT 'pages' FROM countries WHERE name <> ' FROM pages'", "pages"),
	raw("raw_no_table", nil, "SELECT upper('x')", "X"),
	{name: "exec", want: tenancy.ErrOpaqueSQL, run: func(hal *gorm.DB, _ *seeded) ([]string, error) {
		return nil, hal.Exec("UPDATE pages SET title = 'x'").Error
	}},
	{name: "raw_row", want: tenancy.ErrOpaqueSQL, run: func(hal *gorm.DB, _ *seeded) ([]string, error) {
		var title string
		return nil, hal.Raw("SELECT title FROM pages").Row().Scan(&title)
	}},
	refused("raw_join", func(hal *gorm.DB) *gorm.DB { return hal.Joins("JOIN pages x ON true") }),
	refused("right_join", func(hal *gorm.DB) *gorm.DB { return joined(hal, clause.RightJoin) }),
	refused("full_join", func(hal *gorm.DB) *gorm.DB { return joined(hal, "FULL") }),
	refused("raw_select", func(hal *gorm.DB) *gorm.DB { return hal.Select("(SELECT max(title) FROM pages) AS title") }),
	refused("raw_select_comment", func(hal *gorm.DB) *gorm.DB { return hal.Select("* FROM pages --") }),
	refused("raw_where_select", func(hal *gorm.DB) *gorm.DB { return hal.Where("EXISTS (SELECT FROM pages)") }),
	refused("raw_order", func(hal *gorm.DB) *gorm.DB { return hal.Order("(SELECT max(title) FROM pages)") }),
	refused("raw_group_union", func(hal *gorm.DB) *gorm.DB { return hal.Group("id UNION SELECT * FROM pages") }),
	refused("unbalanced", func(hal *gorm.DB) *gorm.DB { return hal.Unscoped().Where("1=1)\tOR\t(1=1") }),
	refused("unbalanced_comment", func(hal *gorm.DB) *gorm.DB { return hal.Where("1=1 /*") }),
	refused("or_after_sub_query", func(hal *gorm.DB) *gorm.DB {
		return hal.Where("id IN (? OR 1=1)", hal.Session(&gorm.Session{NewDB: true}).Model(&Page{}).Select("id"))
	}),
	refused("table_list", func(hal *gorm.DB) *gorm.DB { return hal.Table("pages, authors") }),
	{name: "sub_query_without_context", want: tenancy.ErrNoTenant, run: func(hal *gorm.DB, _ *seeded) ([]string, error) {
		bare := hal.Session(&gorm.Session{NewDB: true, Context: noTenant})
		return nil, hal.Where("1 = 1 OR id IN (?)", bare.Model(&Page{}).Select("id")).Find(&[]Page{}).Error
	}},
	{name: "sub_query_of_other_tenant", want: tenancy.ErrCrossTenant, run: func(hal *gorm.DB, _ *seeded) ([]string, error) {
		other := hal.Session(&gorm.Session{NewDB: true, Context: tenancy.WithTenant(noTenant, "acme")})
		return nil, hal.Where("id IN (?)", other.Model(&Page{}).Select("id")).Find(&[]Page{}).Error
	}},
	{name: "sub_query_of_system", want: tenancy.ErrOpaqueSQL, run: func(hal *gorm.DB, _ *seeded) ([]string, error) {
		other := hal.Session(&gorm.Session{NewDB: true, Context: tenancy.AsSystem(noTenant, "x")})
		return nil, hal.Where("id IN (?)", other.Model(&Page{}).Select("id")).Find(&[]Page{}).Error
	}},
}

// joined selects from a shared table that is joined to pages.
func joined(hal *gorm.DB, kind clause.JoinType) *gorm.DB {
	return hal.Unscoped().Table("countries").Select("pages.title").Clauses(clause.From{Joins: []clause.Join{{
		Type: kind, Table: clause.Table{Name: "pages"}, ON: clause.Where{Exprs: []clause.Expression{clause.Expr{SQL: "pages.id = 0"}}},
	}}})
}

// raw is a case of one hand-written statement.
func raw(name string, want error, sql string, titles ...string) isolationCase {
	return isolationCase{name: name, want: want, titles: titles, run: func(hal *gorm.DB, _ *seeded) (out []string, err error) {
		return out, hal.Raw(sql).Scan(&out).Error
	}}
}

// refused is a case of a hand-written fragment in a query on pages.
func refused(name string, query func(hal *gorm.DB) *gorm.DB) isolationCase {
	return isolationCase{name: name, want: tenancy.ErrOpaqueSQL, run: func(hal *gorm.DB, _ *seeded) ([]string, error) {
		var pages []Page
		err := query(hal).Find(&pages).Error
		return titles(pages), err
	}}
}
