package tests

import (
	"context"
	"strconv"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/courtroll/courtroll/tenancy"
)

var noTenant = context.Background()

func number(n int64) string { return strconv.FormatInt(n, 10) }

// created is a case that creates something and returns the owner and title of each page that hal has then.
func created(name string, create func(hal *gorm.DB, acme *seeded) error, want ...string) isolationCase {
	return isolationCase{name: name, titles: append([]string{"hal page"}, want...), run: func(hal *gorm.DB, acme *seeded) ([]string, error) {
		if err := create(hal, acme); err != nil {
			return nil, err
		}
		var pages []Page
		err := hal.Order("id").Find(&pages).Error
		return titles(pages), err
	}}
}

var createCases = []isolationCase{
	created("create_struct", func(hal *gorm.DB, _ *seeded) error { return hal.Create(&Page{Title: "n"}).Error }, "n"),
	created("create_own_tenant", func(hal *gorm.DB, _ *seeded) error { return hal.Create(&Page{TenantID: "hal", Title: "n"}).Error }, "n"),
	created("create_slice", func(hal *gorm.DB, _ *seeded) error {
		return hal.Create([]Page{{Title: "n1"}, {Title: "n2"}}).Error
	}, "n1", "n2"),
	created("create_pointers", func(hal *gorm.DB, _ *seeded) error {
		return hal.Create([]*Page{{Title: "n1"}, {Title: "n2"}}).Error
	}, "n1", "n2"),
	created("create_batches", func(hal *gorm.DB, _ *seeded) error {
		return hal.CreateInBatches([]Page{{Title: "n1"}, {Title: "n2"}, {Title: "n3"}}, 2).Error
	}, "n1", "n2", "n3"),
	created("create_map", func(hal *gorm.DB, _ *seeded) error {
		return hal.Model(&Page{}).Create(map[string]any{"title": "n"}).Error
	}, "n"),
	created("create_maps", func(hal *gorm.DB, _ *seeded) error {
		return hal.Model(&Page{}).Create(&[]map[string]any{{"title": "n1"}, {"Title": "n2", "tenant_id": "hal"}}).Error
	}, "n1", "n2"),
	created("create_selected", func(hal *gorm.DB, _ *seeded) error { return hal.Select("Title").Create(&Page{Title: "n"}).Error }, "n"),
	created("create_omitted", func(hal *gorm.DB, _ *seeded) error { return hal.Omit("TenantID").Create(&Page{Title: "n"}).Error }, "n"),
	created("create_nested", func(hal *gorm.DB, _ *seeded) error {
		return hal.Create(&Page{Title: "n", Author: &Author{ID: 9, Email: "e"}, Revisions: []Revision{{Number: 1}}}).Error
	}, "n"),
	created("first_or_create", func(hal *gorm.DB, _ *seeded) error {
		return hal.Where(Page{Title: "acme page"}).FirstOrCreate(&Page{}).Error
	}, "acme page"),
	crossTenant("create_foreign_struct", func(hal *gorm.DB) error { return hal.Create(&Page{TenantID: "acme", Title: "n"}).Error }),
	crossTenant("create_foreign_in_slice", func(hal *gorm.DB) error {
		return hal.Create([]Page{{Title: "n"}, {TenantID: "acme"}}).Error
	}),
	crossTenant("create_foreign_map", func(hal *gorm.DB) error {
		return hal.Model(&Page{}).Create(map[string]any{"title": "n", "tenant_id": "acme"}).Error
	}),
	crossTenant("create_foreign_maps", func(hal *gorm.DB) error {
		return hal.Model(&Page{}).Create(&[]map[string]any{{"title": "n"}, {"TenantID": "acme"}}).Error
	}),
	crossTenant("create_foreign_expression", func(hal *gorm.DB) error {
		return hal.Model(&Page{}).Create(map[string]any{"title": "n", "tenant_id": gorm.Expr("'acme'")}).Error
	}),
	crossTenant("create_foreign_nested", func(hal *gorm.DB) error {
		return hal.Create(&Page{Title: "n", Author: &Author{ID: 9, TenantID: "acme", Email: "e"}}).Error
	}),
}

func crossTenant(name string, create func(hal *gorm.DB) error) isolationCase {
	return isolationCase{name: name, want: tenancy.ErrCrossTenant, run: func(hal *gorm.DB, _ *seeded) ([]string, error) {
		return nil, create(hal)
	}}
}

// affects is a case that changes rows and returns how many.
func affects(name, rows string, change func(hal *gorm.DB, acme *seeded) *gorm.DB) isolationCase {
	return isolationCase{name: name, titles: []string{rows}, run: func(hal *gorm.DB, acme *seeded) ([]string, error) {
		tx := change(hal, acme)
		return []string{number(tx.RowsAffected)}, tx.Error
	}}
}

func fails(name string, want error, change func(hal *gorm.DB, acme *seeded) *gorm.DB) isolationCase {
	return isolationCase{name: name, want: want, run: func(hal *gorm.DB, acme *seeded) ([]string, error) {
		return nil, change(hal, acme).Error
	}}
}

var changeCases = []isolationCase{
	affects("update_foreign_model", "0", func(hal *gorm.DB, acme *seeded) *gorm.DB {
		return hal.Model(&Page{ID: acme.page.ID, TenantID: "acme"}).Update("title", "x")
	}),
	fails("update_foreign_with_children", tenancy.ErrCrossTenant, func(hal *gorm.DB, acme *seeded) *gorm.DB {
		return hal.Model(&acme.page).Update("title", "x")
	}),
	affects("update_foreign_where", "0", func(hal *gorm.DB, acme *seeded) *gorm.DB {
		return hal.Model(&Page{}).Where("id = ?", acme.page.ID).Updates(map[string]any{"title": "x"})
	}),
	affects("update_or", "1", func(hal *gorm.DB, _ *seeded) *gorm.DB {
		return hal.Model(&Page{}).Where("1=0").Or("1=1").Update("title", "x")
	}),
	affects("update_all", "1", func(hal *gorm.DB, _ *seeded) *gorm.DB {
		return hal.Session(&gorm.Session{AllowGlobalUpdate: true}).Model(&Page{}).Update("title", "x")
	}),
	affects("update_columns", "1", func(hal *gorm.DB, _ *seeded) *gorm.DB {
		return hal.Model(&Page{}).Where("1=1").UpdateColumns(map[string]any{"views": gorm.Expr("views + 1")})
	}),
	affects("update_returning", "1", func(hal *gorm.DB, _ *seeded) *gorm.DB {
		return hal.Model(&[]Page{}).Clauses(clause.Returning{}).Where("1=1").Update("title", "x")
	}),
	affects("update_by_struct", "1", func(hal *gorm.DB, acme *seeded) *gorm.DB {
		return hal.Model(&acme.halPage).Updates(Page{Title: "x", TenantID: "hal"})
	}),
	affects("update_sub_query", "1", func(hal *gorm.DB, _ *seeded) *gorm.DB {
		return hal.Model(&Page{}).Where("author_id IN (?)", hal.Model(&Author{}).Select("id")).Update("views", 7)
	}),
	affects("delete_foreign_model", "0", func(hal *gorm.DB, acme *seeded) *gorm.DB { return hal.Delete(&acme.page) }),
	affects("delete_foreign_key", "0", func(hal *gorm.DB, acme *seeded) *gorm.DB { return hal.Delete(&Author{}, acme.author.ID) }),
	affects("delete_or", "1", func(hal *gorm.DB, _ *seeded) *gorm.DB { return hal.Where("1=0").Or("1=1").Delete(&Page{}) }),
	affects("delete_hard", "1", func(hal *gorm.DB, _ *seeded) *gorm.DB { return hal.Unscoped().Where("1=1").Delete(&Revision{}) }),
	affects("delete_all", "1", func(hal *gorm.DB, _ *seeded) *gorm.DB {
		return hal.Session(&gorm.Session{AllowGlobalUpdate: true}).Delete(&Revision{})
	}),
	affects("delete_returning", "1", func(hal *gorm.DB, _ *seeded) *gorm.DB {
		return hal.Clauses(clause.Returning{}).Where("1=1").Delete(&[]Revision{})
	}),
	fails("missing_where_update", gorm.ErrMissingWhereClause, func(hal *gorm.DB, _ *seeded) *gorm.DB {
		return hal.Model(&Author{}).Update("name", "x")
	}),
	fails("missing_where_delete", gorm.ErrMissingWhereClause, func(hal *gorm.DB, _ *seeded) *gorm.DB { return hal.Delete(&Page{}) }),
	fails("missing_where_after_find", gorm.ErrMissingWhereClause, func(hal *gorm.DB, _ *seeded) *gorm.DB {
		tx := hal.Model(&Author{})
		tx.Find(&[]Author{})
		return tx.Update("name", "x")
	}),
	fails("move_to_other_tenant", tenancy.ErrTenantImmutable, func(hal *gorm.DB, acme *seeded) *gorm.DB {
		return hal.Model(&acme.halPage).Update("tenant_id", "acme")
	}),
	fails("move_is_cross_tenant_too", tenancy.ErrCrossTenant, func(hal *gorm.DB, acme *seeded) *gorm.DB {
		return hal.Model(&acme.halPage).Updates(Page{TenantID: "acme"})
	}),
	fails("move_by_expression", tenancy.ErrTenantImmutable, func(hal *gorm.DB, _ *seeded) *gorm.DB {
		return hal.Model(&Page{}).Where("1=1").UpdateColumn("tenant_id", gorm.Expr("'acme'"))
	}),
	fails("move_by_select", tenancy.ErrTenantImmutable, func(hal *gorm.DB, acme *seeded) *gorm.DB {
		page := acme.halPage
		page.TenantID = "acme"
		return hal.Model(&acme.halPage).Select("TenantID").Updates(page)
	}),
	fails("update_raw_select", tenancy.ErrOpaqueSQL, func(hal *gorm.DB, acme *seeded) *gorm.DB {
		return hal.Model(&acme.halPage).Update("title", gorm.Expr("(SELECT max(title) FROM pages)"))
	}),
}

var upsertCases = []isolationCase{
	fails("save_foreign_key", gorm.ErrDuplicatedKey, func(hal *gorm.DB, acme *seeded) *gorm.DB {
		return hal.Save(&Page{ID: acme.page.ID, Title: "stolen"})
	}),
	fails("save_foreign_row", tenancy.ErrCrossTenant, func(hal *gorm.DB, acme *seeded) *gorm.DB {
		page := acme.page
		page.Title = "stolen"
		return hal.Save(&page)
	}),
	fails("save_slice", gorm.ErrDuplicatedKey, func(hal *gorm.DB, acme *seeded) *gorm.DB {
		return hal.Save(&[]Author{{ID: 2, Email: "own"}, {ID: acme.author.ID, Email: "stolen"}})
	}),
	fails("save_without_transaction", gorm.ErrDuplicatedKey, func(hal *gorm.DB, acme *seeded) *gorm.DB {
		return hal.Session(&gorm.Session{SkipDefaultTransaction: true}).Save(&[]Author{{ID: 2, Email: "own"}, {ID: acme.author.ID, Email: "stolen"}})
	}),
	fails("on_conflict_update_all", gorm.ErrDuplicatedKey, func(hal *gorm.DB, acme *seeded) *gorm.DB {
		return hal.Clauses(clause.OnConflict{UpdateAll: true}).Create(&Page{ID: acme.page.ID, Title: "stolen"})
	}),
	fails("on_conflict_do_updates", gorm.ErrDuplicatedKey, func(hal *gorm.DB, _ *seeded) *gorm.DB {
		return hal.Clauses(clause.OnConflict{
			Columns: []clause.Column{{Name: "email"}}, DoUpdates: clause.AssignmentColumns([]string{"name"}),
		}).Create(&Author{ID: 8, Email: "ann@acme.test", Name: "stolen"})
	}),
	fails("on_conflict_where", gorm.ErrDuplicatedKey, func(hal *gorm.DB, acme *seeded) *gorm.DB {
		return hal.Clauses(clause.OnConflict{
			Columns: []clause.Column{{Name: "id"}}, DoUpdates: clause.Assignments(map[string]any{"title": "stolen"}),
			Where: clause.Where{Exprs: []clause.Expression{clause.Or(clause.Expr{SQL: "1=1"}, clause.Expr{SQL: "2=2"})}},
		}).Create(&Page{ID: acme.page.ID})
	}),
	fails("on_conflict_unbalanced_where", tenancy.ErrOpaqueSQL, func(hal *gorm.DB, acme *seeded) *gorm.DB {
		return hal.Clauses(clause.OnConflict{
			Columns: []clause.Column{{Name: "id"}}, DoUpdates: clause.Assignments(map[string]any{"title": "stolen"}),
			Where: clause.Where{Exprs: []clause.Expression{clause.Expr{SQL: "1=1) ELSE true END\tOR\tCASE WHEN 1=0 THEN (true"}}},
		}).Create(&Page{ID: acme.page.ID})
	}),
	fails("on_conflict_moves_row", tenancy.ErrTenantImmutable, func(hal *gorm.DB, acme *seeded) *gorm.DB {
		return hal.Clauses(clause.OnConflict{
			Columns: []clause.Column{{Name: "id"}}, DoUpdates: clause.Assignments(map[string]any{"tenant_id": "acme"}),
		}).Create(&Page{ID: acme.halPage.ID})
	}),
	affects("on_conflict_nothing", "0", func(hal *gorm.DB, acme *seeded) *gorm.DB {
		return hal.Clauses(clause.OnConflict{DoNothing: true}).Create(&Page{ID: acme.page.ID, Title: "stolen"})
	}),
	fails("full_save_associations", gorm.ErrDuplicatedKey, func(hal *gorm.DB, acme *seeded) *gorm.DB {
		return hal.Session(&gorm.Session{FullSaveAssociations: true}).
			Create(&Page{Title: "n", Author: &Author{ID: acme.author.ID, Email: "stolen"}})
	}),
	{name: "association_append_foreign", want: gorm.ErrDuplicatedKey, run: func(hal *gorm.DB, acme *seeded) ([]string, error) {
		return nil, hal.Session(&gorm.Session{FullSaveAssociations: true}).
			Model(&acme.halPage).Association("Author").Append(&Author{ID: acme.author.ID, Email: "stolen"})
	}},
	affects("save_own", "1", func(hal *gorm.DB, acme *seeded) *gorm.DB {
		acme.halPage.Title = "new"
		return hal.Omit(clause.Associations).Save(&acme.halPage)
	}),
	affects("save_own_without_tenant", "1", func(hal *gorm.DB, acme *seeded) *gorm.DB {
		return hal.Save(&Author{ID: acme.halAuthor.ID, Email: "new"})
	}),
	affects("save_new", "1", func(hal *gorm.DB, _ *seeded) *gorm.DB { return hal.Save(&Author{ID: 77, Email: "new"}) }),
	affects("save_slice_own_and_new", "2", func(hal *gorm.DB, acme *seeded) *gorm.DB {
		return hal.Save(&[]Author{{ID: acme.halAuthor.ID, Email: "own"}, {ID: 78, Email: "new"}})
	}),
}
