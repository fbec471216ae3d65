package tests

import (
	"errors"
	"testing"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/tenancy"
)

type MBook struct {
	ID       int64
	TenantID string
	Labels   []MLabel `gorm:"many2many:m_book_labels"`
}

type MLabel struct {
	ID       int64
	TenantID string
}

// MBookLabel says of GORM's generated join table, which does not know the
// column, that it is tenant-owned.
type MBookLabel struct {
	MBookID, MLabelID int64  `gorm:"primaryKey"`
	TenantID          string `gorm:"primaryKey"`
}

func (MBookLabel) TableName() string { return "m_book_labels" }

var joinTables = []string{
	"CREATE TABLE m_books (id bigint PRIMARY KEY, tenant_id text)", "CREATE TABLE m_labels (id bigint PRIMARY KEY, tenant_id text)",
	"CREATE TABLE m_book_labels (m_book_id bigint, m_label_id bigint, tenant_id text NOT NULL, PRIMARY KEY (tenant_id, m_book_id, m_label_id))",
	"INSERT INTO m_books VALUES (1, 'acme'), (2, 'hal')", "INSERT INTO m_labels VALUES (1, 'acme'), (2, 'hal')",
	"INSERT INTO m_book_labels VALUES (1, 1, 'acme'), (2, 1, 'acme'), (1, 2, 'acme')",
}

func TestJoinTable_GeneratedModel(t *testing.T) {
	t.Parallel()
	b := walls{}.with(t, false, []any{&MBook{}, &MBookLabel{}}, nil, joinTables...)
	before := b.text(t, "SELECT r::text FROM m_book_labels r WHERE tenant_id = 'acme' ORDER BY 1")
	book := MBook{ID: 2}
	labels := func() *gorm.Association { return b.as(b.hal).Model(&book).Association("Labels") }
	must(t, labels().Append(&MLabel{ID: 2}, &MLabel{ID: 3}))
	if n := labels().Count(); n != 2 {
		t.Errorf("%d labels, want 2", n)
	}
	var found []MBook
	must(t, b.as(b.hal).Preload("Labels").Find(&found).Error)
	if len(found) != 1 || len(found[0].Labels) != 2 {
		t.Errorf("found %+v", found)
	}
	if own := b.text(t, "SELECT r::text FROM m_book_labels r WHERE tenant_id = 'hal' ORDER BY 1"); own != "(2,2,hal); (2,3,hal)" {
		t.Errorf("own links %s", own)
	}
	must(t, labels().Delete(&MLabel{ID: 3}))
	must(t, labels().Replace(&MLabel{ID: 3}))
	must(t, labels().Clear())
	must(t, b.as(b.hal).Select("Labels").Delete(&MBook{ID: 1}).Error) // acme's
	if after := b.text(t, "SELECT r::text FROM m_book_labels r ORDER BY 1"); after != before {
		t.Errorf("links are %s, want %s", after, before)
	}
}

func TestJoinTable_Unclassified(t *testing.T) {
	t.Parallel()
	b := walls{}.with(t, true, nil, nil, joinTables...)
	for name, err := range map[string]error{
		"append":  b.as(b.hal).Model(&MBook{ID: 2}).Association("Labels").Append(&MLabel{ID: 2}),
		"preload": b.as(b.hal).Preload("Labels").Find(&[]MBook{}).Error,
	} {
		if !errors.Is(err, tenancy.ErrUnclassified) {
			t.Errorf("%s: %v, want ErrUnclassified", name, err)
		}
	}
}

type MRoom struct {
	ID       int64
	TenantID string
	Tags     []MTag `gorm:"many2many:m_room_tags"`
}

type MTag struct {
	ID       int64
	TenantID string
}

// MRoomTag is a join model whose rows are deleted softly.
type MRoomTag struct {
	MRoomID, MTagID int64 `gorm:"primaryKey;autoIncrement:false"`
	TenantID        string
	DeletedAt       gorm.DeletedAt
}

func TestJoinTable_SoftDeleted(t *testing.T) {
	t.Parallel()
	for _, audited := range []bool{false, true} {
		b := walls{}.with(t, audited, []any{&MRoom{}, &MRoomTag{}}, nil,
			"CREATE TABLE m_rooms (id bigint PRIMARY KEY, tenant_id text)", "CREATE TABLE m_tags (id bigint PRIMARY KEY, tenant_id text)",
			"CREATE TABLE m_room_tags (m_room_id bigint, m_tag_id bigint, tenant_id text NOT NULL, deleted_at timestamptz, PRIMARY KEY (tenant_id, m_room_id, m_tag_id))",
			"INSERT INTO m_rooms VALUES (1, 'acme'), (2, 'hal')", "INSERT INTO m_tags VALUES (1, 'acme'), (2, 'hal')",
			"INSERT INTO m_room_tags VALUES (1, 1, 'acme'), (2, 1, 'acme'), (1, 2, 'acme')")
		must(t, b.app.SetupJoinTable(&MRoom{}, "Tags", &MRoomTag{}))
		tags := func() *gorm.Association { return b.as(b.hal).Model(&MRoom{ID: 2}).Association("Tags") }
		must(t, tags().Append(&MTag{ID: 2}, &MTag{ID: 3}))
		must(t, tags().Delete(&MTag{ID: 3}))
		var found []MTag
		must(t, tags().Find(&found))
		if n := tags().Count(); n != 1 || len(found) != 1 || found[0].ID != 2 {
			t.Errorf("%d tags, found %+v, want one", n, found)
		}
		if n := b.as(b.hal).Model(&MRoom{ID: 1}).Association("Tags").Count(); n != 0 {
			t.Errorf("%d tags of another tenant's room", n)
		}
		rows := b.text(t, "SELECT concat_ws(' ', m_room_id, m_tag_id, tenant_id, deleted_at IS NULL) FROM m_room_tags ORDER BY 1")
		if want := "1 1 acme t; 1 2 acme t; 2 1 acme t; 2 2 hal t; 2 3 hal f"; rows != want {
			t.Errorf("rows are %s, want %s", rows, want)
		}
	}
}
