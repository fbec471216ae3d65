// Package noninterference tests that a tenant in a shared database sees what it
// would see alone in its own: generated programs run for several tenants in one
// database, behind each wall alone and behind all of them, and for each tenant in
// a database of its own with plain GORM, and every result must be the same.
//
// Every unique key starts with the tenant, as migrate.Protect makes it, or is a
// primary key whose values are of a range that is one tenant's alone: beyond that
// rule tenants do meet, in ErrDuplicatedKey.
package noninterference

import (
	"context"
	"errors"
	"testing"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/migrate"
	"github.com/courtroll/courtroll/tenancy"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// Team is soft-deleted, refers to itself, and has one or many of all others.
type Team struct {
	ID        int64  `gorm:"primaryKey;autoIncrement:false"`
	TenantID  string `gorm:"not null"`
	Name      string `gorm:"not null;uniqueIndex"`
	N         int    `gorm:"not null"`
	ParentID  *int64
	Parent    *Team
	Badge     *Badge `gorm:"constraint:OnDelete:CASCADE"`
	Members   []Member
	Tags      []Tag  `gorm:"many2many:team_tags"`
	Notes     []Note `gorm:"polymorphic:Owner"`
	DeletedAt gorm.DeletedAt
}

// Member belongs to a team, and is deleted for good.
type Member struct {
	ID       int64  `gorm:"primaryKey;autoIncrement:false"`
	TenantID string `gorm:"not null"`
	Name     string `gorm:"not null;uniqueIndex"`
	N        int    `gorm:"not null"`
	TeamID   *int64
	Team     *Team
	Notes    []Note `gorm:"polymorphic:Owner"`
}

// Badge has a composite key of which the tenant is a part.
type Badge struct {
	TenantID string `gorm:"primaryKey"`
	TeamID   int64  `gorm:"primaryKey;autoIncrement:false"`
	N        int    `gorm:"not null"`
}

// Tag is linked to teams by TeamTag.
type Tag struct {
	ID       int64  `gorm:"primaryKey;autoIncrement:false"`
	TenantID string `gorm:"not null"`
	Name     string `gorm:"not null"`
}

// TeamTag is the join model.
type TeamTag struct {
	TenantID string `gorm:"not null"`
	TeamID   int64  `gorm:"primaryKey;autoIncrement:false"`
	TagID    int64  `gorm:"primaryKey;autoIncrement:false"`
}

// Note is anyone's.
type Note struct {
	ID        int64  `gorm:"primaryKey;autoIncrement:false"`
	TenantID  string `gorm:"not null"`
	OwnerID   int64  `gorm:"not null"`
	OwnerType string `gorm:"not null"`
	Text      string `gorm:"not null"`
}

var tables = []string{"notes", "team_tags", "tags", "badges", "members", "teams"} // children first

var rules = tenancy.Rules{Models: []any{&Team{}, &Badge{}, &Member{}, &Tag{}, &TeamTag{}, &Note{}}}

var schema = pgtest.Template{Name: "noninterference", BuildFor: func(owner *gorm.DB, roles pgtest.Roles) error {
	m := migrate.New(owner, migrate.Config{Rules: rules, AppRole: roles.AppRole, SystemRole: roles.SystemRole})
	if _, err := m.Up(context.Background()); err != nil {
		return err
	}
	if err := errors.Join(setupJoin(owner), owner.AutoMigrate(rules.Models...)); err != nil {
		return err
	}
	_, err := m.Protect(context.Background())
	return err
}}

func setupJoin(db *gorm.DB) error { return db.SetupJoinTable(&Team{}, "Tags", &TeamTag{}) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
