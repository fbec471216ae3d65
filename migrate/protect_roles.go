package migrate

import (
	"context"
	"fmt"
	"slices"
)

// public is what aclexplode's role 0 is called.
const public = "PUBLIC"

// roleAttributes are those of a login of the app's: it cannot get around a policy,
// and nobody can log in until the operator gives it a password or a way without.
const roleAttributes = `LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS`

// logins returns the roles that are ours to create and to grant to.
func (r *protectRun) logins() []string {
	if r.cfg.SystemRole == "" {
		return []string{r.cfg.AppRole}
	}
	return []string{r.cfg.AppRole, r.cfg.SystemRole}
}

func (r *protectRun) ensureRoles(ctx context.Context) error {
	for _, role := range r.cfg.TrustedRoles {
		if role == public || slices.Contains(r.logins(), role) {
			return unsafeRole(role, "it cannot be in Config.TrustedRoles")
		}
	}
	if r.cfg.SystemRole == r.cfg.AppRole {
		return unsafeRole(r.cfg.AppRole, "Config.SystemRole must be another role than Config.AppRole")
	}
	missing, err := queryStrings(ctx, r.tx, `SELECT name FROM unnest($1::text[]) WITH ORDINALITY AS w (name, n)
		WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) ORDER BY n`, r.logins())
	if err != nil || len(missing) == 0 {
		return err
	}
	return r.createRoles(ctx, missing)
}

func unsafeRole(role, reason string) error {
	return &ProtectError{Object: role, Err: ErrUnsafeRole, Fix: reason}
}

func (r *protectRun) createRoles(ctx context.Context, missing []string) error {
	may, err := queryStrings(ctx, r.tx, `SELECT 'yes' FROM pg_roles WHERE rolname = current_user AND (rolsuper OR rolcreaterole)`)
	if err != nil {
		return err
	}
	for _, role := range missing {
		statement := `CREATE ROLE ` + ident(role) + ` ` + roleAttributes
		if len(may) == 0 {
			return &ProtectError{Object: role, Err: ErrCreateRole, Fix: statement + ";"}
		}
		if err := r.exec(ctx, "%s", statement); err != nil {
			return err
		}
	}
	return nil
}

// dangers finds what lets a role around the policies. Being a member counts
// without inheritance too, for SET ROLE does the rest. A role is a member of itself,
// so the first two cover what it is and owns itself; whoever owns a schema or
// the database can drop what is in it.
const dangers = `
	WITH tables AS (SELECT c.*, n.nspowner, n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.oid = ANY ($3::bigint[]::oid[]))
	SELECT * FROM (
		SELECT rolname::text AS name, CASE WHEN rolsuper THEN 'is a superuser' WHEN rolbypassrls THEN 'has BYPASSRLS'
			WHEN rolcreaterole THEN 'has CREATEROLE' WHEN rolreplication THEN 'has REPLICATION' ELSE 'reads or writes the server''s files' END AS what
		FROM pg_roles WHERE (rolsuper OR rolbypassrls OR rolcreaterole OR rolreplication OR rolname IN
			('pg_execute_server_program', 'pg_read_server_files', 'pg_write_server_files'))
		UNION ALL SELECT pg_get_userbyid(relowner), format('owns table %I.%I', nspname, relname) FROM tables
		UNION ALL SELECT pg_get_userbyid(nspowner), format('owns schema %I', nspname) FROM tables
		UNION ALL SELECT pg_get_userbyid(datdba), 'owns the database' FROM pg_database WHERE datname = current_database()
		UNION ALL SELECT $2::text, 'is Config.SystemRole' WHERE $2::text <> ''
		UNION ALL SELECT trusted, 'is in Config.TrustedRoles' FROM unnest($4::text[]) AS trusted
	) d`

// danger is a role that the app's role may become, and what that gives it.
type danger struct {
	Name string `json:"name"`
	What string `json:"what"`
}

func (r *protectRun) checkRoles(ctx context.Context) error {
	for _, role := range r.cfg.TrustedRoles {
		known, err := queryStrings(ctx, r.tx, `SELECT rolname::text FROM pg_roles WHERE rolname = $1`, role)
		if err != nil {
			return err
		}
		if len(known) == 0 {
			return &ProtectError{Object: role, Err: ErrNoRole}
		}
	}
	app := r.cfg.AppRole
	found, err := readRows[danger](ctx, r.tx, dangers+`
		WHERE pg_has_role($1::text::name, to_regrole(quote_ident(name))::oid, 'MEMBER') ORDER BY name <> $1::text, name, what`,
		app, r.cfg.SystemRole, r.set.oids(), r.trusted())
	if err != nil {
		return err
	}
	if len(found) > 0 {
		return unsafeRole(app, describe(found[0], app))
	}
	if err := r.checkOwner(ctx); err != nil {
		return err
	}
	return r.checkSystem(ctx)
}

// checkOwner refuses before the first statement what only the tables' owner may do.
func (r *protectRun) checkOwner(ctx context.Context) error {
	foreign, err := queryStrings(ctx, r.tx, `SELECT format('%s.%s', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.oid = ANY ($1::bigint[]::oid[]) AND NOT pg_has_role(c.relowner, 'USAGE') ORDER BY 1`, r.set.oids())
	if err != nil {
		return err
	}
	if len(foreign) > 0 {
		return &ProtectError{Table: foreign[0], Err: ErrNotOwner}
	}
	return nil
}

func describe(d danger, role string) string {
	if d.Name == role {
		return "it " + d.What
	}
	return fmt.Sprintf("it is a member of %q, which %s", d.Name, d.What)
}

// trusted is never nil: a nil slice would be an SQL NULL.
func (r *protectRun) trusted() []string {
	return append([]string{}, r.cfg.TrustedRoles...)
}

// checkSystem keeps the two logins apart the other way round, too: the policies
// that bind the app's role would bind a member of it.
func (r *protectRun) checkSystem(ctx context.Context) error {
	system := r.cfg.SystemRole
	if system == "" {
		return nil
	}
	found, err := queryStrings(ctx, r.tx, `SELECT CASE WHEN rolsuper THEN 'it is a superuser' ELSE 'it is a member of ' || quote_ident($2::text) END
		FROM pg_roles WHERE rolname = $1::text AND (rolsuper OR pg_has_role($1::text::name, $2::text::name, 'MEMBER'))`, system, r.cfg.AppRole)
	if err != nil {
		return err
	}
	if len(found) > 0 {
		return unsafeRole(system, found[0])
	}
	return nil
}

// privilege says that a role may do something with a table.
type privilege struct {
	Table string `json:"table"`
	Role  string `json:"role"`
}

// checkPrivileges refuses to shut out a role that nobody spoke of, and to leave
// it a way in. Of a table that another login owns, directly or as a member, that
// login would see no row any more, without an error: the owner is bound, too.
func (r *protectRun) checkPrivileges(ctx context.Context) error {
	list, err := readRows[privilege](ctx, r.tx, `
		WITH tables AS (SELECT c.oid, c.relacl, c.relowner, n.nspname || '.' || c.relname AS name
			FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY ($1::bigint[]::oid[]))
		SELECT c.name AS table, coalesce(g.rolname, '`+public+`') AS role
		FROM tables c
		CROSS JOIN LATERAL (SELECT grantee FROM aclexplode(c.relacl)
			UNION SELECT x.grantee FROM pg_attribute a, aclexplode(a.attacl) x WHERE a.attrelid = c.oid AND NOT a.attisdropped) acl
		LEFT JOIN pg_roles g ON g.oid = acl.grantee
		WHERE acl.grantee <> c.relowner AND NOT coalesce(g.rolsuper OR g.rolbypassrls OR g.rolname = ANY ($2::text[]), false)
		UNION SELECT c.name, l.rolname
		FROM tables c JOIN pg_roles l ON pg_has_role(l.oid, c.relowner, 'MEMBER')
		WHERE l.rolcanlogin AND NOT l.rolsuper AND NOT l.rolbypassrls AND l.rolname <> session_user
			AND NOT EXISTS (SELECT FROM unnest($2::text[]) trusted WHERE pg_has_role(l.oid, trusted::name, 'USAGE'))
		ORDER BY 1, 2`, r.set.oids(), append(r.trusted(), r.logins()...))
	if err != nil || len(list) == 0 {
		return err
	}
	untrusted := &UntrustedError{Roles: map[string][]string{}}
	for _, p := range list {
		untrusted.Roles[p.Table] = append(untrusted.Roles[p.Table], p.Role)
	}
	return untrusted
}
