// Package noninterference tests that a tenant in a shared database sees what it
// would see alone in its own: generated programs run for several tenants in one
// database with the plugins, and for each tenant in a database of its own with
// plain GORM, and every result must be the same.
//
// Every key starts with the tenant, or holds values of a range that is one
// tenant's alone: beyond that rule tenants do meet, in ErrDuplicatedKey.
package noninterference

import (
	"context"
	"testing"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/migrate"
	"github.com/courtroll/courtroll/tenancy"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// Team is soft-deleted, refers to itself, and has one or many of all others.
type Team struct {
	ID        int64 `gorm:"primaryKey;autoIncrement:false"`
	TenantID  string
	Name      string
	N         int
	ParentID  *int64
	Parent    *Team
	Badge     *Badge
	Members   []Member
	Tags      []Tag  `gorm:"many2many:team_tags"`
	Notes     []Note `gorm:"polymorphic:Owner"`
	DeletedAt gorm.DeletedAt
}

// Member belongs to a team, and is deleted for good.
type Member struct {
	ID       int64 `gorm:"primaryKey;autoIncrement:false"`
	TenantID string
	Name     string
	N        int
	TeamID   *int64
	Team     *Team
	Notes    []Note `gorm:"polymorphic:Owner"`
}

// Badge has a composite key of which the tenant is a part.
type Badge struct {
	TenantID string `gorm:"primaryKey"`
	TeamID   int64  `gorm:"primaryKey;autoIncrement:false"`
	N        int
}

// Tag is linked to teams by TeamTag.
type Tag struct {
	ID       int64 `gorm:"primaryKey;autoIncrement:false"`
	TenantID string
	Name     string
}

// TeamTag is the join model.
type TeamTag struct {
	TenantID string
	TeamID   int64 `gorm:"primaryKey;autoIncrement:false"`
	TagID    int64 `gorm:"primaryKey;autoIncrement:false"`
}

// Note is anyone's.
type Note struct {
	ID        int64 `gorm:"primaryKey;autoIncrement:false"`
	TenantID  string
	OwnerID   int64
	OwnerType string
	Text      string
}

var tables = []string{"notes", "team_tags", "tags", "badges", "members", "teams"} // children first

var schema = pgtest.Template{Name: "noninterference", Build: func(owner *gorm.DB) error {
	if _, err := migrate.New(owner, migrate.Config{}).Up(context.Background()); err != nil {
		return err
	}
	return owner.Exec(`
		CREATE TABLE teams (id bigint PRIMARY KEY, tenant_id text NOT NULL, name text NOT NULL, n int NOT NULL, parent_id bigint, deleted_at timestamptz,
			UNIQUE (tenant_id, id), UNIQUE (tenant_id, name), FOREIGN KEY (tenant_id, parent_id) REFERENCES teams (tenant_id, id));
		CREATE TABLE members (id bigint PRIMARY KEY, tenant_id text NOT NULL, name text NOT NULL, n int NOT NULL, team_id bigint,
			UNIQUE (tenant_id, name), FOREIGN KEY (tenant_id, team_id) REFERENCES teams (tenant_id, id));
		CREATE TABLE badges (tenant_id text, team_id bigint, n int NOT NULL, PRIMARY KEY (tenant_id, team_id),
			FOREIGN KEY (tenant_id, team_id) REFERENCES teams (tenant_id, id) ON DELETE CASCADE);
		CREATE TABLE tags (id bigint PRIMARY KEY, tenant_id text NOT NULL, name text NOT NULL, UNIQUE (tenant_id, id));
		CREATE TABLE team_tags (tenant_id text, team_id bigint, tag_id bigint, PRIMARY KEY (team_id, tag_id),
			FOREIGN KEY (tenant_id, team_id) REFERENCES teams (tenant_id, id), FOREIGN KEY (tenant_id, tag_id) REFERENCES tags (tenant_id, id));
		CREATE TABLE notes (id bigint PRIMARY KEY, tenant_id text NOT NULL, owner_id bigint NOT NULL, owner_type text NOT NULL, text text NOT NULL)`).Error
}}

var rules = tenancy.Rules{Models: []any{&Team{}, &TeamTag{}}}
