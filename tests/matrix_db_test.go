package tests

import (
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

type query = func(db *gorm.DB) *gorm.DB

// rooms is a path that ends in finding rooms.
func rooms(path, want string, q query) matrixCase {
	return matrixCase{path: path, want: want, run: func(db *gorm.DB) (any, error) {
		var found []Room
		err := q(db).Order("rooms.id").Find(&found).Error
		return found, err
	}}
}

// into is a path that ends by itself, and reads into a new T.
func into[T any](path, want string, q func(db *gorm.DB, dest *T) *gorm.DB) matrixCase {
	return matrixCase{path: path, want: want, run: func(db *gorm.DB) (any, error) {
		var dest T
		err := q(db, &dest).Error
		return dest, err
	}}
}

// changes is a path that ends in a change, and counts its rows.
func changes(path, want string, q query) matrixCase {
	return matrixCase{path: path, want: want, run: func(db *gorm.DB) (any, error) {
		tx := q(db)
		return tx.RowsAffected, tx.Error
	}}
}

// quiet is a path that ends without a statement.
func quiet(path string, do func(db *gorm.DB) error) matrixCase {
	return matrixCase{path: path, want: nothing, run: func(db *gorm.DB) (any, error) { return nil, do(db) }}
}

var matrixReads = []matrixCase{
	into("Find: slice", filtered, func(db *gorm.DB, r *[]Room) *gorm.DB { return db.Find(r) }),
	into("Find: pointers", filtered, func(db *gorm.DB, r *[]*Room) *gorm.DB { return db.Find(r) }),
	into("Find: struct by foreign key", filtered, func(db *gorm.DB, r *Room) *gorm.DB { return db.Find(r, matrixAcme) }),
	into("Find: maps", filtered, func(db *gorm.DB, r *[]map[string]any) *gorm.DB { return db.Model(&Room{}).Find(r) }),
	into("Find: array", filtered, func(db *gorm.DB, r *[4]Room) *gorm.DB { return db.Find(r) }),
	into("First", filtered, func(db *gorm.DB, r *Room) *gorm.DB { return db.First(r) }),
	into("First: foreign key", filtered, func(db *gorm.DB, r *Room) *gorm.DB { return db.First(r, matrixAcme) }),
	into("Last", filtered, func(db *gorm.DB, r *Room) *gorm.DB { return db.Order("id > 100").Last(r) }),
	into("Take", filtered, func(db *gorm.DB, r *Room) *gorm.DB { return db.Order("id").Take(r) }),
	into("Count", filtered, func(db *gorm.DB, n *int64) *gorm.DB { return db.Model(&Room{}).Count(n) }),
	into("Count: distinct", filtered, func(db *gorm.DB, n *int64) *gorm.DB { return db.Model(&Room{}).Distinct("name").Count(n) }),
	into("Count: grouped", filtered, func(db *gorm.DB, n *int64) *gorm.DB { return db.Model(&Room{}).Group("name").Count(n) }),
	into("Pluck", filtered, func(db *gorm.DB, r *[]string) *gorm.DB { return db.Model(&Room{}).Pluck("name", r) }),
	into("Pluck: table by name", filtered, func(db *gorm.DB, r *[]string) *gorm.DB { return db.Table("rooms").Pluck("name", r) }),
	into("Scan: struct", filtered, func(db *gorm.DB, r *[]struct{ Name string }) *gorm.DB { return db.Model(&Room{}).Scan(r) }),
	into("Scan: aggregate", filtered, func(db *gorm.DB, n *int) *gorm.DB { return db.Model(&Room{}).Select("sum(size)").Scan(n) }),
	into("FirstOrInit", filtered, func(db *gorm.DB, r *Room) *gorm.DB { return db.Where("name = ?", "acme room").FirstOrInit(r) }),
	into("Attrs: FirstOrInit", filtered, func(db *gorm.DB, r *Room) *gorm.DB { return db.Attrs(Room{Size: 7}).FirstOrInit(r, "id = 1") }),
	into("Assign: FirstOrInit", filtered, func(db *gorm.DB, r *Room) *gorm.DB { return db.Assign(Room{Size: 7}).FirstOrInit(r, "id = 1") }),
	rooms("Where: text", filtered, func(db *gorm.DB) *gorm.DB { return db.Where("size = 1") }),
	rooms("Where: map", filtered, func(db *gorm.DB) *gorm.DB { return db.Where(map[string]any{"size": 1}) }),
	rooms("Where: struct", filtered, func(db *gorm.DB) *gorm.DB { return db.Where(&Room{Size: 1}) }),
	rooms("Where: group", filtered, func(db *gorm.DB) *gorm.DB { return db.Where(db.Where("size = 1").Or("1=1")) }),
	rooms("Where: sub-query", filtered, func(db *gorm.DB) *gorm.DB { return db.Where("head_id IN (?)", db.Model(&Person{}).Select("id")) }),
	rooms("Where: sub-query by hand", opaque, func(db *gorm.DB) *gorm.DB { return db.Where("head_id IN (SELECT id FROM people)") }),
	rooms("Where: foreign tenant", filtered, func(db *gorm.DB) *gorm.DB { return db.Where("tenant_id = ?", "acme") }),
	rooms("Where: or by hand", filtered, func(db *gorm.DB) *gorm.DB { return db.Where("size = 9\tor\n1=1") }),
	rooms("Where: parameter numbered by hand", filtered, func(db *gorm.DB) *gorm.DB { return db.Where("size = $1", 1) }),
	rooms("Joins: parameter numbered by hand", opaque, func(db *gorm.DB) *gorm.DB { return db.Joins("Head").Where("rooms.size = $1", 1) }),
	rooms("Where: comment", filtered, func(db *gorm.DB) *gorm.DB { return db.Where("size = 1 --") }),
	rooms("Or", filtered, func(db *gorm.DB) *gorm.DB { return db.Where("size = 9").Or("1=1") }),
	rooms("Or: first", filtered, func(db *gorm.DB) *gorm.DB { return db.Or("1=1") }),
	rooms("Or: struct", filtered, func(db *gorm.DB) *gorm.DB { return db.Where("size = 9").Or(Room{Size: 1}) }),
	rooms("Not", filtered, func(db *gorm.DB) *gorm.DB { return db.Not("size = 9") }),
	rooms("Select: columns", filtered, func(db *gorm.DB) *gorm.DB { return db.Select("id", "name") }),
	rooms("Select: sub-query by hand", opaque, func(db *gorm.DB) *gorm.DB { return db.Select("(SELECT max(name) FROM rooms) AS name") }),
	rooms("Omit", filtered, func(db *gorm.DB) *gorm.DB { return db.Omit("size") }),
	rooms("MapColumns", filtered, func(db *gorm.DB) *gorm.DB { return db.MapColumns(map[string]string{"name": "name"}) }),
	into("Distinct", filtered, func(db *gorm.DB, r *[]string) *gorm.DB { return db.Model(&Room{}).Distinct("name").Find(r) }),
	into("Group", filtered, func(db *gorm.DB, r *[]string) *gorm.DB { return db.Model(&Room{}).Select("name").Group("name").Find(r) }),
	into("Having", filtered, func(db *gorm.DB, r *[]string) *gorm.DB {
		return db.Model(&Room{}).Select("name").Group("name").Having("count(*) > 0 OR 1=1").Find(r)
	}),
	into("Group: union by hand", opaque, func(db *gorm.DB, r *[]Room) *gorm.DB { return db.Group("id UNION SELECT * FROM rooms").Find(r) }),
	rooms("Order", filtered, func(db *gorm.DB) *gorm.DB { return db.Order("name") }),
	rooms("Order: sub-query by hand", opaque, func(db *gorm.DB) *gorm.DB { return db.Order("(SELECT max(name) FROM rooms)") }),
	rooms("Limit", filtered, func(db *gorm.DB) *gorm.DB { return db.Limit(3) }),
	rooms("Offset", filtered, func(db *gorm.DB) *gorm.DB { return db.Offset(1) }),
	rooms("Scopes", filtered, func(db *gorm.DB) *gorm.DB { return db.Scopes(func(tx *gorm.DB) *gorm.DB { return tx.Or("1=1") }) }),
	rooms("Unscoped", filtered, func(db *gorm.DB) *gorm.DB { return db.Unscoped() }),
	rooms("Model: other model", filtered, func(db *gorm.DB) *gorm.DB { return db.Model(&Room{}) }),
	rooms("Table: name", filtered, func(db *gorm.DB) *gorm.DB { return db.Table("rooms") }),
	rooms("Table: with schema", filtered, func(db *gorm.DB) *gorm.DB { return db.Table("public.rooms") }),
	rooms("Table: sub-query", filtered, func(db *gorm.DB) *gorm.DB { return db.Table("(?) AS rooms", db.Model(&Room{})) }),
	rooms("Table: list", opaque, func(db *gorm.DB) *gorm.DB { return db.Table("rooms, people").Select("rooms.*") }),
	into("Table: values in the catalogue", unknown, func(db *gorm.DB, n *[]int) *gorm.DB { return db.Table("pg_stats").Select("1").Find(n) }),
	into("Table: alias", filtered, func(db *gorm.DB, r *[]map[string]any) *gorm.DB { return db.Table("rooms AS x").Find(r) }),
	rooms("Joins: association", filtered, func(db *gorm.DB) *gorm.DB { return db.Joins("Head") }),
	rooms("Joins: nested", filtered, func(db *gorm.DB) *gorm.DB { return db.Joins("Head").Joins("Head.Boss") }),
	rooms("Joins: conditions", filtered, func(db *gorm.DB) *gorm.DB { return db.Joins("Head", db.Where("1=0").Or("1=1")) }),
	rooms("Joins: has one", filtered, func(db *gorm.DB) *gorm.DB { return db.Joins("Badge") }),
	rooms("Joins: by hand", opaque, func(db *gorm.DB) *gorm.DB { return db.Joins("JOIN people ON true") }),
	rooms("InnerJoins: association", filtered, func(db *gorm.DB) *gorm.DB { return db.InnerJoins("Head") }),
	rooms("InnerJoins: by hand", opaque, func(db *gorm.DB) *gorm.DB { return db.InnerJoins("JOIN people ON true") }),
	rooms("Preload: belongs to", filtered, func(db *gorm.DB) *gorm.DB { return db.Preload("Head") }),
	rooms("Preload: nested", filtered, func(db *gorm.DB) *gorm.DB { return db.Preload("Head.Boss") }),
	rooms("Preload: has one", filtered, func(db *gorm.DB) *gorm.DB { return db.Preload("Badge") }),
	rooms("Preload: has many, conditional", filtered, func(db *gorm.DB) *gorm.DB { return db.Preload("Desks", "name <> ?", "x") }),
	rooms("Preload: many to many", filtered, func(db *gorm.DB) *gorm.DB { return db.Preload("Tags") }),
	rooms("Preload: polymorphic", filtered, func(db *gorm.DB) *gorm.DB { return db.Preload("Notes") }),
	rooms("Preload: all", filtered, func(db *gorm.DB) *gorm.DB { return db.Preload(clause.Associations) }),
	rooms("Clauses: locking", filtered, func(db *gorm.DB) *gorm.DB { return db.Clauses(clause.Locking{Strength: "UPDATE"}) }),
	rooms("Session: PrepareStmt", filtered, func(db *gorm.DB) *gorm.DB { return db.Session(&gorm.Session{PrepareStmt: true}) }),
	rooms("Session: SkipHooks", filtered, func(db *gorm.DB) *gorm.DB { return db.Session(&gorm.Session{SkipHooks: true}) }),
	rooms("Session: NewDB", filtered, func(db *gorm.DB) *gorm.DB { return db.Session(&gorm.Session{NewDB: true}) }),
	rooms("Session: QueryFields", filtered, func(db *gorm.DB) *gorm.DB { return db.Session(&gorm.Session{QueryFields: true}) }),
	rooms("Debug", filtered, func(db *gorm.DB) *gorm.DB { return db.Session(&gorm.Session{Logger: silent}).Debug() }),
	rooms("WithContext: the same", filtered, func(db *gorm.DB) *gorm.DB { return db.WithContext(db.Statement.Context) }),
	rooms("WithContext: no tenant", homeless, func(db *gorm.DB) *gorm.DB { return db.WithContext(noTenant) }),
	rooms("Raw: tenant's table", opaque, func(db *gorm.DB) *gorm.DB { return db.Raw("SELECT * FROM rooms") }),
	rooms("Raw: with predicate", opaque, func(db *gorm.DB) *gorm.DB { return db.Raw("SELECT * FROM rooms WHERE tenant_id = 'hal'") }),
}
