package tests

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/models"
	"github.com/courtroll/courtroll/tenancy"
)

// outOfOrder counts the entries whose old value of a column is not the new value
// of the entry before, in the order of the resource's history.
const outOfOrder = `SELECT count(*) FROM (SELECT metadata->'changes'->@column AS change,
	lag(metadata->'changes'->@column) OVER (PARTITION BY resource_type, resource_id ORDER BY created_at, id) AS previous
	FROM audit_logs WHERE jsonb_exists(metadata->'changes', @column)) e
	WHERE change->'old' IS DISTINCT FROM coalesce(previous->'new', CASE WHEN @seeded THEN change->'old' ELSE 'null' END)`

func (b *bundle) wantOrder(t *testing.T, seeded bool, columns ...string) {
	t.Helper()
	for _, column := range columns {
		var broken int
		must(t, b.super.Raw(outOfOrder, map[string]any{"column": column, "seeded": seeded}).Scan(&broken).Error)
		if broken > 0 {
			t.Errorf("%s: %d entries do not follow on the one before", column, broken)
		}
	}
	if n := b.text(t, `SELECT count(*) FROM (SELECT 1 FROM audit_logs GROUP BY resource_type, resource_id, created_at,
		metadata->'transaction_id' HAVING count(*) > 1) x`); n != "0" {
		t.Errorf("%s times are those of two entries of one resource in one transaction", n)
	}
}

// TestOrder_OneTransaction updates one row as fast as it can.
func TestOrder_OneTransaction(t *testing.T) {
	t.Parallel()
	eachWall(t, func(t *testing.T, w walls) {
		const updates = 500
		b := setupItems(t, w)
		must(t, b.as(b.hal).Transaction(func(tx *gorm.DB) error {
			for i := range updates {
				if err := tx.Model(&TItem{ID: 1}).Update("n", i+1).Error; err != nil {
					return err
				}
			}
			return nil
		}))
		b.wantOrder(t, true, "n")
		trail := b.trail(t)
		if len(trail) != updates {
			t.Fatalf("%d entries, want %d", len(trail), updates)
		}
		for i, e := range trail {
			changed, err := audit.Changes(e)
			must(t, err)
			if got := string(changed["n"].New); got != fmt.Sprint(i+1) {
				t.Fatalf("entry %d is of the update to %s", i, got)
			}
		}
	})
}

// TestOrder_EveryWrite makes and removes one row again and again, in one
// transaction and in many, by every kind of write.
func TestOrder_EveryWrite(t *testing.T) {
	t.Parallel()
	eachWall(t, func(t *testing.T, w walls) {
		b := setupItems(t, w)
		round := func(db *gorm.DB, n int) error {
			return errors.Join(
				db.Create(&TItem{ID: 60, Name: "made", N: n}).Error,
				db.Model(&TItem{ID: 60}).Update("name", "updated").Error,
				db.Clauses(clause.OnConflict{UpdateAll: true}).Create(&TItem{ID: 60, Name: "upserted", N: n + 1}).Error,
				db.Save(&TItem{ID: 60, Name: "saved", N: n + 2}).Error,
				db.Delete(&TItem{ID: 60}).Error,
				db.Clauses(clause.OnConflict{UpdateAll: true}).Create(&TItem{ID: 60, Name: "made by upsert", N: n}).Error,
				db.Where("id >= 60").Delete(&TItem{}).Error,
			)
		}
		for n := range 20 {
			must(t, round(b.as(b.hal), n))
			must(t, b.as(b.hal).Transaction(func(tx *gorm.DB) error {
				return errors.Join(round(tx, n), tx.Transaction(func(tx *gorm.DB) error { return round(tx, n) }), round(tx, n))
			}))
		}
		b.wantOrder(t, false, "id", "name", "tenant_id")
		if n := b.entries(t); n != 20*4*7 {
			t.Errorf("%d entries, want %d", n, 20*4*7)
		}
	})
}

// TestOrder_Concurrent has transactions wait for each other's row: its history is
// in the order in which they had it.
func TestOrder_Concurrent(t *testing.T) {
	t.Parallel()
	eachWall(t, func(t *testing.T, w walls) {
		b := setupItems(t, w)
		must(t, b.super.Exec("TRUNCATE t_items").Error)
		var g errgroup.Group
		for worker := range 6 {
			g.Go(func() error {
				for i := range 30 {
					name := fmt.Sprintf("%d.%d", worker, i)
					err := b.as(b.hal).Transaction(func(tx *gorm.DB) error {
						if err := tx.Clauses(clause.OnConflict{UpdateAll: true}).Create(&TItem{ID: 1, Name: name}).Error; err != nil {
							return err
						}
						if i%4 == 0 {
							return tx.Delete(&TItem{ID: 1}).Error
						}
						return tx.Model(&TItem{ID: 1}).Update("name", name+"'").Error
					})
					// Protect's second unique index is not the one of the conflict: two that insert
					// at once may notice it there first, or wait for each other.
					if err != nil && (!w.all || !errors.Is(err, gorm.ErrDuplicatedKey) && !hasState(err, "40P01")) {
						return err
					}
				}
				return nil
			})
		}
		must(t, g.Wait())
		b.wantOrder(t, false, "name", "id")
	})
}

// TestOrder_Backdated: no way through GORM gives an entry a time of the caller's.
func TestOrder_Backdated(t *testing.T) {
	t.Parallel()
	eachWall(t, func(t *testing.T, w walls) {
		b := setupItems(t, w)
		past := time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)
		hal := b.as(b.hal)
		must(t, hal.Create(&TItem{ID: 60}).Error)
		for name, do := range map[string]func() error{
			"model": func() error {
				return hal.Create(&models.AuditLog{Action: "a.b", ResourceType: "c", CreatedAt: past}).Error
			},
			"new model": func() error {
				return hal.Create(&models.NewAuditLog{Action: "a.b", ResourceType: "c", CreatedAt: &past}).Error
			},
			"batch": func() error {
				return hal.Create(&[]models.NewAuditLog{{Action: "a.b", ResourceType: "c"}, {Action: "a.b", ResourceType: "c", CreatedAt: &past}}).Error
			},
			"map": func() error {
				return hal.Model(&models.AuditLog{}).Create(map[string]any{"action": "a.b", "resource_type": "c", "created_at": past}).Error
			},
			"map of fields": func() error {
				return hal.Model(&models.AuditLog{}).Create(map[string]any{"Action": "a.b", "ResourceType": "c", "CreatedAt": past}).Error
			},
			"expression": func() error {
				return hal.Model(&models.AuditLog{}).Create(map[string]any{"action": "a.b", "resource_type": "c", "created_at": gorm.Expr("now() - interval '1 year'")}).Error
			},
			"table": func() error {
				return hal.Table("audit_logs").Create(map[string]any{"action": "a.b", "resource_type": "c", "created_at": past}).Error
			},
			"own model": func() error { return hal.Create(&backdated{Action: "a.b", ResourceType: "c", When: past}).Error },
			"update":    func() error { return hal.Model(&models.AuditLog{}).Where("1 = 1").Update("created_at", past).Error },
			"update of a column": func() error {
				return hal.Model(&models.AuditLog{}).Where("1 = 1").UpdateColumn("created_at", past).Error
			},
			"save": func() error { e := b.trail(t)[0]; e.CreatedAt = past; return hal.Save(&e).Error },
			"upsert": func() error {
				e := b.trail(t)[0]
				return hal.Clauses(clause.OnConflict{UpdateAll: true}).Create(&e).Error
			},
			"raw": func() error {
				return hal.Exec(`INSERT INTO audit_logs (action, resource_type, created_at) VALUES ('a.b', 'c', ?)`, past).Error
			},
		} {
			err := do()
			if name == "raw" && errors.Is(err, tenancy.ErrOpaqueSQL) {
				continue // the other plugin refuses it first
			}
			if !errors.Is(err, audit.ErrAppendOnly) {
				t.Errorf("%s: got %v, want ErrAppendOnly", name, err)
			}
		}
		// A clock of the app's that is wrong changes nothing.
		tenant := "hal"
		slow := hal.Session(&gorm.Session{NowFunc: func() time.Time { return past }})
		must(t, slow.Model(&TItem{ID: 60}).Update("name", "x").Error)
		must(t, slow.Create(&models.NewAuditLog{Action: "a.b", ResourceType: "c", TenantID: &tenant}).Error)
		if n := b.text(t, `SELECT count(*) FROM audit_logs WHERE created_at < now() - interval '1 hour'`); n != "0" {
			t.Errorf("%s entries are backdated", n)
		}
	})
}

// backdated is a model of the app's own for the trail.
type backdated struct {
	ID                   string `gorm:"default:gen_random_uuid()"`
	Action, ResourceType string
	When                 time.Time `gorm:"column:created_at"`
}

func (backdated) TableName() string { return "audit_logs" }

// hasState reports whether the error is PostgreSQL's of that SQLSTATE.
func hasState(err error, state string) bool {
	var pg interface{ SQLState() string }
	return errors.As(err, &pg) && pg.SQLState() == state
}
