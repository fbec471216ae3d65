package migrate_test

import (
	"errors"
	"testing"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/migrate"
)

// Client and Bill are the new version's models of a shop that knew no tenants.
type Client struct {
	ID       int64
	TenantID string `gorm:"not null"`
	Code     string `gorm:"uniqueIndex"`
}

// Bill is a client's. Its number was unique in the whole shop.
type Bill struct {
	ID        int64
	TenantID  string `gorm:"not null"`
	ClientID  *int64
	Client    *Client
	Number    string `gorm:"uniqueIndex:idx_bills_number,where:cents > 0"`
	Cents     int
	DeletedAt gorm.DeletedAt
}

var shopModels = []any{&Client{}, &Bill{}}

// shop has the tables of the old version: no tenant column, a generated column, a
// soft-deleted row, and clients of two tenants, told by their codes.
var shop = pgtest.Template{Name: "shop", Build: func(owner *gorm.DB) error {
	_, err := migrate.New(owner, migrate.Config{}).Up(owner.Statement.Context)
	for _, statement := range []string{
		`CREATE TABLE clients (id bigserial PRIMARY KEY, code text NOT NULL)`,
		`CREATE UNIQUE INDEX idx_clients_code ON clients (code)`,
		`CREATE TABLE bills (id bigserial PRIMARY KEY, client_id bigint CONSTRAINT fk_bills_client REFERENCES clients,
			number text NOT NULL, cents bigint NOT NULL DEFAULT 1, doubled bigint GENERATED ALWAYS AS (cents * 2) STORED, deleted_at timestamptz)`,
		`CREATE UNIQUE INDEX idx_bills_number ON bills (number) WHERE cents > 0`,
		`INSERT INTO clients (code) SELECT CASE n % 2 WHEN 0 THEN 'acme-' ELSE 'globex-' END || n FROM generate_series(1, 20) n`,
		`INSERT INTO bills (client_id, number, deleted_at) SELECT 1 + n % 20, n, CASE WHEN n % 7 = 0 THEN now() END FROM generate_series(1, 2000) n`,
	} {
		err = errors.Join(err, owner.Exec(statement).Error)
	}
	return err
}}

const (
	tenantOfClient = `split_part(code, '-', 1)`
	wrongBills     = `SELECT count(*)::text FROM bills b LEFT JOIN clients c ON c.id = b.client_id WHERE b.tenant_id IS DISTINCT FROM coalesce(split_part(c.code, '-', 1), 'nobody')`
	columnState    = `SELECT format('%s %s', attnotnull, atthasdef) FROM pg_attribute WHERE attrelid = $1::regclass AND attname = 'tenant_id'`
)

func setupShop(t testing.TB) *protected {
	t.Helper()
	db := pgtest.New(t, shop)
	b := &bundle{DB: db, owner: db.Owner, sql: pool(t, db.Owner)}
	return &protected{bundle: b, app: pool(t, db.App), super: &bundle{DB: db, sql: b.connect(t, b.SuperDSN, nil)}}
}

// quick is the pace of tests.
var quick = migrate.Pace{Rest: -1}

func (p *protected) adopter(db *gorm.DB) *migrate.Migrator {
	return migrate.New(db, migrate.Config{AppRole: p.AppRole})
}

// adopt runs Adopt and fails the test if it fails.
func (p *protected) adopt(t testing.TB, model any, a migrate.Adoption) migrate.Adopted {
	t.Helper()
	a.Pace = quick
	done, err := p.adopter(p.owner).Adopt(t.Context(), model, a)
	if err != nil {
		t.Fatalf("Adopt: %v\n%q", err, done.Changed)
	}
	return done
}

// adoptShop adopts both tables.
func (p *protected) adoptShop(t testing.TB) (changed []string) {
	t.Helper()
	clients := p.adopt(t, &Client{}, migrate.Adoption{SQL: tenantOfClient})
	bills := p.adopt(t, &Bill{}, migrate.Adoption{Parent: "Client", Orphans: "nobody"})
	return append(clients.Changed, bills.Changed...)
}
