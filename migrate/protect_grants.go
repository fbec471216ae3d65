package migrate

import (
	"context"
	"slices"
	"strings"

	"github.com/courtroll/courtroll/models"
)

// grantable is something with privileges: a table, a sequence or a function of ours.
type grantable struct {
	object string // as GRANT has it
	// acl yields rows (grantee oid, privilege_type, is_grantable, column, grantor, owner) for the
	// object whose oid is $1.
	acl string
	oid int64
}

const (
	tableACL = `SELECT x.grantee, x.privilege_type, x.is_grantable, '' AS col, x.grantor, c.relowner AS owner FROM pg_class c,
			aclexplode(coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner))) x
			WHERE c.oid = $1::bigint::oid
		UNION ALL SELECT x.grantee, x.privilege_type, x.is_grantable, a.attname::text, x.grantor, c.relowner FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid,
			aclexplode(a.attacl) x WHERE c.oid = $1::bigint::oid AND NOT a.attisdropped`
	functionACL = `SELECT x.grantee, x.privilege_type, x.is_grantable, '' AS col, x.grantor, p.proowner AS owner FROM pg_proc p,
			aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) x WHERE p.oid = $1::bigint::oid`
)

// tenantColumns are what the app may change of its tenant's row. GORM writes the
// last with every update.
var tenantColumns = []string{"name", "logo", "updated_at"}

// wants says what each login may do with a table. A privilege for a column has
// the column in brackets.
func wants(c class, isApp bool) []string {
	switch {
	case c == auditTrail:
		return []string{"SELECT", "INSERT"}
	case c == register && isApp:
		list := []string{"SELECT"}
		for _, column := range tenantColumns {
			list = append(list, onColumn("UPDATE", column))
		}
		return list
	}
	return []string{"SELECT", "INSERT", "UPDATE", "DELETE"}
}

func onColumn(privilege, column string) string {
	if column == "" {
		return privilege
	}
	return privilege + ` (` + ident(column) + `)`
}

// ensureGrants gives both logins what they need and takes everything else. It
// compares with what is there: a GRANT of what is granted already would still
// write to the catalogue.
func (r *protectRun) ensureGrants(ctx context.Context) error {
	for _, g := range r.set.list {
		for _, role := range r.logins() {
			object := grantable{object: `TABLE ` + g.sql(), acl: tableACL, oid: g.OID}
			if err := r.setPrivileges(ctx, object, role, wants(g.class, role == r.cfg.AppRole)); err != nil {
				return err
			}
			if err := r.grantAround(ctx, g, role); err != nil {
				return err
			}
		}
	}
	if err := r.grantFunctions(ctx); err != nil {
		return err
	}
	return r.closeVersions(ctx)
}

// closeVersions takes from both logins, and from everybody, the table in which Up looks
// what it has done: privileges that the owner grants by default reach it, too.
func (r *protectRun) closeVersions(ctx context.Context) error {
	list, err := readRows[sequence](ctx, r.tx, `SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relname = $1 AND c.relkind = 'r' AND n.oid IN (SELECT relnamespace FROM pg_class WHERE oid = ANY ($2::bigint[]::oid[]))`,
		models.MigrationsTable, r.set.oids())
	if err != nil {
		return err
	}
	for _, t := range list {
		object := grantable{object: `TABLE ` + ident(t.Schema, t.Name), acl: tableACL, oid: t.OID}
		for _, role := range append(r.logins(), public) {
			if err := r.setPrivileges(ctx, object, role, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// held is what a role has on an object.
type held struct {
	Privilege string `json:"privilege"`
	Column    string `json:"column"`
	Grantable bool   `json:"grantable"`
}

func (r *protectRun) readPrivileges(ctx context.Context, g grantable, role string) ([]held, error) {
	return readRows[held](ctx, r.tx, `SELECT privilege_type AS privilege, col AS column, bool_or(is_grantable) AS grantable FROM (`+g.acl+`) acl
		WHERE grantee = CASE WHEN $2::text = '`+public+`' THEN 0::oid ELSE (SELECT oid FROM pg_roles WHERE rolname = $2::text) END
		GROUP BY 1, 2 ORDER BY 2, 1`, g.oid, role)
}

// setPrivileges makes a role's privileges on an object those that it should have.
// A REVOKE by the owner passes over what another granted, hence the second look.
func (r *protectRun) setPrivileges(ctx context.Context, g grantable, role string, want []string) error {
	have, err := r.readPrivileges(ctx, g, role)
	if err != nil {
		return err
	}
	grant, revoke := compare(have, want)
	if len(grant) == 0 && len(revoke) == 0 {
		return nil
	}
	to := ident(role)
	if role == public {
		to = public
	}
	if len(revoke) > 0 {
		// Of a whole table it takes the columns' with it, so all is granted again.
		grant = want
		if err := r.exec(ctx, `REVOKE ALL ON %s FROM %s CASCADE`, g.object, to); err != nil {
			return err
		}
	}
	if len(grant) > 0 {
		if err := r.exec(ctx, `GRANT %s ON %s TO %s`, strings.Join(grant, ", "), g.object, to); err != nil {
			return err
		}
	}
	return r.verifyPrivileges(ctx, g, role, want)
}

func (r *protectRun) verifyPrivileges(ctx context.Context, g grantable, role string, want []string) error {
	have, err := r.readPrivileges(ctx, g, role)
	if err != nil {
		return err
	}
	if grant, revoke := compare(have, want); len(grant) > 0 || len(revoke) > 0 {
		return &ProtectError{Object: role, Err: ErrGranted, Fix: strings.Join(append(grant, revoke...), ", ") + " on " + g.object}
	}
	return nil
}

func compare(have []held, want []string) (grant, revoke []string) {
	names := map[string]bool{}
	for _, h := range have {
		name := onColumn(h.Privilege, h.Column)
		names[name] = true
		if h.Grantable || !slices.Contains(want, name) {
			revoke = append(revoke, name)
		}
	}
	for _, name := range want {
		if !names[name] {
			grant = append(grant, name)
		}
	}
	return grant, revoke
}

// sequence is one that a column of a table takes its default from.
type sequence struct {
	OID    int64  `json:"oid"`
	Schema string `json:"schema"`
	Name   string `json:"name"`
}

// grantAround opens the way to the table: its schema, and the sequences of its columns.
func (r *protectRun) grantAround(ctx context.Context, g *guarded, role string) error {
	if err := r.grantSchema(ctx, g, role); err != nil {
		return err
	}
	list, err := r.sequences(ctx, g)
	if err != nil {
		return err
	}
	for _, s := range list {
		object := grantable{object: `SEQUENCE ` + ident(s.Schema, s.Name), acl: tableACL, oid: s.OID}
		if err := r.setPrivileges(ctx, object, role, []string{"USAGE"}); err != nil {
			return err
		}
	}
	return nil
}

func (r *protectRun) sequences(ctx context.Context, g *guarded) ([]sequence, error) {
	return readRows[sequence](ctx, r.tx, `
		SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name
		FROM pg_depend d JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'S' JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = $1::bigint::oid
			AND d.deptype IN ('a', 'i') ORDER BY 1`, g.OID)
}

func (r *protectRun) grantSchema(ctx context.Context, g *guarded, role string) error {
	closed, err := queryStrings(ctx, r.tx, `SELECT 'closed' WHERE NOT has_schema_privilege($1::text::name, $2::text, 'USAGE')`, role, g.Schema)
	if err != nil || len(closed) == 0 {
		return err
	}
	return r.exec(ctx, `GRANT USAGE ON SCHEMA %s TO %s`, ident(g.Schema), ident(role))
}

// function is one of those that logins call.
type function struct {
	OID       int64  `json:"oid"`
	Signature string `json:"signature"`
}

// functions finds the functions that logins call, which lie beside tenants.
func (r *protectRun) functions(ctx context.Context) ([]function, error) {
	home := r.set.list[0]
	var list []function
	for _, name := range []string{models.ResolveFunction, models.RecordFunction, models.AdmitFunction} {
		found, err := readRows[function](ctx, r.tx, `SELECT p.oid::bigint AS oid, p.oid::regprocedure::text AS signature
			FROM pg_proc p WHERE p.proname = $1 AND p.pronamespace = $2::regnamespace`, name, ident(home.Schema))
		if err != nil {
			return nil, err
		}
		if len(found) != 1 {
			return nil, &ProtectError{Object: name, Err: ErrNotUp}
		}
		list = append(list, found[0])
	}
	return list, nil
}

func (r *protectRun) grantFunctions(ctx context.Context) error {
	list, err := r.functions(ctx)
	if err != nil {
		return err
	}
	for _, f := range list {
		object := grantable{object: `FUNCTION ` + f.Signature, acl: functionACL, oid: f.OID}
		if err := r.setPrivileges(ctx, object, public, nil); err != nil {
			return err
		}
		for _, role := range r.logins() {
			if err := r.setPrivileges(ctx, object, role, []string{"EXECUTE"}); err != nil {
				return err
			}
		}
	}
	return nil
}
