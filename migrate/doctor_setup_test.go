package migrate_test

import (
	"database/sql"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/migrate"
	"github.com/courtroll/courtroll/tenancy"
)

// patient is a sound database: a library behind all walls, captured by triggers, its
// trail append-only. All its roles, the owner too, are its own.
type patient struct {
	*protected
	names *strings.Replacer // "{app}" and the like, for the roles' names
	// recaptures has suffers run CaptureByTrigger after each breakage: for those that
	// bring columns.
	recaptures bool
	db         *gorm.DB // the app's handle, with both plugins
}

// patientRoles are the roles by what texts call them.
var patientRoles = []string{"owner", "app", "system", "reports", "retention", "other"}

func newPatient(t testing.TB) *patient {
	t.Helper()
	db := pgtest.New(t, pgtest.Template{})
	super := &bundle{DB: db}
	super.sql = super.connect(t, db.SuperDSN, nil)
	p := &patient{protected: &protected{bundle: &bundle{DB: db}, super: super}}
	logins, pairs := map[string]*sql.DB{}, []string{}
	for _, role := range patientRoles {
		name, login := p.role(t, role, "")
		logins[role], pairs = login, append(pairs, "{"+role+"}", name)
	}
	p.names = strings.NewReplacer(pairs...)
	super.exec(t, p.names.Replace(`ALTER DATABASE `+db.Name+` OWNER TO {owner}; ALTER SCHEMA public OWNER TO {owner}; REVOKE ALL ON SCHEMA public FROM PUBLIC`))
	t.Cleanup(func() {
		if _, err := super.sql.Exec(`ALTER DATABASE ` + db.Name + ` OWNER TO CURRENT_USER`); err != nil {
			t.Error(err)
		}
	})
	super.exec(t, `ALTER DEFAULT PRIVILEGES REVOKE ALL ON TABLES FROM PUBLIC`)
	p.sql, p.app = logins["owner"], logins["app"]
	p.owner = p.Open(postgres.New(postgres.Config{Conn: p.sql}), nil)
	p.db = p.Open(postgres.New(postgres.Config{Conn: p.app}), nil)
	p.prepare(t)
	return p
}

func (p *patient) prepare(t testing.TB) {
	t.Helper()
	p.up(t)
	if err := autoMigrate(p.owner); err != nil {
		t.Fatal(err)
	}
	m := migrate.New(p.owner, p.config())
	if _, err := m.AppendOnly(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Protect(t.Context(), libraryModels...); err != nil {
		t.Fatal(err)
	}
	p.capture(t)
	if err := p.db.SetupJoinTable(&Book{}, "Tags", &BookTag{}); err != nil {
		t.Fatal(err)
	}
	rules := tenancy.Rules{Models: libraryModels, Shared: []any{&Country{}}}
	if err := errors.Join(p.db.Use(tenancy.New(tenancy.Config{Rules: rules, RowLevelSecurity: true})), p.db.Use(audit.New(audit.Config{Rules: rules}))); err != nil {
		t.Fatal(err)
	}
}

func (p *patient) capture(t testing.TB) {
	t.Helper()
	if _, err := migrate.New(p.owner, p.config()).CaptureByTrigger(t.Context(), libraryModels...); err != nil {
		t.Fatal(err)
	}
}

// config is what a careful operator gives.
func (p *patient) config() migrate.Config {
	return migrate.Config{
		AppRole: p.names.Replace("{app}"), SystemRole: p.names.Replace("{system}"), RetentionRole: p.names.Replace("{retention}"),
		TrustedRoles: []string{p.names.Replace("{reports}")}, Rules: migrate.Rules{Shared: []any{&Country{}}},
	}
}

// doctor examines it as the app would.
func (p *patient) doctor(t testing.TB) migrate.Findings {
	t.Helper()
	findings, err := migrate.Doctor(t.Context(), p.db)
	if err != nil {
		t.Fatal(err)
	}
	return findings
}

// ailment breaks one guarantee, by SQL of a superuser's, and is one finding.
type ailment struct {
	name   string
	breaks string // with the roles' names in braces
	code   migrate.Code
	object string // with the roles' names in braces
	// severity is [migrate.SeverityError] if empty.
	severity migrate.Severity
}

// suffers has the patient go through the ailments, one after the other: each is found,
// and alone, for the printed fix has ended the one before.
func (p *patient) suffers(t *testing.T, ailments []ailment) {
	t.Helper()
	if found := p.doctor(t); len(found) > 0 {
		t.Fatalf("found before anything was broken:\n%s", listed(found))
	}
	for _, a := range ailments {
		p.super.exec(t, p.names.Replace(a.breaks))
		if p.recaptures {
			p.capture(t)
		}
		found := p.doctor(t)
		if a.severity == "" {
			a.severity = migrate.SeverityError
		}
		want := []migrate.Finding{{Code: a.code, Severity: a.severity, Object: p.names.Replace(a.object)}}
		got := make([]migrate.Finding, len(found))
		for i, f := range found {
			got[i] = migrate.Finding{Code: f.Code, Severity: f.Severity, Object: f.Object}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("%s: (-want +got)\n%s\n%s", a.name, d, listed(found))
		}
		p.cure(t, found)
	}
	if found := p.doctor(t); len(found) > 0 {
		t.Fatalf("found after the last fix:\n%s", listed(found))
	}
	// Nothing that a fix made passes for altered by hand, or stands in Protect's way.
	if done, err := migrate.New(p.owner, p.config()).Protect(t.Context(), libraryModels...); err != nil || len(done.Drifted) > 0 {
		t.Errorf("Protect after the fixes: %v, drifted %q", err, done.Drifted)
	}
}

// cure runs the fixes as the owner, or as a superuser where the owner may not.
func (p *patient) cure(t testing.TB, found migrate.Findings) {
	t.Helper()
	const denied = "42501"
	for _, f := range found {
		last := f.Fix[strings.LastIndex(f.Fix, "\n")+1:]
		if statement, _, _ := strings.Cut(last, "--"); statement != "" && !strings.HasSuffix(strings.TrimSpace(statement), ";") {
			t.Errorf("the fix of %s has no end, and cannot stand before another: %s", f, f.Fix)
		}
		_, err := p.sql.ExecContext(t.Context(), f.Fix)
		var pg *pgconn.PgError
		if errors.As(err, &pg) && pg.Code == denied {
			_, err = p.super.sql.ExecContext(t.Context(), f.Fix)
		}
		if err != nil {
			t.Fatalf("the fix of %s: %v\n%s", f, err, f.Fix)
		}
	}
}

func listed(found migrate.Findings) string {
	var b strings.Builder
	for _, f := range found {
		b.WriteString(f.String() + "\n\t" + f.Fix + "\n")
	}
	return b.String()
}

func TestDoctor_Sound(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	if found := p.doctor(t); len(found) > 0 {
		t.Errorf("found:\n%s", listed(found))
	}
}
