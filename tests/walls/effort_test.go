package walls

import (
	"errors"
	"testing"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/tenancy"
)

// TestBestEffort: a rollback to the savepoint of a lost event takes the tenant
// back that the server was told, and the next statement tells it again.
func TestBestEffort(t *testing.T) {
	t.Parallel()
	eachForm(t, []form{oursAudited, {"postgres.Open, audited", postgres.Open, true}}, func(t *testing.T, f form) {
		b := f.setup(t)
		must(t, b.Owner.Exec(`ALTER TABLE audit_logs ADD CHECK (action <> 'report.view')`).Error)
		view := audit.Event{Action: "report.view", ResourceType: "reports", BestEffort: true}
		plugin, ok := b.app.Plugins[audit.PluginName].(*audit.Plugin)
		if !ok {
			t.Fatal("no plugin")
		}
		must(t, b.app.WithContext(b.acme).Transaction(func(tx *gorm.DB) error {
			must(t, audit.Record(b.acme, tx, view))
			must(t, tx.Create(&Book{Title: "1"}).Error)
			must(t, audit.Record(b.acme, tx, view))
			must(t, tx.Model(&Book{}).Where("title = ?", "1").Update("copies", 2).Error)
			must(t, audit.Record(b.acme, tx, view))
			if err := audit.Record(b.hal, tx, view); !errors.Is(err, tenancy.ErrTransactionTenant) {
				t.Errorf("another tenant's: %v, want ErrTransactionTenant", err)
			}
			var n int64
			must(t, tx.Model(&Book{}).Where("copies = 2").Count(&n).Error)
			if n != 1 {
				t.Errorf("%d books of the tenant, want 1", n)
			}
			return audit.Record(b.acme, tx, audit.Event{Action: "book.read", ResourceType: "books", BestEffort: true})
		}))
		if plugin.Lost() != 3 {
			t.Errorf("%d lost, want 3", plugin.Lost())
		}
		var actions []string
		must(t, b.super.Table("audit_logs").Where("tenant_id = 'acme'").Order("created_at, id").Pluck("action", &actions).Error)
		if len(actions) != 3 || actions[2] != "book.read" {
			t.Errorf("entries %v, want create, update, book.read", actions)
		}
	})
}
