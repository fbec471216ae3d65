package tests

import (
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/courtroll/courtroll/migrate"
)

// Each case makes changes as hal, in a database where hal has three authors
// (1 to 3) and two pages (1 and 2), and names the trail that they must leave.
// most is how many statements may be sent, BEGIN and COMMIT included.
type auditCase struct {
	name   string
	change func(hal *gorm.DB) error
	want   []string
	most   int
}

var auditCases = []auditCase{
	{"create", func(hal *gorm.DB) error { return hal.Create(&Author{ID: 9, Email: "e", Name: "n"}).Error },
		[]string{`create authors 9: email null→"e", id null→9, name null→"n", tenant_id null→"hal"`}, 3},
	{"create_generated_key", func(hal *gorm.DB) error { return hal.Create(&Page{Title: "n"}).Error },
		[]string{`create pages 3: api_token null→"[redacted]", id null→3, tenant_id null→"hal", title null→"n", views null→0`}, 3},
	{"create_batch", func(hal *gorm.DB) error { return hal.Create([]Author{{ID: 8, Email: "8"}, {ID: 9, Email: "9"}}).Error },
		[]string{`create authors 8: email null→"8", id null→8, name null→"", tenant_id null→"hal"`,
			`create authors 9: email null→"9", id null→9, name null→"", tenant_id null→"hal"`}, 3},
	{"create_map", func(hal *gorm.DB) error {
		return hal.Model(&Author{}).Create(map[string]any{"id": 9, "email": "e"}).Error
	},
		[]string{`create authors 9: email null→"e", id null→9, tenant_id null→"hal"`}, 3},
	{"create_nested", func(hal *gorm.DB) error {
		return hal.Create(&Page{Title: "n", Revisions: []Revision{{Number: 1, Text: "t"}}}).Error
	}, []string{`create pages 3: api_token null→"[redacted]", id null→3, tenant_id null→"hal", title null→"n", views null→0`,
		`create revisions ["hal","3","1"]: number null→1, page_id null→3, tenant_id null→"hal", text null→"t"`}, 5},
	{"update", func(hal *gorm.DB) error { return hal.Model(&Author{ID: 1}).Update("name", "x").Error },
		[]string{`update authors 1: name "one"→"x"`}, 3},
	{"update_map", func(hal *gorm.DB) error {
		return hal.Model(&Author{ID: 1}).Updates(map[string]any{"name": "x", "email": "1@hal"}).Error
	}, []string{`update authors 1: name "one"→"x"`}, 3},
	{"update_columns_skip_hooks", func(hal *gorm.DB) error { return hal.Model(&Author{ID: 1}).UpdateColumn("name", "x").Error },
		[]string{`update authors 1: name "one"→"x"`}, 3},
	{"update_expression", func(hal *gorm.DB) error {
		return hal.Model(&Page{}).Where("1=1").Update("views", gorm.Expr("views * 10 + id")).Error
	}, []string{`update pages 1: views 1→11`, `update pages 2: views 2→22`}, 3},
	{"update_where_own_column", func(hal *gorm.DB) error {
		return hal.Model(&Author{}).Where("name <> 'two'").Update("name", "two").Error
	},
		[]string{`update authors 1: name "one"→"two"`, `update authors 3: name "three"→"two"`}, 3},
	{"update_unchanged", func(hal *gorm.DB) error { return hal.Model(&Author{ID: 1}).Update("name", "one").Error }, nil, 3},
	{"update_only_time", func(hal *gorm.DB) error { return hal.Model(&Page{ID: 1}).Update("title", "p1").Error }, nil, 3},
	{"update_nothing_found", func(hal *gorm.DB) error { return hal.Model(&Author{ID: 77}).Update("name", "x").Error }, nil, 3},
	{"update_returning", func(hal *gorm.DB) error {
		return hal.Model(&[]Author{}).Clauses(clause.Returning{}).Where("id < 3").Update("name", "x").Error
	}, []string{`update authors 1: name "one"→"x"`, `update authors 2: name "two"→"x"`}, 3},
	{"update_key", func(hal *gorm.DB) error { return hal.Model(&Author{}).Where("id = 2").UpdateColumn("id", 70).Error },
		[]string{`update authors 2: id 2→70`}, 3},
	{"update_composite", func(hal *gorm.DB) error {
		return hal.Model(&Revision{}).Where("page_id = 1").Update("text", "x").Error
	}, []string{`update revisions ["hal","1","1"]: text "t"→"x"`}, 3},
	{"update_redacted", func(hal *gorm.DB) error { return hal.Model(&Page{ID: 1}).Update("api_token", "canary").Error },
		[]string{`update pages 1: api_token "[redacted]"→"[redacted]"`}, 3},
	{"update_to_null", func(hal *gorm.DB) error { return hal.Model(&Page{ID: 1}).Update("author_id", nil).Error },
		[]string{`update pages 1: author_id 1→null`}, 3},
	{"update_quoted_text", func(hal *gorm.DB) error {
		return hal.Model(&Author{ID: 1}).Update("name", `'"; RETURNING $1 \ WHERE`).Error
	}, []string{`update authors 1: name "one"→"'\"; RETURNING $1 \\ WHERE"`}, 3},
	{"delete", func(hal *gorm.DB) error { return hal.Delete(&Author{}, []int{2, 3}).Error },
		[]string{`delete authors 2: email "2@hal"→null, id 2→null, name "two"→null, tenant_id "hal"→null`,
			`delete authors 3: email "3@hal"→null, id 3→null, name "three"→null, tenant_id "hal"→null`}, 3},
	{"delete_returning", func(hal *gorm.DB) error {
		return hal.Clauses(clause.Returning{}).Where("id = 3").Delete(&[]Author{}).Error
	}, []string{`delete authors 3: email "3@hal"→null, id 3→null, name "three"→null, tenant_id "hal"→null`}, 3},
	{"soft_delete", func(hal *gorm.DB) error { return hal.Where("1=1").Delete(&Page{}).Error },
		[]string{`soft_delete pages 1:`, `soft_delete pages 2:`}, 3},
	{"soft_delete_and_restore", func(hal *gorm.DB) error {
		if err := hal.Delete(&Page{ID: 2}).Error; err != nil {
			return err
		}
		return hal.Unscoped().Model(&Page{ID: 2}).Update("deleted_at", nil).Error
	}, []string{`soft_delete pages 2:`, `restore pages 2:`}, 6},
	{"hard_delete", func(hal *gorm.DB) error { return hal.Unscoped().Delete(&Page{ID: 2}).Error },
		[]string{`delete pages 2: api_token "[redacted]"→null, id 2→null, tenant_id "hal"→null, title "p2"→null, views 2→null`}, 3},
	{"save_existing", func(hal *gorm.DB) error { return hal.Save(&Author{ID: 1, Email: "1@hal", Name: "x"}).Error },
		[]string{`update authors 1: name "one"→"x"`}, 3},
	{"save_new", func(hal *gorm.DB) error { return hal.Save(&Author{ID: 9, Email: "e"}).Error },
		[]string{`create authors 9: email null→"e", id null→9, name null→"", tenant_id null→"hal"`}, 7},
	{"save_slice", func(hal *gorm.DB) error {
		return hal.Save(&[]Author{{ID: 1, Email: "1@hal", Name: "x"}, {ID: 2, Email: "2@hal", Name: "two"}, {ID: 9, Email: "e"}}).Error
	}, []string{`update authors 1: name "one"→"x"`,
		`create authors 9: email null→"e", id null→9, name null→"", tenant_id null→"hal"`}, 4},
	{"upsert_unique", func(hal *gorm.DB) error {
		return hal.Clauses(clause.OnConflict{
			Columns: []clause.Column{{Name: "email"}}, DoUpdates: clause.AssignmentColumns([]string{"name"}),
		}).Create(&[]Author{{ID: 8, Email: "1@hal", Name: "x"}, {ID: 9, Email: "e"}}).Error
	}, []string{`update authors 1: name "one"→"x"`,
		`create authors 9: email null→"e", id null→9, name null→"", tenant_id null→"hal"`}, 4},
	{"upsert_nothing", func(hal *gorm.DB) error {
		return hal.Clauses(clause.OnConflict{DoNothing: true}).Create(&[]Author{{ID: 1, Email: "z"}, {ID: 9, Email: "e"}}).Error
	}, []string{`create authors 9: email null→"e", id null→9, name null→"", tenant_id null→"hal"`}, 3},
	{"first_or_create", func(hal *gorm.DB) error {
		if err := hal.Where("id = 1").FirstOrCreate(&Author{}).Error; err != nil {
			return err
		}
		return hal.Where(Author{ID: 9}).Assign(Author{Email: "e"}).FirstOrCreate(&Author{}).Error
	}, []string{`create authors 9: email null→"e", id null→9, name null→"", tenant_id null→"hal"`}, 5},
	{"association_append", func(hal *gorm.DB) error {
		return hal.Model(&Page{ID: 1}).Association("Revisions").Append(&Revision{Number: 2, Text: "u"})
	}, []string{`create revisions ["hal","1","2"]: number null→2, page_id null→1, tenant_id null→"hal", text null→"u"`}, 8},
	{"shared_table", func(hal *gorm.DB) error { return hal.Create(&Country{Code: "no", Name: "Norway"}).Error },
		[]string{`create countries no: code null→"no", name null→"Norway"`}, 3},
}

func seedAuthors(t *testing.T, b *bundle) {
	t.Helper()
	one := int64(1)
	must(t, b.as(b.hal).Create([]Author{
		{ID: 1, Email: "1@hal", Name: "one"}, {ID: 2, Email: "2@hal", Name: "two"}, {ID: 3, Email: "3@hal", Name: "three"},
	}).Error)
	must(t, b.as(b.hal).Create([]*Page{
		{Title: "p1", Views: 1, AuthorID: &one, Revisions: []Revision{{Number: 1, Text: "t"}}}, {Title: "p2", Views: 2},
	}).Error)
	must(t, b.as(b.hal).Create(&Country{Code: "xx"}).Error) // the catalogue is read by then
	b.forget(t)
}

// captured is the mode in which triggers capture the tables, too: they must add
// nothing to what the plugin has recorded.
const captured = "captured"

func TestTrail(t *testing.T) {
	t.Parallel()
	for _, tc := range auditCases {
		for mode, session := range map[string]*gorm.Session{
			"":                         {},
			"skip_default_transaction": {SkipDefaultTransaction: true},
			"prepared":                 {PrepareStmt: true},
			captured:                   {},
		} {
			t.Run(tc.name+"/"+mode, func(t *testing.T) {
				t.Parallel()
				b := setup(t)
				seedAuthors(t, b)
				if mode == captured {
					_, err := migrate.New(b.Owner, migrate.Config{Rules: rules}).CaptureByTrigger(t.Context(), &Author{}, &Page{}, &Revision{}, &Country{})
					must(t, err)
				}
				sent := recordSQL(b.app)
				must(t, tc.change(b.as(b.hal).Session(session)))
				if log := sent.take(); len(log) > tc.most {
					t.Errorf("sent %d statements, at most %d expected: %q", len(log), tc.most, log)
				}
				b.wantTrail(t, tc.want...)
			})
		}
	}
}
