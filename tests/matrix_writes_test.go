package tests

import (
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/courtroll/courtroll/tenancy"
)

var everywhere = &gorm.Session{AllowGlobalUpdate: true}

var matrixWrites = []matrixCase{
	changes("Create: struct", stamped, func(db *gorm.DB) *gorm.DB { return db.Create(&Room{Name: "n"}) }),
	changes("Create: own tenant", stamped, func(db *gorm.DB) *gorm.DB {
		return db.Create(&Room{TenantID: "hal", Name: "n", Tags: []Tag{{Name: "t"}}})
	}),
	changes("Create: slice", stamped, func(db *gorm.DB) *gorm.DB { return db.Create(&[]Room{{Name: "n"}, {Name: "m"}}) }),
	changes("Create: pointers", stamped, func(db *gorm.DB) *gorm.DB { return db.Create([]*Room{{Name: "n"}, {Name: "m"}}) }),
	changes("Create: map", stamped, func(db *gorm.DB) *gorm.DB { return db.Model(&Room{}).Create(map[string]any{"name": "n"}) }),
	changes("Create: maps", stamped, func(db *gorm.DB) *gorm.DB {
		return db.Model(&Room{}).Create(&[]map[string]any{{"name": "n"}, {"name": "m"}})
	}),
	changes("Create: table by name", stamped, func(db *gorm.DB) *gorm.DB { return db.Table("rooms").Create(map[string]any{"name": "n"}) }),
	changes("Create: selected", stamped, func(db *gorm.DB) *gorm.DB { return db.Select("Name").Create(&Room{Name: "n"}) }),
	changes("Create: tenant omitted", stamped, func(db *gorm.DB) *gorm.DB { return db.Omit("TenantID").Create(&Room{Name: "n"}) }),
	changes("Create: every association", stamped, func(db *gorm.DB) *gorm.DB {
		return db.Create(&Room{Name: "n", Head: &Person{Name: "p", Boss: &Person{Name: "b"}}, Badge: &Badge{}, Desks: []Desk{{}, {}}, Tags: []Tag{{}}, Notes: []Note{{}}})
	}),
	changes("Create: foreign tenant", cross, func(db *gorm.DB) *gorm.DB { return db.Create(&Room{TenantID: "acme"}) }),
	changes("Create: foreign tenant in slice", cross, func(db *gorm.DB) *gorm.DB { return db.Create([]Room{{Name: "n"}, {TenantID: "acme"}}) }),
	changes("Create: foreign tenant in map", cross, func(db *gorm.DB) *gorm.DB { return db.Model(&Room{}).Create(map[string]any{"tenant_id": "acme"}) }),
	changes("Create: foreign tenant by expression", cross, func(db *gorm.DB) *gorm.DB {
		return db.Model(&Room{}).Create(map[string]any{"tenant_id": gorm.Expr("'acme'")})
	}),
	changes("Create: reference to a foreign row", keys, func(db *gorm.DB) *gorm.DB { return db.Create(&Room{Name: "n", HeadID: idRef(matrixAcme)}) }),
	{path: "Clauses: conflict, nothing", want: stamped, run: func(db *gorm.DB) (any, error) {
		return nil, db.Clauses(clause.OnConflict{DoNothing: true}).Create(&[]Room{{ID: matrixAcme, Name: "n"}, {Name: "n"}}).Error
	}},
	changes("Clauses: conflict, update all", duplicated, func(db *gorm.DB) *gorm.DB {
		return db.Clauses(clause.OnConflict{UpdateAll: true}).Create(&Room{ID: matrixAcme})
	}),
	changes("Clauses: conflict, updates", duplicated, func(db *gorm.DB) *gorm.DB {
		return db.Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "id"}}, DoUpdates: clause.AssignmentColumns([]string{"name"})}).Create(&Room{ID: matrixAcme})
	}),
	changes("Clauses: returning", filtered, func(db *gorm.DB) *gorm.DB {
		return db.Model(&[]Room{}).Clauses(clause.Returning{}).Where("1=1").Update("size", 5)
	}),
	changes("CreateInBatches", stamped, func(db *gorm.DB) *gorm.DB { return db.CreateInBatches([]Room{{}, {}, {}}, 2) }),
	changes("Save: new struct", stamped, func(db *gorm.DB) *gorm.DB { return db.Save(&Room{Name: "n"}) }),
	changes("Save: foreign key", duplicated, func(db *gorm.DB) *gorm.DB { return db.Save(&Room{ID: matrixAcme, Name: "n"}) }),
	changes("Save: slice with foreign key", duplicated, func(db *gorm.DB) *gorm.DB { return db.Save(&[]Room{{ID: matrixHal}, {ID: matrixAcme}}) }),
	changes("Save: foreign tenant", immutable, func(db *gorm.DB) *gorm.DB { return db.Save(&Room{ID: matrixAcme, TenantID: "acme"}) }),
	changes("Session: FullSaveAssociations", duplicated, func(db *gorm.DB) *gorm.DB {
		return db.Session(&gorm.Session{FullSaveAssociations: true}).Create(&Room{Head: &Person{ID: matrixAcme, Name: "n"}})
	}),
	changes("FirstOrCreate", both, func(db *gorm.DB) *gorm.DB { return db.Where(Room{Name: "acme room"}).FirstOrCreate(&Room{}) }),
	changes("Attrs: FirstOrCreate", both, func(db *gorm.DB) *gorm.DB {
		return db.Where(Room{Name: "acme room"}).Attrs(Room{Size: 7}).FirstOrCreate(&Room{})
	}),
	changes("Assign: FirstOrCreate", both, func(db *gorm.DB) *gorm.DB {
		return db.Where(Room{Name: "acme room"}).Assign(Room{Size: 7}).FirstOrCreate(&Room{})
	}),
	changes("Update", filtered, func(db *gorm.DB) *gorm.DB { return db.Model(&Room{}).Where("1=1").Update("size", 5) }),
	changes("Update: or", filtered, func(db *gorm.DB) *gorm.DB { return db.Model(&Room{}).Where("1=0").Or("1=1").Update("size", 5) }),
	changes("Update: foreign key", filtered, func(db *gorm.DB) *gorm.DB { return db.Model(&Room{ID: matrixAcme}).Update("size", 5) }),
	changes("Update: expression", filtered, func(db *gorm.DB) *gorm.DB {
		return db.Model(&Room{}).Where("1=1").Update("size", gorm.Expr("size + 1"))
	}),
	changes("Update: sub-query by hand", opaque, func(db *gorm.DB) *gorm.DB {
		return db.Model(&Room{}).Where("1=1").Update("name", gorm.Expr("(SELECT max(name) FROM people)"))
	}),
	changes("Update: tenant column", immutable, func(db *gorm.DB) *gorm.DB { return db.Model(&Room{}).Where("1=1").Update("tenant_id", "acme") }),
	changes("Update: reference to a foreign row", keys, func(db *gorm.DB) *gorm.DB { return db.Model(&Room{ID: matrixHal}).Update("head_id", matrixAcme) }),
	changes("Updates: struct", filtered, func(db *gorm.DB) *gorm.DB { return db.Where("1=1").Updates(&Room{Size: 5}) }),
	changes("Updates: map", filtered, func(db *gorm.DB) *gorm.DB { return db.Model(&Room{}).Where("1=1").Updates(map[string]any{"size": 5}) }),
	changes("Updates: table by name", filtered, func(db *gorm.DB) *gorm.DB { return db.Table("rooms").Where("1=1").Updates(map[string]any{"size": 5}) }),
	changes("UpdateColumn", filtered, func(db *gorm.DB) *gorm.DB { return db.Model(&Room{}).Where("1=1").UpdateColumn("size", 5) }),
	changes("UpdateColumn: tenant by expression", immutable, func(db *gorm.DB) *gorm.DB {
		return db.Model(&Room{}).Where("1=1").UpdateColumn("tenant_id", gorm.Expr("'acme'"))
	}),
	changes("UpdateColumns", filtered, func(db *gorm.DB) *gorm.DB { return db.Model(&Room{}).Where("1=1").UpdateColumns(Room{Size: 5}) }),
	changes("Session: AllowGlobalUpdate, update", filtered, func(db *gorm.DB) *gorm.DB { return db.Session(everywhere).Model(&Room{}).Update("size", 5) }),
	changes("Session: AllowGlobalUpdate, delete", filtered, func(db *gorm.DB) *gorm.DB { return db.Session(everywhere).Delete(&Note{}) }),
	changes("Session: SkipDefaultTransaction", filtered, func(db *gorm.DB) *gorm.DB {
		return db.Session(&gorm.Session{SkipDefaultTransaction: true}).Where("1=1").Delete(&Note{})
	}),
	changes("Delete: condition", filtered, func(db *gorm.DB) *gorm.DB { return db.Delete(&Note{}, "1=0 OR 1=1") }),
	changes("Delete: foreign key", filtered, func(db *gorm.DB) *gorm.DB { return db.Delete(&Note{}, matrixAcme) }),
	changes("Delete: foreign struct", filtered, func(db *gorm.DB) *gorm.DB { return db.Delete(&Note{ID: matrixAcme, TenantID: "acme"}) }),
	changes("Delete: slice", filtered, func(db *gorm.DB) *gorm.DB { return db.Delete(&[]Note{{ID: matrixAcme}, {ID: matrixHal}}) }),
	changes("Delete: returning", filtered, func(db *gorm.DB) *gorm.DB { return db.Clauses(clause.Returning{}).Where("1=1").Delete(&[]Note{}) }),
	changes("Delete: with associations", filtered, func(db *gorm.DB) *gorm.DB { return db.Select(clause.Associations).Delete(&Room{ID: matrixAcme}) }),
	changes("Delete: table by name", filtered, func(db *gorm.DB) *gorm.DB { return db.Table("notes").Where("1=1").Delete(nil) }),
	{path: "Delete: cascade of a foreign key", want: keys, run: func(db *gorm.DB) (any, error) {
		return nil, db.Delete(&Person{}, matrixHal+1).Error
	}, ddl: `ALTER TABLE people DROP CONSTRAINT fk_people_boss, ADD CONSTRAINT fk_people_boss FOREIGN KEY (boss_id) REFERENCES people ON DELETE CASCADE;
		ALTER TABLE rooms DROP CONSTRAINT fk_rooms_head`, before: "UPDATE people SET boss_id = 102 WHERE tenant_id = 'acme' AND boss_id IS NOT NULL"},
	changes("Exec: update", opaque, func(db *gorm.DB) *gorm.DB { return db.Exec("UPDATE rooms SET size = 5") }),
	changes("Exec: insert", opaque, func(db *gorm.DB) *gorm.DB { return db.Exec("INSERT INTO rooms (tenant_id, name) VALUES ('acme', 'n')") }),
	changes("Exec: block", opaque, func(db *gorm.DB) *gorm.DB { return db.Exec("DO $$ BEGIN DELETE FROM notes; END $$") }),
	{path: "Raw: function", want: policies, run: func(db *gorm.DB) (any, error) {
		var names []string
		err := db.Raw("SELECT * FROM note_names()").Scan(&names).Error
		return names, err
	}, ddl: "CREATE FUNCTION note_names() RETURNS SETOF text LANGUAGE sql AS 'SELECT name FROM notes'"},
	{path: "Exec: function", want: policies, run: func(db *gorm.DB) (any, error) {
		return nil, db.Exec("SELECT drop_notes()").Error
	}, ddl: "CREATE FUNCTION drop_notes() RETURNS void LANGUAGE plpgsql AS 'BEGIN DELETE FROM notes; END'"},
	{path: "DB: statement on it", want: policies, run: func(db *gorm.DB) (any, error) {
		pool, err := db.DB()
		if err != nil {
			return nil, err
		}
		var name string
		err = pool.QueryRowContext(db.Statement.Context, "SELECT string_agg(name, ',') FROM rooms").Scan(&name)
		return name, err
	}},
	{path: "Connection", want: filtered, run: func(db *gorm.DB) (any, error) {
		var found []Room
		err := db.Connection(func(tx *gorm.DB) error { return tx.Find(&found).Error })
		return found, err
	}},
	{path: "Connection: by hand", want: opaque, run: func(db *gorm.DB) (any, error) {
		return nil, db.Connection(func(tx *gorm.DB) error { return tx.Exec("DELETE FROM notes").Error })
	}},
	{path: "WithContext: other tenant's sub-query", want: cross, run: func(db *gorm.DB) (any, error) {
		other := db.WithContext(tenancy.WithTenant(noTenant, "acme"))
		return nil, db.Where("head_id IN (?)", other.Model(&Person{}).Select("id")).Find(&[]Room{}).Error
	}},
}

func idRef(id int64) *int64 { return &id }
