package tests

import (
	"errors"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/tenancy"
)

// Room has an association of each kind.
type Room struct {
	ID       int64 `gorm:"primaryKey"`
	TenantID string
	Name     string
	Size     int
	HeadID   *int64
	Head     *Person `gorm:"foreignKey:HeadID"`
	Badge    *Badge
	Desks    []Desk
	Tags     []Tag  `gorm:"many2many:room_tags"`
	Notes    []Note `gorm:"polymorphic:Owner"`
}

// Person refers to its own kind, for nested joins and preloads.
type Person struct {
	ID       int64 `gorm:"primaryKey"`
	TenantID string
	Name     string
	BossID   *int64
	Boss     *Person
}

// Badge is what a room has one of.
type Badge struct {
	ID       int64 `gorm:"primaryKey"`
	TenantID string
	Name     string
	RoomID   *int64
}

// Desk is what a room has many of.
type Desk struct {
	ID       int64 `gorm:"primaryKey"`
	TenantID string
	Name     string
	RoomID   *int64
}

// Tag is shared by many rooms of a tenant.
type Tag struct {
	ID       int64 `gorm:"primaryKey"`
	TenantID string
	Name     string
}

// RoomTag joins rooms and tags.
type RoomTag struct {
	TenantID string
	RoomID   int64 `gorm:"primaryKey;autoIncrement:false"`
	TagID    int64 `gorm:"primaryKey;autoIncrement:false"`
}

// Note belongs to a room, or to what else may have notes.
type Note struct {
	ID        int64 `gorm:"primaryKey"`
	TenantID  string
	Name      string
	OwnerID   *int64
	OwnerType *string
}

var matrixModels = []any{&Room{}, &Person{}, &Badge{}, &Desk{}, &Tag{}, &RoomTag{}, &Note{}}

// matrixTables are the models' tables, referred to before those that refer.
var matrixTables = []string{"people", "rooms", "badges", "desks", "tags", "room_tags", "notes"}

var matrixRules = tenancy.Rules{Models: matrixModels, Shared: []any{&Country{}}}

var matrixSchema = pgtest.Template{Name: "matrix", Build: makeMatrixTables}

func makeMatrixTables(owner *gorm.DB) error {
	if err := owner.SetupJoinTable(&Room{}, "Tags", &RoomTag{}); err != nil {
		return err
	}
	return owner.AutoMigrate(append(matrixModels, &Country{})...)
}

// matrixProtected has the walls of the database as well.
var matrixProtected = pgtest.Template{Name: "matrix, protected", BuildFor: func(owner *gorm.DB, roles pgtest.Roles) error {
	return errors.Join(makeMatrixTables(owner), protect(owner, roles, matrixRules))
}}

// matrixSeed gives a tenant one row of each kind, each with the tenant's name in
// its own, and a second room and person. Where both tenants have rows, a path
// that reaches beyond its own tenant shows it.
const matrixSeed = `
	INSERT INTO people (id, tenant_id, name) VALUES (@id + 1, @tenant, @tenant || ' boss');
	INSERT INTO people (id, tenant_id, name, boss_id) VALUES (@id, @tenant, @tenant || ' head', @id + 1);
	INSERT INTO rooms (id, tenant_id, name, size, head_id) VALUES (@id, @tenant, @tenant || ' room', 1, @id), (@id + 1, @tenant, @tenant || ' hall', 2, NULL);
	INSERT INTO badges (id, tenant_id, name, room_id) VALUES (@id, @tenant, @tenant || ' badge', @id);
	INSERT INTO desks (id, tenant_id, name, room_id) VALUES (@id, @tenant, @tenant || ' desk', @id);
	INSERT INTO tags (id, tenant_id, name) VALUES (@id, @tenant, @tenant || ' tag');
	INSERT INTO room_tags (room_id, tag_id, tenant_id) VALUES (@id, @id, @tenant);
	INSERT INTO notes (id, tenant_id, name, owner_id, owner_type) VALUES (@id, @tenant, @tenant || ' note', @id, 'rooms')`

// The ids that matrixSeed starts from. New rows get ids from matrixNew on.
const (
	matrixAcme = 1
	matrixHal  = 101
	matrixNew  = 1000
)

// matrixCrossed counts the references from a row of one tenant to another's.
const matrixCrossed = `SELECT
	(SELECT count(*) FROM rooms a JOIN people b ON b.id = a.head_id WHERE a.tenant_id <> b.tenant_id) +
	(SELECT count(*) FROM people a JOIN people b ON b.id = a.boss_id WHERE a.tenant_id <> b.tenant_id) +
	(SELECT count(*) FROM badges a JOIN rooms b ON b.id = a.room_id WHERE a.tenant_id <> b.tenant_id) +
	(SELECT count(*) FROM desks a JOIN rooms b ON b.id = a.room_id WHERE a.tenant_id <> b.tenant_id) +
	(SELECT count(*) FROM room_tags a JOIN rooms b ON b.id = a.room_id WHERE a.tenant_id <> b.tenant_id) +
	(SELECT count(*) FROM room_tags a JOIN tags b ON b.id = a.tag_id WHERE a.tenant_id <> b.tenant_id)`
