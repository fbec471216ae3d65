package replay

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// edge is a case that generated programs do not come to, or seldom.
type edge struct {
	name string
	try  func(t *testing.T, l *lab, db *gorm.DB) error
}

var edges = []edge{
	{"a time before Christ", func(t *testing.T, l *lab, db *gorm.DB) error {
		must(t, db.Model(&Thing{}).Where("id = 1").Update("until", gorm.Expr("'0044-03-15 12:00Z BC'")).Error)
		return l.wantNew(t, "until", `"0044-03-15T12:00:00+00:00 BC"`)
	}},
	{"an upsert that changes the key of the row that it meets", func(t *testing.T, l *lab, db *gorm.DB) error {
		err := db.Clauses(newKey).Create(&Thing{ID: 50, TenantID: tenant, Code: "d"}).Error
		return errors.Join(err, l.wantNew(t, "id", "50"))
	}},
	{"an upsert that leaves a column of its conflict to the default", func(t *testing.T, l *lab, db *gorm.DB) error {
		return errors.Join(byDefault(db, 7), l.wantNew(t, "n", "7"))
	}},
	{"an upsert onto a NULL that is not distinct", func(t *testing.T, l *lab, db *gorm.DB) error {
		must(t, l.Owner.Exec("CREATE UNIQUE INDEX ON slots (tenant_id, text) NULLS NOT DISTINCT").Error)
		err := db.Clauses(clause.OnConflict{Columns: columns("tenant_id", "text"), DoUpdates: clause.AssignmentColumns([]string{"seats"})}).
			Create(&Slot{Room: "new", Number: 1, TenantID: tenant, Seats: 9}).Error
		return errors.Join(err, l.wantNew(t, "seats", "9"))
	}},
	{"an upsert whose conflict is on a generated column", func(t *testing.T, l *lab, db *gorm.DB) error {
		must(t, l.Owner.Exec("CREATE UNIQUE INDEX ON things (tenant_id, shade)").Error)
		err := db.Clauses(clause.OnConflict{Columns: columns("tenant_id", "shade"), DoUpdates: clause.AssignmentColumns([]string{"n"})}).
			Create(&Thing{ID: 9, TenantID: tenant, Code: "a", N: 7}).Error
		return errors.Join(err, l.wantNew(t, "n", "7"))
	}},
	{"an upsert whose key a trigger brings into form", func(t *testing.T, l *lab, db *gorm.DB) error {
		must(t, l.Owner.Exec(`CREATE FUNCTION lower_code() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.code := lower(NEW.code); RETURN NEW; END $$;
			CREATE TRIGGER lower_code BEFORE INSERT ON things FOR EACH ROW EXECUTE FUNCTION lower_code()`).Error)
		err := db.Clauses(clause.OnConflict{Columns: byCode, DoUpdates: clause.AssignmentColumns([]string{"n"})}).
			Create(&Thing{ID: 9, TenantID: tenant, Code: "A", N: 7}).Error
		return errors.Join(err, l.wantNew(t, "n", "7"))
	}},
	{"a column of type timestamptz[]", func(t *testing.T, l *lab, db *gorm.DB) error {
		must(t, l.Owner.AutoMigrate(&calendar{}))
		err := db.Create(&calendar{Times: "{2026-07-01 12:00Z}"}).Error
		return errors.Join(err, l.wantNew(t, "times", `["2026-07-01T12:00:00+00:00"]`))
	}},
	{"a time in a range", func(t *testing.T, l *lab, db *gorm.DB) error {
		must(t, l.Owner.AutoMigrate(&booking{}))
		must(t, db.Create(&booking{During: "[2026-07-01 12:00Z,)"}).Error)
		return l.wantNew(t, "during", `"[\"2026-07-01 12:00:00+00\",)"`)
	}},
	{"a time in a key, in sessions of two zones", func(t *testing.T, l *lab, db *gorm.DB) error {
		must(t, l.Owner.AutoMigrate(&moment{}))
		at := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
		must(t, db.Create(&moment{At: at}).Error)
		must(t, db.Transaction(func(tx *gorm.DB) error {
			return errors.Join(tx.Exec("SET LOCAL timezone = 'Asia/Tokyo'").Error, tx.Delete(&moment{At: at}).Error)
		}))
		return l.wantOneResource(t)
	}},
	// Its text is the session's; that it changed is told.
	{"a float, in a session that shows fewer digits", func(t *testing.T, l *lab, db *gorm.DB) error {
		must(t, db.Model(&Thing{}).Where("id = 1").Update("ratio", 0.3).Error)
		must(t, db.Transaction(func(tx *gorm.DB) error {
			return errors.Join(tx.Exec("SET LOCAL extra_float_digits = 0").Error,
				tx.Model(&Thing{}).Where("id = 1").Update("ratio", gorm.Expr("0.1::float8 + 0.2::float8")).Error)
		}))
		return l.wantNew(t, "ratio", "0.3")
	}},
}

type calendar struct {
	ID       int64
	TenantID string
	Times    string `gorm:"type:timestamptz[]"`
}

type booking struct {
	ID       int64
	TenantID string
	During   string `gorm:"type:tstzrange"`
}

type moment struct {
	At       time.Time `gorm:"primaryKey"`
	TenantID string
}

var newKey = clause.OnConflict{Columns: byCode, DoUpdates: clause.AssignmentColumns([]string{"id", "n"})}

// byDefault is an upsert whose tenant the column's default fills in.
func byDefault(db *gorm.DB, n int) error {
	return db.Model(&Thing{}).Clauses(clause.OnConflict{Columns: byCode, DoUpdates: clause.AssignmentColumns([]string{"n"})}).
		Create(map[string]any{"id": 9, "code": "a", "n": n, "size_width": 0, "note": ""}).Error
}

// wantNew compares the column's last new value in the trail.
func (l *lab) wantNew(t *testing.T, column, want string) error {
	t.Helper()
	entries, err := l.trail()
	must(t, err)
	for _, e := range slices.Backward(entries) {
		if got, ok := e.New[column]; ok {
			if string(got) != want {
				return errors.New(column + " is " + string(got) + " in the trail, want " + want)
			}
			return nil
		}
	}
	return errors.New("no entry tells of " + column)
}

func (l *lab) wantOneResource(t *testing.T) error {
	t.Helper()
	entries, err := l.trail()
	must(t, err)
	var keys []string
	for _, e := range entries {
		if len(keys) == 0 || keys[len(keys)-1] != e.Key {
			keys = append(keys, e.Key)
		}
	}
	if len(keys) != 1 {
		return errors.New("one row has the keys " + strings.Join(keys, " and "))
	}
	return nil
}

func TestEdges(t *testing.T) {
	t.Parallel()
	for _, e := range edges {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			l := alone.open(t)
			must(t, e.try(t, l, l.app.WithContext(l.context(t.Context(), "edge"))))
		})
	}
}
