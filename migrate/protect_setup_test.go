package migrate_test

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/migrate"
)

// Shelf has many books; one of its unique indexes is of every form at once.
type Shelf struct {
	ID       uint
	TenantID string `gorm:"not null"`
	Name     string `gorm:"uniqueIndex:idx_shelves_name,expression:lower(name),sort:desc,where:room > 0"`
	Room     int
	Books    []Book `gorm:"constraint:OnDelete:SET NULL"`
}

// Book belongs to a shelf and to itself, and is tied to tags by a join model.
type Book struct {
	ID        uint
	TenantID  string `gorm:"not null;uniqueIndex:idx_books_place"`
	ISBN      string `gorm:"uniqueIndex"`
	Place     int    `gorm:"uniqueIndex:idx_books_place"`
	ShelfID   *uint
	Shelf     *Shelf
	SequelID  *uint
	Sequel    *Book
	Tags      []Tag          `gorm:"many2many:book_tags"`
	DeletedAt gorm.DeletedAt `gorm:"index"`
}

// Tag has a unique index of two columns.
type Tag struct {
	ID       uint
	TenantID string `gorm:"not null"`
	Lang     string `gorm:"uniqueIndex:idx_tags_word"`
	Word     string `gorm:"uniqueIndex:idx_tags_word"`
}

// BookTag is the join model of books and tags.
type BookTag struct {
	BookID   uint   `gorm:"primaryKey"`
	TagID    uint   `gorm:"primaryKey"`
	TenantID string `gorm:"not null"`
}

// Country is shared.
type Country struct {
	Code string `gorm:"primaryKey"`
}

var libraryModels = []any{&Shelf{}, &Book{}, &Tag{}, &BookTag{}}

// library is a database with our tables and those of the models.
var library = pgtest.Template{Name: "library", Build: func(owner *gorm.DB) error {
	_, err := migrate.New(owner, migrate.Config{}).Up(context.Background())
	return errors.Join(err, autoMigrate(owner))
}}

// autoMigrate does what an app does at its start.
func autoMigrate(owner *gorm.DB) error {
	return errors.Join(
		owner.SetupJoinTable(&Book{}, "Tags", &BookTag{}),
		owner.AutoMigrate(append([]any{&Country{}}, libraryModels...)...),
	)
}

// protected is a library with logins for all concerned.
type protected struct {
	*bundle
	super  *bundle
	app    *sql.DB
	system string // the name of the second login, made on demand
}

func setupLibrary(t testing.TB) *protected {
	t.Helper()
	db := pgtest.New(t, library)
	b := &bundle{DB: db, owner: db.Owner, sql: pool(t, db.Owner)}
	if err := b.owner.SetupJoinTable(&Book{}, "Tags", &BookTag{}); err != nil {
		t.Fatal(err)
	}
	p := &protected{bundle: b, app: pool(t, db.App)}
	super := b.connect(t, b.SuperDSN, nil)
	p.super = &bundle{DB: db, sql: super}
	return p
}

// connect opens a pool of a DSN, changed by alter.
func (b *bundle) connect(t testing.TB, dsn string, alter func(*pgx.ConnConfig)) *sql.DB {
	t.Helper()
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	if alter != nil {
		alter(cfg)
	}
	conns := stdlib.OpenDB(*cfg)
	t.Cleanup(func() { conns.Close() })
	return conns
}

// role makes a login for the time of the test. Roles are the whole server's.
func (p *protected) role(t testing.TB, suffix, attributes string) (name string, login *sql.DB) {
	t.Helper()
	name = p.Name + "_" + suffix
	p.super.exec(t, `CREATE ROLE `+name+` LOGIN PASSWORD '`+pgtest.Verifier("test")+`' `+attributes)
	p.dropRole(t, name)
	login = p.connect(t, p.SuperDSN, func(cfg *pgx.ConnConfig) { cfg.User, cfg.Password = name, "test" })
	return name, login
}

// dropRole drops a role when the test ends.
func (p *protected) dropRole(t testing.TB, name string) {
	t.Cleanup(func() {
		db := stdlib.OpenDB(*must(pgx.ParseConfig(p.SuperDSN)))
		defer db.Close()
		for _, statement := range []string{`DROP OWNED BY ` + name + ` CASCADE`, `DROP ROLE ` + name} {
			if _, err := db.Exec(statement); err != nil {
				t.Errorf("%s: %v", statement, err)
			}
		}
	})
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// config is what the app would give.
func (p *protected) config() migrate.Config {
	return migrate.Config{AppRole: p.AppRole, SystemRole: p.system, Rules: migrate.Rules{Shared: []any{&Country{}}}}
}

// protect runs Protect on all models and fails the test if it fails.
func (p *protected) protect(t testing.TB) migrate.Protection {
	t.Helper()
	done, err := migrate.New(p.owner, p.config()).Protect(t.Context(), libraryModels...)
	if err != nil {
		t.Fatalf("Protect: %v", err)
	}
	return done
}

// refuse runs Protect, which has to fail with the error and change nothing.
func (p *protected) refuse(t testing.TB, cfg migrate.Config, want error, models ...any) error {
	t.Helper()
	before := p.everything(t)
	done, err := migrate.New(p.owner, cfg).Protect(t.Context(), models...)
	if !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
	if len(done.Changed) > 0 {
		t.Errorf("got changes besides an error: %q", done.Changed)
	}
	if after := p.everything(t); after != before {
		t.Errorf("the catalogue changed:\n%s", firstDifference(before, after))
	}
	return err
}

// everything is the catalogue with what Protect could have changed besides.
func (p *protected) everything(t testing.TB) string {
	t.Helper()
	return p.catalogue(t) + "\n" + strings.Join(p.lines(t, `
		SELECT format('policy %s %s %s %s', oid, polname, polrelid::regclass, xmin) FROM pg_policy
		UNION ALL SELECT format('comment %s %s %s', objoid, description, xmin) FROM pg_description WHERE description LIKE 'courtroll %'
		UNION ALL SELECT format('acl %s %s %s %s', attrelid, attname, attacl, xmin) FROM pg_attribute WHERE attacl IS NOT NULL
		UNION ALL SELECT format('acl %s %s %s', oid, relacl, xmin) FROM pg_class WHERE relnamespace = 'public'::regnamespace
		UNION ALL SELECT format('acl %s %s %s', oid, proacl, xmin) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
		UNION ALL SELECT format('schema %s %s %s', oid, nspacl, xmin) FROM pg_namespace WHERE nspname = 'public'
		ORDER BY 1`), "\n")
}

// shape is the definition of the tables without oids: what a dump would show.
func (p *protected) shape(t testing.TB) string {
	t.Helper()
	return strings.Join(p.lines(t, `
		SELECT format('table %s %s %s', oid::regclass, relrowsecurity, relforcerowsecurity) FROM pg_class
			WHERE relnamespace::regnamespace::text IN ('public', 'post') AND relkind = 'r'
		UNION ALL SELECT format('index %s %s', indexdef, (SELECT obj_description(format('%I.%I', schemaname, indexname)::regclass)))
			FROM pg_indexes WHERE schemaname IN ('public', 'post')
		UNION ALL SELECT format('constraint %s %s %s %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid), convalidated, obj_description(oid))
			FROM pg_constraint WHERE connamespace::regnamespace::text IN ('public', 'post')
		UNION ALL SELECT format('policy %s %s', polrelid::regclass, polname) FROM pg_policy
		ORDER BY 1`), "\n")
}

func firstDifference(before, after string) string {
	a, b := strings.Split(before, "\n"), strings.Split(after, "\n")
	var list []string
	for _, line := range a {
		if !strings.Contains(after, line) {
			list = append(list, "- "+line)
		}
	}
	for _, line := range b {
		if !strings.Contains(before, line) {
			list = append(list, "+ "+line)
		}
	}
	return strings.Join(list, "\n")
}

// as runs statements in one transaction of a login, with the tenant set if there
// is one, and returns what the last gave: the rows of a query, or the number of
// rows changed.
func as(t testing.TB, login *sql.DB, tenant string, statements ...string) (lines []string, err error) {
	t.Helper()
	tx, err := login.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if tenant != "" {
		if _, err := tx.Exec(`SELECT set_config('courtroll.tenant_id', $1, true)`, tenant); err != nil {
			t.Fatal(err)
		}
	}
	for _, statement := range statements {
		if lines, err = rowsOf(tx, statement); err != nil {
			return nil, err
		}
	}
	return lines, tx.Commit()
}

func rowsOf(tx *sql.Tx, statement string) (lines []string, err error) {
	rows, err := tx.Query(statement)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var line sql.NullString
		if err := rows.Scan(&line); err != nil {
			return nil, err
		}
		lines = append(lines, line.String)
	}
	return lines, rows.Err()
}

// code is the SQLSTATE of an error.
func code(err error) string {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		return pgErr.Code
	}
	return ""
}

// protectOnly runs Protect on some models.
func (p *protected) protectOnly(t testing.TB, models ...any) error {
	t.Helper()
	_, err := migrate.New(p.owner, p.config()).Protect(t.Context(), models...)
	return err
}

// undone demands that a further Protect changes nothing, and that Unprotect gives
// back the tables as they were.
func (p *protected) undone(t testing.TB, before string) {
	t.Helper()
	if again := p.protect(t); len(again.Changed) > 0 {
		t.Errorf("got %q the second time", again.Changed)
	}
	if _, err := migrate.New(p.owner, p.config()).Unprotect(t.Context(), libraryModels...); err != nil {
		t.Fatal(err)
	}
	if after := p.shape(t); after != before {
		t.Error(firstDifference(before, after))
	}
}
