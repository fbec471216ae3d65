package replay

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/migrate"
	"github.com/courtroll/courtroll/tenancy"
)

// tenant is whose all rows are. That tenants are kept apart is tested elsewhere.
const tenant = "acme"

var rules = tenancy.Rules{Models: []any{&Thing{}, &Owner{}, &Slot{}, &Label{}, &OwnerLabel{}, &Ticket{}, &Trap{}}}

// plain and protected are the databases of the two forms.
var (
	plain     = pgtest.Template{Name: "replay", BuildFor: func(owner *gorm.DB, roles pgtest.Roles) error { return build(owner, roles, false) }}
	protected = pgtest.Template{Name: "replay protected", BuildFor: func(owner *gorm.DB, roles pgtest.Roles) error { return build(owner, roles, true) }}
)

func build(owner *gorm.DB, roles pgtest.Roles, protect bool) error {
	m := migrate.New(owner, migrate.Config{Rules: rules, AppRole: roles.AppRole, SystemRole: roles.SystemRole})
	if _, err := m.Up(context.Background()); err != nil {
		return err
	}
	if err := errors.Join(setupJoin(owner), owner.AutoMigrate(rules.Models...)); err != nil {
		return err
	}
	if protect {
		if _, err := m.Protect(context.Background()); err != nil {
			return err
		}
	}
	return owner.Exec(quietText() + shadowText(roles.AppRole)).Error
}

func setupJoin(db *gorm.DB) error { return db.SetupJoinTable(&Owner{}, "Labels", &OwnerLabel{}) }

// quietText makes what changes columns beside the statement. The join rows that
// GORM makes itself get their tenant without the plugin, too.
func quietText() string {
	return `
		CREATE FUNCTION set_echo() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.echo := NEW.code || NEW.n / 2; RETURN NEW; END $$;
		CREATE TRIGGER echo BEFORE INSERT OR UPDATE ON things FOR EACH ROW EXECUTE FUNCTION set_echo();
		CREATE FUNCTION count_versions() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.version := OLD.version + 1; RETURN NEW; END $$;
		CREATE TRIGGER version BEFORE UPDATE ON owners FOR EACH ROW EXECUTE FUNCTION count_versions();
		ALTER TABLE owner_labels ALTER tenant_id SET DEFAULT '` + tenant + `';
		CREATE UNIQUE INDEX ON traps (tenant_id, w) WHERE auto;
		ALTER TABLE things ALTER tenant_id SET DEFAULT '` + tenant + `';
	`
}

// shadowText makes the oracle: a trigger that writes down every version of every
// row, in UTC. What is rolled back takes its lines with it, and since a line is
// written while the row is locked, the lines of a row are in the order of its
// versions.
func shadowText(appRole string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `
		CREATE SCHEMA oracle;
		CREATE TABLE oracle.shadow (seq bigserial PRIMARY KEY, tbl text, old jsonb, new jsonb, xid text);
		GRANT USAGE ON SCHEMA oracle TO %[1]s;
		GRANT INSERT ON oracle.shadow TO %[1]s;
		GRANT USAGE ON SEQUENCE oracle.shadow_seq_seq TO %[1]s;
		CREATE FUNCTION oracle.note() RETURNS trigger LANGUAGE plpgsql SET timezone = 'UTC' AS $$ BEGIN
			INSERT INTO oracle.shadow (tbl, old, new, xid) VALUES (TG_TABLE_NAME, CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END,
				CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END, pg_current_xact_id()::text);
			RETURN NULL;
		END $$;`, appRole)
	for _, t := range tables {
		fmt.Fprintf(&b, `CREATE TRIGGER zz_shadow AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION oracle.note();`, t.name)
	}
	return b.String()
}

// resetText empties everything and puts the same few rows in, without a trace in
// the shadow: a replay begins with these.
func resetText() string {
	text := "SET LOCAL session_replication_role = replica; DELETE FROM audit_logs; DELETE FROM oracle.shadow; ALTER SEQUENCE owners_id_seq RESTART WITH 4; "
	for _, t := range tables {
		text += "DELETE FROM " + t.name + "; "
	}
	for _, row := range []string{
		"things (id, tenant_id, code, n, size_width, api_token, words, amount, at) VALUES (1, 'acme', 'a', 1, 1, 't', '{a}', 1.0, '2026-07-01 12:00Z'), (2, 'acme', 'b', 2, 0, NULL, NULL, NULL, NULL)",
		"things (id, tenant_id, code, n, size_width, parent_id, deleted_at) VALUES (3, 'acme', 'c', 3, 0, 1, NULL), (4, 'acme', 'd', 4, 0, NULL, '2026-01-01 00:00Z')",
		"owners (id, tenant_id, name, points, modified_ms) VALUES (1, 'acme', 'a', 1, 0), (2, 'acme', 'b', 2, 0), (3, 'acme', 'c', 3, 0)",
		"slots (room, number, tenant_id, owner_id, text) VALUES ('a', 1, 'acme', 1, 'x'), ('a', 2, 'acme', 1, NULL), ('[\"c\"]', 1, 'acme', NULL, '')",
		"labels (id, tenant_id, word) VALUES (1, 'acme', 'a'), (2, 'acme', 'b')",
		"owner_labels (owner_id, label_id, tenant_id) VALUES (1, 1, 'acme'), (2, 1, 'acme')",
		"traps (id, tenant_id, w, k, old) VALUES (1, 'acme', 1, 1, 1), (2, 'acme', 2, 2, NULL)",
		"tickets (id, tenant_id, title, password) VALUES ('00000000-0000-4000-8000-000000000001', 'acme', 'a', 's')",
	} {
		text += "INSERT INTO " + row + "; "
	}
	return text
}
