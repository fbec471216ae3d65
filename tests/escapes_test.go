package tests

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/courtroll/courtroll/audit"
)

// The ways across tenants that an independent attempt found, each of which
// must stay closed: with the plugin alone, and behind all walls.

func (b *bundle) text(t *testing.T, query string) string {
	t.Helper()
	var rows []string
	must(t, b.super.Raw(query).Scan(&rows).Error)
	return strings.Join(rows, "; ")
}

type RInvoice struct {
	ID       int64 `gorm:"primaryKey;autoIncrement:false"`
	TenantID string
	Note     string
}

func (RInvoice) TableName() string { return "r_invoices" }

const rInvoices = "CREATE TABLE r_invoices (tenant_id text, id bigint, note text, PRIMARY KEY (tenant_id, id))"
const rRows = "INSERT INTO r_invoices VALUES ('acme',1,'acme secret'),('hal',1,'hal note')"

func TestEscape_UpdateJoinsByModelKeyAlone(t *testing.T) {
	t.Parallel()
	eachWall(t, func(t *testing.T, w walls) {
		b := w.with(t, false, []any{&RInvoice{}}, nil, rInvoices, rRows)
		var got []RInvoice
		tx := b.as(b.hal).Model(&got).Clauses(clause.Returning{}).Where("id = 1").Update("note", gorm.Expr("r_invoices.note || '!'"))
		must(t, tx.Error)
		if tx.RowsAffected != 1 || strings.Contains(fmt.Sprint(got), "acme") {
			t.Errorf("hal changed and read %d rows: %+v", tx.RowsAffected, got)
		}
		if s := b.text(t, "SELECT note FROM r_invoices WHERE tenant_id = 'acme'"); s != "acme secret" {
			t.Errorf("acme's row is now %q", s)
		}
	})
}

func TestEscape_UpsertOldValuesOfOtherTenantInTrail(t *testing.T) {
	t.Parallel()
	eachWall(t, func(t *testing.T, w walls) {
		b := w.with(t, false, []any{&RInvoice{}}, nil, rInvoices, rRows)
		must(t, b.as(b.hal).Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "tenant_id"}, {Name: "id"}},
			DoUpdates: clause.AssignmentColumns([]string{"note"})}).Create(&RInvoice{ID: 1, Note: "new"}).Error)
		page, err := audit.List(b.hal, b.app, audit.Filter{}, "")
		must(t, err)
		for _, e := range page.Entries {
			if strings.Contains(string(*e.Metadata), "acme secret") {
				t.Errorf("hal reads in its trail: %s", *e.Metadata)
			}
		}
		if len(page.Entries) != 1 {
			t.Errorf("%d entries for one changed row", len(page.Entries))
		}
	})
}

type RRegion struct {
	Code string  `gorm:"primaryKey"`
	Head *Author `gorm:"foreignKey:Email;references:Code"`
}

func (RRegion) TableName() string { return "r_regions" }

func TestEscape_RightAndFullJoin(t *testing.T) {
	t.Parallel()
	eachWall(t, func(t *testing.T, w walls) {
		b := w.with(t, true, nil, []any{&RRegion{}}, "CREATE TABLE r_regions (code text PRIMARY KEY)")
		seed(t, b)
		heads, err := gorm.G[RRegion](b.app).Joins(clause.RightJoin.Association("Head"), nil).Find(b.hal)
		w.wantOpaque(t, "RIGHT JOIN", err, heads)
		var names []string
		err = b.as(b.hal).Model(&Country{}).Clauses(clause.From{Joins: []clause.Join{{Type: "FULL", Table: clause.Table{Name: "authors"},
			ON: clause.Where{Exprs: []clause.Expression{clause.Expr{SQL: "authors.name = countries.name"}}}}}}).Pluck("authors.name", &names).Error
		w.wantOpaque(t, "FULL JOIN", err, names)
	})
}

type rClause struct{ name, sql string }

func (c rClause) Name() string                    { return c.name }
func (c rClause) Build(b clause.Builder)          { _, _ = b.WriteString(c.sql) }
func (c rClause) MergeClause(into *clause.Clause) { into.Expression = c }

// bareWhere is a statement of which only the predicate is left.
func bareWhere(h *gorm.DB) *gorm.DB {
	tx := h.Session(&gorm.Session{NewDB: true}).Model(&Author{})
	for _, name := range []string{"SELECT", "FROM"} {
		tx.Statement.Clauses[name] = clause.Clause{Expression: rClause{name, ""}}
	}
	return tx
}

// fakeTable has a column that looks like the tenant's.
func fakeTable(alias string) string { return "(SELECT 'hal'::text AS tenant_id) AS " + alias }

func TestEscape_WritesIntoOtherTenant(t *testing.T) {
	t.Parallel()
	eachWall(t, func(t *testing.T, w walls) {
		id := []clause.Column{{Name: "id"}}
		for name, f := range map[string]func(h *gorm.DB) *gorm.DB{
			"set_expr": func(h *gorm.DB) *gorm.DB {
				return h.Model(&Author{}).Where("id = 2").Update("name", gorm.Expr("'x', tenant_id = 'acme'"))
			},
			"set_raw_column": func(h *gorm.DB) *gorm.DB {
				return h.Model(&Author{}).Where("id = 2").Clauses(clause.Set{{Column: clause.Column{Name: `"tenant_id"`, Raw: true}, Value: "acme"}}).Updates(map[string]any{})
			},
			"set_raw_row": func(h *gorm.DB) *gorm.DB {
				return h.Model(&Author{}).Where("id = 2").Clauses(clause.Set{{Column: clause.Column{Name: "(name, tenant_id)", Raw: true}, Value: gorm.Expr("ROW('x','acme')")}}).Updates(map[string]any{})
			},
			"set_custom_clause": func(h *gorm.DB) *gorm.DB {
				return h.Model(&Author{}).Where("id = 2").Clauses(rClause{"SET", "tenant_id = 'acme'"}).Updates(map[string]any{"name": "x"})
			},
			"values_expr": func(h *gorm.DB) *gorm.DB {
				return h.Model(&Author{}).Create(map[string]any{"email": "e1", "id": 77, "name": gorm.Expr("'planted','acme'), ('e2', 78, 'n2'")})
			},
			"do_update_expr": func(h *gorm.DB) *gorm.DB {
				return h.Clauses(clause.OnConflict{Columns: id, DoUpdates: clause.Assignments(map[string]any{"name": gorm.Expr("'x', tenant_id = 'acme'")})}).Create(&Author{ID: 2, Email: "dave@hal.test"})
			},
			"do_update_raw_column": func(h *gorm.DB) *gorm.DB {
				return h.Clauses(clause.OnConflict{Columns: id, DoUpdates: clause.Set{{Column: clause.Column{Name: "TENANT_ID", Raw: true}, Value: "acme"}}}).Create(&Author{ID: 2, Email: "dave@hal.test"})
			},
			"on_conflict_custom_clause": func(h *gorm.DB) *gorm.DB {
				return h.Clauses(rClause{"ON CONFLICT", "(id) DO UPDATE SET name = excluded.name"}).Create(&Author{ID: 1, Email: "q", Name: "stolen"})
			},
			"on_conflict_custom_where": func(h *gorm.DB) *gorm.DB {
				return h.Clauses(rClause{"ON CONFLICT", "(id) DO UPDATE SET name = excluded.name WHERE true"}).Create(&Author{ID: 1, Email: "q", Name: "stolen"})
			},
			"set_distinct_from": func(h *gorm.DB) *gorm.DB {
				return h.Model(&Author{}).Where("id = 2").Update("name", gorm.Expr("1 IS DISTINCT FROM 2, tenant_id = 'acme'"))
			},
			"do_update_distinct_from": func(h *gorm.DB) *gorm.DB {
				return h.Clauses(clause.OnConflict{Columns: id, DoUpdates: clause.Assignments(map[string]any{
					"name": gorm.Expr("1 IS DISTINCT FROM 2, tenant_id = 'acme'")})}).Create(&Author{ID: 2, Email: "dave@hal.test"})
			},
			"alias_named_set": func(h *gorm.DB) *gorm.DB {
				return h.Table("authors AS set").Where("id = 2").Clauses(clause.Set{{Column: clause.Column{Name: "tenant_id", Raw: true}, Value: "acme"}}).Updates(map[string]any{})
			},
			"update_under_with": func(h *gorm.DB) *gorm.DB {
				return h.Exec("WITH x AS (UPDATE authors SET tenant_id='acme' ?) SELECT 1", bareWhere(h))
			},
			"insert_under_with": func(h *gorm.DB) *gorm.DB {
				return h.Exec("WITH x AS (SELECT 1) INSERT INTO authors (id,email,name,tenant_id) VALUES (9,'p','p','acme') ON CONFLICT (id) DO UPDATE SET name='x' ?", bareWhere(h))
			},
			"update_from_alias": func(h *gorm.DB) *gorm.DB {
				return h.Model(&Author{}).Clauses(rClause{"UPDATE", "UPDATE authors nowait"}, clause.From{Tables: []clause.Table{{Name: fakeTable("authors"), Raw: true}}}).
					Where("true").Update("name", "stolen")
			},
			"do_nothing_target_where": func(h *gorm.DB) *gorm.DB { // held with the audit plugin by a syntax error only
				return h.Clauses(clause.OnConflict{DoNothing: true, Columns: id, TargetWhere: clause.Where{Exprs: []clause.Expression{
					clause.Expr{SQL: "true DO UPDATE SET name = 'stolen' --"}}}}).Create(&Author{ID: 1, Email: "q"})
			},
			"where_e_string": func(h *gorm.DB) *gorm.DB {
				return h.Model(&Author{}).Where("name = E''\n'\\'' ) OR (1=1 --'").Update("name", "stolen")
			},
			"raw_search_set_key": func(h *gorm.DB) *gorm.DB {
				return h.Exec("WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM r WHERE n<2) SEARCH DEPTH FIRST BY n SET key UPDATE authors SET name='stolen'")
			},
			"named_args_rewriter": func(h *gorm.DB) *gorm.DB {
				return h.Model(&Author{}).Where("id > 0 AND @a::text <> @b::text").Updates(map[string]any{"name": pgx.NamedArgs{"a": "stolen", "b": "acme"}})
			},
		} {
			for _, noAudit := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s/noAudit=%t", name, noAudit), func(t *testing.T) {
					t.Parallel()
					b := w.with(t, noAudit, nil, nil)
					seed(t, b)
					before := snapshot(t, b)
					tx := f(b.as(b.hal))
					if after := snapshot(t, b); after != before {
						t.Errorf("error %v; acme's rows are now\n%s", tx.Error, after)
					}
				})
			}
		}
	})
}

func TestEscape_Reads(t *testing.T) {
	t.Parallel()
	eachWall(t, func(t *testing.T, w walls) {
		sub := func(h *gorm.DB) *gorm.DB {
			return h.Session(&gorm.Session{NewDB: true}).Model(&Author{}).Select("name")
		}
		for name, f := range map[string]func(h *gorm.DB) *gorm.DB{
			// lexer and scan of tables
			"e_string_continuation": func(h *gorm.DB) *gorm.DB {
				return h.Model(&Author{}).Select("name").Where("name = E''\n'\\'' ) OR (1=1 --'")
			},
			"as_distinct_from":   func(h *gorm.DB) *gorm.DB { return h.Raw("SELECT name AS distinct FROM authors") },
			"bare_distinct_from": func(h *gorm.DB) *gorm.DB { return h.Raw("SELECT name distinct FROM authors") },
			"select_sub_distinct": func(h *gorm.DB) *gorm.DB {
				return h.Model(&Country{}).Select("(SELECT string_agg(name, ',') AS distinct FROM authors)")
			},
			"using_parenthesis": func(h *gorm.DB) *gorm.DB {
				return h.Raw("DELETE FROM countries USING (authors CROSS JOIN (SELECT 1) x) RETURNING authors.name")
			},
			// what the predicate check accepts
			"alias_update": func(h *gorm.DB) *gorm.DB { return h.Raw("SELECT authors.name FROM (SELECT 1) update, authors") },
			"alias_nowait": func(h *gorm.DB) *gorm.DB {
				return h.Model(&Author{}).Select("nowait.name").Joins("nowait CROSS JOIN " + fakeTable("authors"))
			},
			"alias_kelvin": func(h *gorm.DB) *gorm.DB {
				return h.Table("authors AS \u212Ab").Select("\u212Ab.name").Joins("CROSS JOIN " + fakeTable("kb"))
			},
			"right_in_another_join": func(h *gorm.DB) *gorm.DB {
				return h.Model(&Country{}).Select("authors.name").Clauses(clause.From{Joins: []clause.Join{{Expression: clause.Expr{SQL: "RIGHT"}}, {Table: clause.Table{Name: "authors"}}}})
			},
			"columns_renamed": func(h *gorm.DB) *gorm.DB { return h.Model(&Author{}).Select("*").Joins("AS authors(id,tenant_id,x,y)") },
			"sub_is_not_null": func(h *gorm.DB) *gorm.DB { return h.Table("(? IS NOT NULL) x", sub(h)) },
			"sub_concat":      func(h *gorm.DB) *gorm.DB { return h.Table("(? || '' IS NOT NULL) x", sub(h)) },
			"union_half": func(h *gorm.DB) *gorm.DB {
				return h.Model(&Author{}).Select("name").Joins("UNION SELECT 'x' FROM (SELECT 'hal'::text AS tenant_id) AS authors")
			},
			// arguments that rewrite the text
			"query_rewriter": func(h *gorm.DB) *gorm.DB {
				return h.Model(&Author{}).Select("name, ?::text, @a::text, @b::text", pgx.NamedArgs{"a": "x", "b": "acme"})
			},
			// tables not yet learnt
			"cte_own_body": func(h *gorm.DB) *gorm.DB {
				return h.Raw("WITH r_late AS (SELECT * FROM r_late) SELECT note FROM r_late")
			},
			"cte_qualified": func(h *gorm.DB) *gorm.DB { return h.Raw("WITH r_late AS (SELECT 1) SELECT note FROM public.r_late") },
			// functions that are missing in the list
			"xml": func(h *gorm.DB) *gorm.DB {
				return h.Raw("SELECT schema_to_xml_and_xmlschema('public', true, true, '')::text")
			},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				b := w.with(t, true, nil, nil, "CREATE TABLE r_late (id int, tenant_id text, note text)", "INSERT INTO r_late VALUES (1,'acme','acme late')")
				seed(t, b)
				var rows []map[string]any
				err := f(b.as(b.hal)).Scan(&rows).Error
				if out := fmt.Sprint(rows); strings.Contains(out, "acme author") || strings.Contains(out, "acme late") {
					t.Errorf("error %v; hal read %.300s", err, out)
				}
			})
		}
	})
}

func TestEscape_SettingsAndExecute(t *testing.T) {
	t.Parallel()
	eachWall(t, func(t *testing.T, w walls) {
		b := w.with(t, true, nil, nil)
		seed(t, b)
		_ = b.as(b.hal).Transaction(func(tx *gorm.DB) error {
			if err := tx.Exec("UPDATE pg_settings SET setting='off' WHERE name='standard_conforming_strings'").Error; err != nil {
				return err
			}
			var names []string
			_ = tx.Model(&Author{}).Where(`name = '\'' ) OR (1=1 --'`).Pluck("name", &names).Error
			if len(names) > 1 {
				t.Errorf("pg_settings: hal read %q", names)
			}
			return nil
		})
		before := snapshot(t, b)
		_ = b.as(b.hal).Transaction(func(tx *gorm.DB) error {
			if err := tx.Model(&Author{}).Where("id > 0").Update("name", "own").Error; err != nil {
				return err
			}
			var prepared string
			if err := tx.Raw(`SELECT name FROM pg_prepared_statements WHERE statement LIKE 'UPDATE "authors"%'`).Scan(&prepared).Error; err != nil {
				return err
			}
			return tx.Raw("EXPLAIN ANALYZE EXECUTE " + prepared + "('stolen', 'acme')").Scan(&[]string{}).Error
		})
		if after := snapshot(t, b); after != before {
			t.Errorf("EXPLAIN EXECUTE: acme's rows are now\n%s", after)
		}
	})
}

type RValue struct {
	ID       int64
	TenantID string
	Note     string
}

func (RValue) TableName() string { return "values" }

// The server takes some words that begin clauses as the names of tables.
func TestEscape_TableNamedLikeAKeyword(t *testing.T) {
	t.Parallel()
	eachWall(t, func(t *testing.T, w walls) {
		b := w.with(t, true, []any{&RValue{}}, nil, `CREATE TABLE "values" (id int, tenant_id text, note text)`,
			`INSERT INTO "values" VALUES (1, 'acme', 'acme secret'), (2, 'hal', 'hal note')`)
		for _, sql := range []string{"SELECT note FROM values", "SELECT note FROM countries, values", "TABLE values", "UPDATE values SET note = 'x'", "DELETE FROM values"} {
			var read []map[string]any
			w.wantOpaque(t, sql, b.as(b.hal).Raw(sql).Scan(&read).Error, read)
		}
		if acme := b.text(t, `SELECT note FROM "values" WHERE tenant_id = 'acme'`); acme != "acme secret" {
			t.Errorf("acme's note is now %q", acme)
		}
		if w.all {
			return // hal has deleted its own
		}
		var rows []RValue
		must(t, b.as(b.hal).Find(&rows).Error)
		if len(rows) != 1 || rows[0].Note != "hal note" {
			t.Errorf("found %+v", rows)
		}
	})
}
