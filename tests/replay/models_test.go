package replay

import (
	"time"

	"gorm.io/datatypes"
	"gorm.io/gorm"
)

// Thing has a column of each kind and a key that the app chooses, and is
// soft-deleted. The database has a say in four of its columns: Status has a
// default, Shade is generated, and a trigger sets Echo; what it sets is in the
// trail as well.
type Thing struct {
	ID       int64          `gorm:"primaryKey;autoIncrement:false"`
	TenantID string         `gorm:"not null;uniqueIndex:things_code,priority:1"`
	Code     string         `gorm:"not null;uniqueIndex:things_code,priority:2"`
	N        int            `gorm:"not null;check:things_n,n < 100"`
	Size     Size           `gorm:"embedded;embeddedPrefix:size_"`
	Meta     map[string]any `gorm:"serializer:json"`
	Price    Money          `gorm:"type:text"`
	Words    Texts          `gorm:"type:text[]"`
	Numbers  Ints           `gorm:"type:int[]"`
	Doc      datatypes.JSON
	Old      datatypes.JSON `gorm:"type:json"`
	Amount   *string        `gorm:"type:numeric"`
	Ratio    *float64
	Big      *int64
	Blob     []byte
	At       *time.Time
	Until    *string    `gorm:"type:timestamptz"` // which may be infinite, as no time.Time is
	Wall     *time.Time `gorm:"type:timestamp"`
	Day      *datatypes.Date
	Span     *string `gorm:"type:interval"`
	Flag     *bool
	Text     *string
	Note     string `audit:"-"`
	Phone    string `audit:"redact"`
	APIToken *string
	Status   string `gorm:"not null;default:new"`
	Shade    string `gorm:"->;type:text GENERATED ALWAYS AS (code || ':' || status) STORED"`
	Echo     string `gorm:"->;not null;default:''"`
	ParentID *int64
	Parent   *Thing

	CreatedAt time.Time
	UpdatedAt time.Time
	DeletedAt gorm.DeletedAt
}

// Size is embedded.
type Size struct {
	Width  int
	Height *int
}

// Owner has a generated key, and has many of slots and of labels. A trigger
// counts its versions.
type Owner struct {
	ID         int64
	TenantID   string  `gorm:"not null;uniqueIndex:owners_name,priority:1"`
	Name       string  `gorm:"not null;uniqueIndex:owners_name,priority:2"`
	Points     int     `gorm:"not null;check:owners_points,points >= 0"`
	Version    int     `gorm:"->;not null;default:0"`
	Slots      []Slot  // Slot belongs to its owner
	Labels     []Label `gorm:"many2many:owner_labels"`
	UpdatedAt  time.Time
	ModifiedMS int64 `gorm:"autoUpdateTime:milli"`
}

// Slot has a composite key, parts of which change.
type Slot struct {
	Room     string `gorm:"primaryKey"`
	Number   int    `gorm:"primaryKey;autoIncrement:false"`
	TenantID string `gorm:"not null"`
	OwnerID  *int64
	Owner    *Owner
	Text     *string
	Seats    int `gorm:"not null;default:4"`
}

// Label is at the other end of a many2many.
type Label struct {
	ID       int64  `gorm:"primaryKey;autoIncrement:false"`
	TenantID string `gorm:"not null"`
	Word     string `gorm:"not null"`
}

// OwnerLabel is the join model.
type OwnerLabel struct {
	OwnerID  int64  `gorm:"primaryKey;autoIncrement:false"`
	LabelID  int64  `gorm:"primaryKey;autoIncrement:false"`
	TenantID string `gorm:"not null"`
	Weight   int    `gorm:"not null;default:1"`
}

// Ticket gets its key from the database, and tells nobody its secret.
type Ticket struct {
	ID       string `gorm:"type:uuid;default:gen_random_uuid()"`
	TenantID string `gorm:"not null"`
	Title    string `gorm:"not null"`
	Password string `gorm:"not null"`
}

// Trap has columns whose names a statement about the trail might want for itself,
// or that have to be quoted.
type Trap struct {
	ID       int64  `gorm:"primaryKey;autoIncrement:false"`
	TenantID string `gorm:"not null"`
	W        int    `gorm:"column:w"`
	K        int    `gorm:"column:k"`
	Old      *int   `gorm:"column:old"`
	New      *int   `gorm:"column:new"`
	Auto     bool   `gorm:"column:auto"`
	Changes  string `gorm:"column:changes"`
	Order    string `gorm:"column:order"`
	Mixed    string `gorm:"column:MixedCase"`
	Quoted   string `gorm:"column:a \"b\""`
	Foreign  string `gorm:"column:été"`
}

// table is what the test itself knows of a table, apart from the plugin.
type table struct {
	name      string
	keys      []string
	omitted   []string // tagged audit:"-"
	redacted  []string // tagged, or named like a secret
	auto      []string // times of update: alone they are no change
	deletedAt string
}

var tables = []table{ // children first
	{name: "owner_labels", keys: []string{"owner_id", "label_id"}},
	{name: "labels", keys: []string{"id"}},
	{name: "slots", keys: []string{"room", "number"}},
	{name: "owners", keys: []string{"id"}, auto: []string{"updated_at", "modified_ms"}},
	{name: "traps", keys: []string{"id"}},
	{name: "tickets", keys: []string{"id"}, redacted: []string{"password"}},
	{name: "things", keys: []string{"id"}, omitted: []string{"note"}, redacted: []string{"phone", "api_token"},
		auto: []string{"updated_at"}, deletedAt: "deleted_at"},
}

func tableNamed(name string) *table {
	for i := range tables {
		if tables[i].name == name {
			return &tables[i]
		}
	}
	return nil
}
