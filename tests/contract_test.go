package tests

import (
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/migrate"
	"github.com/courtroll/courtroll/models"
	"github.com/courtroll/courtroll/tenancy"
)

// otherProgram makes the two tables as another program might: names of its own
// for the constraints, timestamps of tenants without a time zone, now() in audit_logs.
var otherProgram = pgtest.Template{Name: "other-program", Build: func(owner *gorm.DB) error {
	return owner.Exec(`
		CREATE TABLE tenants (id text CONSTRAINT t_pkey PRIMARY KEY, name text NOT NULL, slug text NOT NULL CONSTRAINT t_slug UNIQUE,
			domain text, logo text, is_active boolean DEFAULT true NOT NULL, plan text DEFAULT 'free' NOT NULL,
			created_at timestamp DEFAULT now() NOT NULL, updated_at timestamp DEFAULT now() NOT NULL);
		CREATE TABLE audit_logs (id uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL, actor_id text, tenant_id text, action text NOT NULL,
			resource_type text NOT NULL, resource_id text, ip_address text, metadata jsonb, created_at timestamptz DEFAULT now() NOT NULL);
		INSERT INTO tenants (id, name, slug) VALUES ('acme', 'Acme', 'acme');
		INSERT INTO audit_logs (tenant_id, action, resource_type) VALUES ('acme', 'user.login', 'user'), (NULL, 'job.run', 'job')`).Error
}}

// TestContract shares the tables with another program.
func TestContract(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t, otherProgram)
	_, err := migrate.New(db.Owner, migrate.Config{}).Up(t.Context())
	must(t, err)
	tokyo := time.FixedZone("Tokyo", 9*60*60)
	app := db.OpenApp(&gorm.Config{NowFunc: func() time.Time { return time.Now().In(tokyo) }})
	use(t, app, tenancy.New(tenancy.Config{Rules: rules}))
	use(t, app, audit.New(audit.Config{Rules: rules}))
	b := newBundle(t, db, app)

	var acme models.Tenant
	must(t, b.as(b.acme).Take(&acme).Error)
	if acme.Name != "Acme" || acme.Domain != nil || acme.Logo != nil || !acme.IsActive || acme.Plan != "free" || acme.CreatedAt.IsZero() {
		t.Errorf("the other program's tenant reads as %+v", acme)
	}
	var entry models.AuditLog
	must(t, b.as(b.acme).Take(&entry).Error)
	if entry.Action != "user.login" || entry.ActorID != nil || entry.Metadata != nil || entry.CreatedAt.IsZero() {
		t.Errorf("the other program's entry reads as %+v", entry)
	}

	hal := models.Tenant{ID: "hal", Name: "Hal", Slug: "hal"}
	must(t, b.as(b.system).Create(&hal).Error)
	must(t, b.as(b.hal).Model(&models.Tenant{}).Where("id = 'hal'").Update("name", "HAL").Error)
	var stored struct {
		Active           bool
		Created, Updated float64 // seconds ago
	}
	must(t, db.Owner.Raw(`SELECT is_active AS active, extract(epoch FROM clock_timestamp() AT TIME ZONE 'UTC' - created_at) AS created,
		extract(epoch FROM clock_timestamp() AT TIME ZONE 'UTC' - updated_at) AS updated FROM tenants WHERE id = 'hal'`).Scan(&stored).Error)
	if stored.Active {
		t.Error("an inactive tenant was stored as active")
	}
	for name, ago := range map[string]float64{"created_at": stored.Created, "updated_at": stored.Updated} {
		if ago < -1 || ago > 60 {
			t.Errorf("%s is %.0f s ago, so it is not UTC", name, ago)
		}
	}
}
