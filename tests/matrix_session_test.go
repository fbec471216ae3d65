package tests

import (
	"database/sql"
	"errors"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/tenancy"
)

// steps is a path whose end a function of its own reaches, and which returns rooms.
func steps(path, want string, do func(db *gorm.DB, found *[]Room) error) matrixCase {
	return matrixCase{path: path, want: want, run: func(db *gorm.DB) (any, error) {
		var found []Room
		err := do(db, &found)
		return found, err
	}}
}

var errStop = errors.New("stop")

var matrixSessions = []matrixCase{
	steps("FindInBatches", filtered, func(db *gorm.DB, found *[]Room) error {
		var batch []Room
		return db.FindInBatches(&batch, 1, func(*gorm.DB, int) error { *found = append(*found, batch...); return nil }).Error
	}),
	steps("FindInBatches: query inside", filtered, func(db *gorm.DB, found *[]Room) error {
		return db.FindInBatches(&[]Room{}, 1, func(tx *gorm.DB, _ int) error {
			return tx.Session(&gorm.Session{NewDB: true}).Find(found).Error
		}).Error
	}),
	steps("Rows", filtered, func(db *gorm.DB, found *[]Room) error { return scanRows(db.Model(&Room{}), found) }),
	steps("Rows: by hand", opaque, func(db *gorm.DB, found *[]Room) error { return scanRows(db.Raw("SELECT * FROM rooms"), found) }),
	steps("ScanRows", filtered, func(db *gorm.DB, found *[]Room) error { return scanRows(db.Table("rooms"), found) }),
	{path: "Row", want: filtered, run: func(db *gorm.DB) (any, error) {
		var name string
		err := db.Model(&Room{}).Select("string_agg(name, ',')").Row().Scan(&name)
		return name, err
	}},
	{path: "Row: by hand", want: opaque, run: func(db *gorm.DB) (any, error) {
		var name string
		return nil, db.Raw("SELECT name FROM rooms").Row().Scan(&name)
	}},
	steps("Transaction", filtered, func(db *gorm.DB, found *[]Room) error {
		return db.Transaction(func(tx *gorm.DB) error { return tx.Find(found).Error })
	}),
	steps("Transaction: nested", filtered, func(db *gorm.DB, found *[]Room) error {
		return db.Transaction(func(tx *gorm.DB) error {
			return tx.Transaction(func(inner *gorm.DB) error { return inner.Find(found).Error })
		})
	}),
	steps("Transaction: undone", filtered, func(db *gorm.DB, found *[]Room) error {
		err := db.Transaction(func(tx *gorm.DB) error { return errors.Join(tx.Find(found).Error, errStop) })
		if errors.Is(err, errStop) {
			return nil
		}
		return err
	}),
	steps("Begin", filtered, func(db *gorm.DB, found *[]Room) error {
		tx := db.Begin(&sql.TxOptions{ReadOnly: true})
		defer tx.Rollback()
		return tx.Find(found).Error
	}),
	steps("Commit", both, func(db *gorm.DB, found *[]Room) error {
		tx := db.Begin()
		return errors.Join(tx.Create(&Room{Name: "n"}).Error, tx.Find(found).Error, tx.Commit().Error)
	}),
	steps("Rollback", filtered, func(db *gorm.DB, found *[]Room) error {
		tx := db.Begin()
		return errors.Join(tx.Where("1=1").Delete(&Note{}).Error, tx.Rollback().Error, db.Find(found).Error)
	}),
	steps("SavePoint", filtered, func(db *gorm.DB, found *[]Room) error {
		return db.Transaction(func(tx *gorm.DB) error { return errors.Join(tx.SavePoint("a").Error, tx.Find(found).Error) })
	}),
	steps("RollbackTo", filtered, func(db *gorm.DB, found *[]Room) error {
		return db.Transaction(func(tx *gorm.DB) error {
			return errors.Join(tx.SavePoint("a").Error, tx.Where("1=1").Delete(&Note{}).Error, tx.RollbackTo("a").Error, tx.Find(found).Error)
		})
	}),
	{path: "ToSQL", want: nothing, run: func(db *gorm.DB) (any, error) {
		return db.ToSQL(func(tx *gorm.DB) *gorm.DB { return tx.Find(&[]Room{}) }), nil
	}},
	steps("Session: DryRun", nothing, func(db *gorm.DB, found *[]Room) error {
		return db.Session(&gorm.Session{DryRun: true}).Find(found).Error
	}),
	quiet("DB", func(db *gorm.DB) error { _, err := db.DB(); return err }),
	quiet("AddError", func(db *gorm.DB) error { _ = db.Session(&gorm.Session{}).AddError(errStop); return nil }),
	quiet("Association", func(db *gorm.DB) error { return db.Model(&Room{}).Association("Desks").Error }),
	quiet("Get", func(db *gorm.DB) error { db.Get("a"); return nil }),
	quiet("InstanceGet", func(db *gorm.DB) error { db.InstanceGet("a"); return nil }),
	quiet("Callback", func(db *gorm.DB) error { db.Callback(); return nil }),
	quiet("Use", func(db *gorm.DB) error {
		if db.Use(tenancy.New(tenancy.Config{})) == nil {
			return errors.New("a second plugin was taken")
		}
		return nil
	}),
	quiet("SetupJoinTable", func(db *gorm.DB) error { return db.SetupJoinTable(&Room{}, "Tags", &RoomTag{}) }),
	steps("Set", filtered, func(db *gorm.DB, found *[]Room) error { return db.Set("gorm:query_option", "a").Find(found).Error }),
	steps("InstanceSet", filtered, func(db *gorm.DB, found *[]Room) error { return db.InstanceSet("a", 1).Find(found).Error }),
	{path: "AutoMigrate", want: migrates, run: func(db *gorm.DB) (any, error) { return nil, db.AutoMigrate(&Room{}) }},
	{path: "Migrator", want: migrates, run: func(db *gorm.DB) (any, error) { _, err := db.Migrator().ColumnTypes(&Note{}); return nil, err }},
	quiet("AfterInitialize", func(db *gorm.DB) error { return db.AfterInitialize(nil) }),
	quiet("Apply", func(db *gorm.DB) error { return db.Apply(&gorm.Config{}) }),
	quiet("Name", func(db *gorm.DB) error { db.Name(); return nil }),
	quiet("Explain", func(db *gorm.DB) error { db.Explain("SELECT * FROM rooms"); return nil }),
	quiet("BindVarTo", func(db *gorm.DB) error { db.BindVarTo(db.Statement, db.Statement, 1); return nil }),
	quiet("QuoteTo", func(db *gorm.DB) error { db.QuoteTo(db.Statement, "rooms"); return nil }),
	quiet("DataTypeOf", func(db *gorm.DB) error { return ofNameField(db, true) }),
	quiet("DefaultValueOf", func(db *gorm.DB) error { return ofNameField(db, false) }),
	quiet("Initialize", func(db *gorm.DB) error {
		_, err := gorm.Open(db.Dialector, &gorm.Config{Logger: silent, DisableAutomaticPing: true}) // it calls Initialize
		return err
	}),
}

func ofNameField(db *gorm.DB, dataType bool) error {
	stmt := &gorm.Statement{DB: db}
	if err := stmt.Parse(&Room{}); err != nil {
		return err
	}
	if field := stmt.Schema.LookUpField("Name"); dataType {
		db.DataTypeOf(field)
	} else {
		db.DefaultValueOf(field)
	}
	return nil
}

func scanRows(q *gorm.DB, found *[]Room) error {
	rows, err := q.Rows()
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var room Room
		if err := q.ScanRows(rows, &room); err != nil {
			return err
		}
		*found = append(*found, room)
	}
	return rows.Err()
}
