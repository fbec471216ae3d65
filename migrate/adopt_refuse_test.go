package migrate_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/migrate"
)

// Numbered has a tenant that is a number.
type Numbered struct {
	ID       int64
	TenantID int32
	Number   string
}

// TableName is that of bills.
func (Numbered) TableName() string { return "bills" }

// Forked has a tenant of a type that none can be of.
type Forked struct {
	ID       int64
	TenantID float64
}

// TableName is that of bills.
func (Forked) TableName() string { return "bills" }

// TestAdopt_Refuses changes nothing where it refuses.
func TestAdopt_Refuses(t *testing.T) {
	t.Parallel()
	constant := migrate.Adoption{Constant: "acme"}
	for name, c := range map[string]struct {
		before string
		model  any
		give   migrate.Adoption
		want   error
	}{
		"NoSource":      {want: migrate.ErrAdoption},
		"TwoSources":    {give: migrate.Adoption{Constant: "a", SQL: "number"}, want: migrate.ErrAdoption},
		"OrphansAlone":  {give: migrate.Adoption{Constant: "a", Orphans: "b"}, want: migrate.ErrAdoption},
		"BadConstant":   {model: &Numbered{}, give: constant, want: migrate.ErrTenantValue},
		"TooLarge":      {model: &Numbered{}, give: migrate.Adoption{Constant: "2147483648"}, want: migrate.ErrTenantValue},
		"BlankConstant": {give: migrate.Adoption{Constant: " \t"}, want: migrate.ErrTenantValue},
		"TenantType":    {model: &Forked{}, give: constant, want: migrate.ErrTenantType},
		"NoParent":      {give: migrate.Adoption{Parent: "number"}, want: migrate.ErrNoParent},
		"ParentFirst":   {give: migrate.Adoption{Parent: "Client"}, want: migrate.ErrParentFirst},
		"Generated":     {give: migrate.Adoption{SQL: "'t' || doubled"}, want: migrate.ErrGenerated},
		"Aggregate":     {give: migrate.Adoption{SQL: "max(number)"}},
		"Forced":        {before: `ALTER TABLE bills ENABLE ROW LEVEL SECURITY; ALTER TABLE bills FORCE ROW LEVEL SECURITY`, give: constant, want: migrate.ErrFiltered},
		"Children":      {before: `CREATE TABLE child () INHERITS (bills)`, give: constant, want: migrate.ErrTableKind},
		"TriggerOrder": {before: `CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
			CREATE TRIGGER "~late" BEFORE INSERT ON bills FOR EACH ROW EXECUTE FUNCTION late()`, give: constant, want: migrate.ErrTriggerOrder},
		"Taken":    {before: `CREATE FUNCTION courtroll_adopt_bills() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'`, give: constant, want: migrate.ErrCaptureTaken},
		"NotOwner": {before: `CREATE TABLE mine (id int)`, give: constant, want: migrate.ErrNotOwner},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := setupShop(t)
			if c.before != "" {
				p.exec(t, c.before)
			}
			if c.model == nil {
				c.model = &Bill{}
			}
			handle := p.owner
			if name == "NotOwner" {
				handle = p.DB.App
			}
			before := p.everything(t)
			done, err := p.adopter(handle).Adopt(t.Context(), c.model, c.give)
			if err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if after := p.everything(t); after != before || len(done.Changed) > 0 {
				t.Errorf("it changed %q:\n%s", done.Changed, firstDifference(before, after))
			}
		})
	}
}

// TestAdopt_RowsRefuse stops at rows, without a word of what they hold, and goes on
// when they are corrected.
func TestAdopt_RowsRefuse(t *testing.T) {
	t.Parallel()
	blank := func(_ context.Context, rows []map[string]any) ([]string, error) {
		return make([]string, len(rows)), nil
	}
	parent := migrate.Adoption{Parent: "client_id"}
	for name, c := range map[string]struct {
		before, correct string
		give, again     migrate.Adoption
		want            error
		rows            int64
	}{
		"Orphans": {before: `UPDATE bills SET client_id = NULL WHERE id <= 3`, give: parent, want: migrate.ErrOrphans, rows: 3,
			again: migrate.Adoption{Parent: "client_id", Orphans: "nobody"}},
		"Dangling": {before: `ALTER TABLE bills DROP CONSTRAINT fk_bills_client; UPDATE bills SET client_id = 999 WHERE id <= 2`, give: parent,
			want: migrate.ErrOrphans, rows: 2, correct: `UPDATE bills SET client_id = 1 WHERE client_id = 999`, again: parent},
		"BlankSQL": {before: `UPDATE bills SET number = ' ' WHERE id = 7`, give: migrate.Adoption{SQL: "number"}, want: migrate.ErrTenantValue, rows: 1,
			correct: `UPDATE bills SET number = 'x' WHERE id = 7`, again: migrate.Adoption{SQL: "coalesce('a', number)"}},
		"BlankFunc": {give: migrate.Adoption{Func: blank}, want: migrate.ErrTenantValue, rows: 1, again: migrate.Adoption{Constant: "x"}},
		"OtherTenant": {before: `ALTER TABLE bills ADD tenant_id text; UPDATE bills SET tenant_id = 'secret-tenant' WHERE id = 1`, give: parent,
			want: migrate.ErrRowsViolate, correct: `UPDATE bills SET tenant_id = (SELECT tenant_id FROM clients WHERE id = client_id) WHERE id = 1`, again: parent},
		"Suppressed": {before: `CREATE FUNCTION veto() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
			CREATE TRIGGER veto BEFORE UPDATE ON bills FOR EACH ROW EXECUTE FUNCTION veto()`, give: migrate.Adoption{Constant: "x"}, correct: `DROP TRIGGER veto ON bills`,
			again: migrate.Adoption{Constant: "x"}, want: migrate.ErrNotFilled},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := setupShop(t)
			if c.give.Parent != "" {
				p.adopt(t, &Client{}, migrate.Adoption{SQL: tenantOfClient})
			}
			if name == "Suppressed" {
				p.exec(t, `ALTER TABLE bills ADD tenant_id text`)
			}
			if c.before != "" {
				p.exec(t, c.before)
			}
			c.give.Pace, c.again.Quiet = quick, -1
			done, err := p.adopter(p.owner).Adopt(t.Context(), &Bill{}, c.give)
			if strings.Contains(strings.Join(done.Changed, ""), "courtroll_link") {
				t.Error("a foreign key was added that rows violate")
			}
			var rows *migrate.AdoptError
			if !errors.Is(err, c.want) || c.rows > 0 && (!errors.As(err, &rows) || rows.Rows < c.rows) {
				t.Fatalf("got %v, want %v of %d rows", err, c.want, c.rows)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("%v holds a value", err)
			}
			if c.correct != "" {
				p.exec(t, c.correct)
			}
			p.adopt(t, &Bill{}, c.again)
		})
	}
}

// TestAdopt_StillWritten leaves the app alone while its old version writes rows of
// which only Func knows the tenant.
func TestAdopt_StillWritten(t *testing.T) {
	t.Parallel()
	p := setupShop(t)
	give := migrate.Adoption{Pace: quick, Quiet: -1}
	give.Func = func(_ context.Context, rows []map[string]any) ([]string, error) {
		_, err := p.app.ExecContext(t.Context(), `INSERT INTO bills (number) SELECT gen_random_uuid() FROM generate_series(1, 5)`)
		tenants := make([]string, len(rows))
		for i := range tenants {
			tenants[i] = "acme"
		}
		return tenants, err
	}
	done, err := p.adopter(p.owner).Adopt(t.Context(), &Bill{}, give)
	if !errors.Is(err, migrate.ErrStillWritten) {
		t.Fatalf("got %v", err)
	}
	if changed := strings.Join(done.Changed, "\n"); strings.Contains(changed, "CHECK") || done.Filled < 2000 {
		t.Errorf("got %d rows and %s", done.Filled, changed)
	}
	if _, err := p.app.ExecContext(t.Context(), `INSERT INTO bills (number) VALUES ('late')`); err != nil {
		t.Error(err)
	}
}

// TestAdopt_Bypass takes a table whose row-level security is forced as a role that
// it does not bind.
func TestAdopt_Bypass(t *testing.T) {
	t.Parallel()
	p := setupShop(t)
	p.exec(t, `ALTER TABLE bills ENABLE ROW LEVEL SECURITY`, `ALTER TABLE bills FORCE ROW LEVEL SECURITY`)
	super := p.Open(postgres.Open(p.SuperDSN), &gorm.Config{})
	if _, err := p.adopter(super).Adopt(t.Context(), &Bill{}, migrate.Adoption{Constant: "acme", Pace: quick}); err != nil {
		t.Fatal(err)
	}
}
