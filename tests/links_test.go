package tests

import (
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/courtroll/courtroll/internal/pgtest"
)

// linkTables are joined by keys that one tenant's rows could use to refer to
// another's, until Protect has made them: the wall against links to another
// tenant's row, which no predicate of a statement sees.
var linkTables = []string{
	"CREATE TABLE m_books (id bigint PRIMARY KEY, tenant_id text)", "CREATE TABLE m_labels (id bigint PRIMARY KEY, tenant_id text)",
	`CREATE TABLE m_book_labels (m_book_id bigint REFERENCES m_books, m_label_id bigint REFERENCES m_labels, tenant_id text NOT NULL,
		PRIMARY KEY (tenant_id, m_book_id, m_label_id))`,
	"ALTER TABLE revisions DROP CONSTRAINT fk_pages_revisions, ADD CONSTRAINT fk_pages_revisions FOREIGN KEY (page_id) REFERENCES pages ON DELETE CASCADE",
	"INSERT INTO m_books VALUES (1, 'acme'), (2, 'hal')", "INSERT INTO m_labels VALUES (1, 'acme'), (2, 'hal')",
}

var linkModels = []any{&MBook{}, &MLabel{}, &MBookLabel{}}

// linked makes them, with the keys alone or with the policies as well.
func linked(t *testing.T, w walls, noAudit bool) *bundle {
	t.Helper()
	db, r := pgtest.New(t, schema), rulesWith(linkModels, nil)
	must(t, makeTables(db.Owner, db.Roles, linkTables))
	must(t, protect(db.Owner, db.Roles, r))
	if !w.all {
		for _, table := range []string{"pages", "authors", "revisions", "m_books", "m_labels", "m_book_labels", "audit_logs"} {
			must(t, db.Owner.Exec("ALTER TABLE "+table+" NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY").Error)
		}
	}
	return w.open(t, db, r, noAudit)
}

// TestLinks_ToOtherTenant tries each way to make a row of hal's refer to one of acme's.
func TestLinks_ToOtherTenant(t *testing.T) {
	t.Parallel()
	eachWall(t, func(t *testing.T, w walls) {
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
					b := linked(t, w, noAudit)
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
	})
}

// A row of another tenant's cannot be taken along when one's own goes.
func TestLinks_CascadeStaysInTenant(t *testing.T) {
	t.Parallel()
	eachWall(t, func(t *testing.T, w walls) {
		b := linked(t, w, false)
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
	})
}
