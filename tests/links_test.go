package tests

import (
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// compositeKeys are foreign keys that lead with the tenant: the wall against
// links to another tenant's row, which no predicate of a statement sees.
var compositeKeys = []string{
	"ALTER TABLE authors ADD UNIQUE (tenant_id, id)", "ALTER TABLE pages ADD UNIQUE (tenant_id, id)",
	"ALTER TABLE pages DROP CONSTRAINT fk_pages_author, ADD FOREIGN KEY (tenant_id, author_id) REFERENCES authors (tenant_id, id)",
	"ALTER TABLE revisions DROP CONSTRAINT fk_pages_revisions, ADD FOREIGN KEY (tenant_id, page_id) REFERENCES pages (tenant_id, id) ON DELETE CASCADE",
	"CREATE TABLE m_books (id bigint PRIMARY KEY, tenant_id text, UNIQUE (tenant_id, id))",
	"CREATE TABLE m_labels (id bigint PRIMARY KEY, tenant_id text, UNIQUE (tenant_id, id))",
	`CREATE TABLE m_book_labels (m_book_id bigint, m_label_id bigint, tenant_id text NOT NULL, PRIMARY KEY (tenant_id, m_book_id, m_label_id),
		FOREIGN KEY (tenant_id, m_book_id) REFERENCES m_books (tenant_id, id), FOREIGN KEY (tenant_id, m_label_id) REFERENCES m_labels (tenant_id, id))`,
	"INSERT INTO m_books VALUES (1, 'acme'), (2, 'hal')", "INSERT INTO m_labels VALUES (1, 'acme'), (2, 'hal')",
}

// TestLinks_ToOtherTenant tries each way to make a row of hal's refer to one of acme's.
func TestLinks_ToOtherTenant(t *testing.T) {
	t.Parallel()
	for name, link := range map[string]func(h *gorm.DB, s *seeded) error{
		"create": func(h *gorm.DB, s *seeded) error { return h.Create(&Page{AuthorID: &s.author.ID}).Error },
		"create with the row": func(h *gorm.DB, s *seeded) error {
			return h.Create(&Page{Author: &Author{ID: s.author.ID, Email: "x"}}).Error
		},
		"create map": func(h *gorm.DB, s *seeded) error {
			return h.Model(&Page{}).Create(map[string]any{"author_id": s.author.ID}).Error
		},
		"update": func(h *gorm.DB, s *seeded) error { return h.Model(&s.halPage).Update("author_id", s.author.ID).Error },
		"update of all": func(h *gorm.DB, s *seeded) error {
			return h.Model(&Page{}).Where("1 = 1").UpdateColumn("author_id", s.author.ID).Error
		},
		"save": func(h *gorm.DB, s *seeded) error {
			s.halPage.AuthorID, s.halPage.Author = &s.author.ID, nil
			return h.Save(&s.halPage).Error
		},
		"full save": func(h *gorm.DB, s *seeded) error {
			s.halPage.Author = &Author{ID: s.author.ID, Email: "x"}
			return h.Session(&gorm.Session{FullSaveAssociations: true}).Save(&s.halPage).Error
		},
		"upsert": func(h *gorm.DB, s *seeded) error {
			return h.Clauses(clause.OnConflict{UpdateAll: true}).Create(&Page{ID: s.halPage.ID, AuthorID: &s.author.ID}).Error
		},
		"replace belongs-to": func(h *gorm.DB, s *seeded) error {
			return h.Model(&s.halPage).Association("Author").Replace(&Author{ID: s.author.ID, Email: "x"})
		},
		"append to a foreign owner": func(h *gorm.DB, s *seeded) error {
			return h.Model(&Page{ID: s.page.ID}).Association("Revisions").Append(&Revision{Number: 9})
		},
		"append a foreign row": func(h *gorm.DB, s *seeded) error {
			return h.Model(&Page{ID: s.page.ID}).Association("Revisions").Append(&Revision{PageID: s.page.ID, Number: 1})
		},
		"many2many to a foreign row": func(h *gorm.DB, _ *seeded) error {
			return h.Omit("Labels.*").Model(&MBook{ID: 2}).Association("Labels").Append(&MLabel{ID: 1})
		},
		"many2many from a foreign row": func(h *gorm.DB, _ *seeded) error {
			return h.Model(&MBook{ID: 1}).Association("Labels").Append(&MLabel{ID: 2})
		},
		"many2many of a new row": func(h *gorm.DB, _ *seeded) error {
			return h.Omit("Labels.*").Create(&MBook{ID: 3, Labels: []MLabel{{ID: 1}}}).Error
		},
	} {
		for _, noAudit := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/noAudit=%t", name, noAudit), func(t *testing.T) {
				t.Parallel()
				b := withTables(t, noAudit, []any{&MBook{}, &MBookLabel{}}, nil, compositeKeys...)
				s := seed(t, b)
				before := snapshot(t, b)
				var pg *pgconn.PgError
				if err := link(b.as(b.hal), s); !errors.Is(err, gorm.ErrDuplicatedKey) && (!errors.As(err, &pg) || pg.Code != "23503") {
					t.Errorf("%v, want a violation of the foreign key, or ErrDuplicatedKey", err)
				}
				if after := snapshot(t, b); after != before {
					t.Errorf("acme's rows are now\n%s", after)
				}
				if links := b.text(t, "SELECT r::text FROM m_book_labels r"); links != "" {
					t.Errorf("links %s", links)
				}
			})
		}
	}
}

// A row of another tenant's cannot be taken along when one's own goes.
func TestLinks_CascadeStaysInTenant(t *testing.T) {
	t.Parallel()
	b := withTables(t, false, nil, nil, compositeKeys...)
	s := seed(t, b)
	before := snapshot(t, b)
	must(t, b.as(b.hal).Unscoped().Where("1 = 1").Delete(&Page{}).Error)
	must(t, b.as(b.hal).Unscoped().Select(clause.Associations).Delete(&Page{ID: s.page.ID}).Error)
	if after := snapshot(t, b); after != before {
		t.Errorf("acme's rows are now\n%s", after)
	}
	if own := b.text(t, "SELECT text FROM revisions WHERE tenant_id = 'hal'"); own != "" {
		t.Errorf("own revisions %q are left", own)
	}
}
