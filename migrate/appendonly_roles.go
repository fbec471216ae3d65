package migrate

import (
	"context"
	"fmt"
	"slices"
)

// refuse stops before the first change what cannot be kept append-only.
func (r *appendRun) refuse(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		r.ensureRoles, r.ensureRetentionRole, r.checkRoles, r.checkRetentionRole, r.checkReplica, r.checkLogin, r.checkPrivileges,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (r *appendRun) ensureRetentionRole(ctx context.Context) error {
	role := r.cfg.RetentionRole
	if role == "" {
		return nil
	}
	if slices.Contains(append(r.logins(), r.trusted()...), role) {
		return unsafeRole(role, "Config.RetentionRole must be a role of its own")
	}
	there, err := queryStrings(ctx, r.tx, `SELECT rolname::text FROM pg_roles WHERE rolname = $1`, role)
	if err != nil || len(there) > 0 {
		return err
	}
	return r.createRoles(ctx, []string{role})
}

// checkRetentionRole keeps the role that removes entries from those that write
// them, whichever inherits from the other.
func (r *appendRun) checkRetentionRole(ctx context.Context) error {
	role := r.cfg.RetentionRole
	if role == "" {
		return nil
	}
	found, err := readRows[danger](ctx, r.tx, dangers+`
		WHERE pg_has_role($1::text::name, name::name, 'MEMBER') ORDER BY name <> $1::text, name, what`,
		role, r.cfg.SystemRole, r.set.oids(), r.trusted())
	if err != nil {
		return err
	}
	if len(found) > 0 {
		return unsafeRole(role, describe(found[0], role))
	}
	for _, login := range r.logins() {
		tied, err := queryStrings(ctx, r.tx, `SELECT 'tied' WHERE pg_has_role($1::text::name, $2::text::name, 'MEMBER') OR pg_has_role($2::text::name, $1::text::name, 'MEMBER')`, role, login)
		if err != nil {
			return err
		}
		if len(tied) > 0 {
			return unsafeRole(role, fmt.Sprintf("it and %q: one is a member of the other", login))
		}
	}
	return nil
}

// checkReplica refuses a login that could switch off the trigger that sets the time.
func (r *appendRun) checkReplica(ctx context.Context) error {
	for _, role := range r.logins() {
		may, err := queryStrings(ctx, r.tx, `SELECT 'may' WHERE has_parameter_privilege($1::text::name, 'session_replication_role', 'SET')`, role)
		if err != nil {
			return err
		}
		if len(may) > 0 {
			return unsafeRole(role, "it may set session_replication_role")
		}
	}
	return nil
}

// checkLogin wants an owner who is not at the handle to be named: he may choose the
// time of entries, as this login may.
func (r *appendRun) checkLogin(ctx context.Context) error {
	login, err := queryStrings(ctx, r.tx, `SELECT current_user::text`)
	if err != nil {
		return err
	}
	if owner := r.log.Owner; owner != login[0] && !slices.Contains(r.cfg.TrustedRoles, owner) {
		return &UntrustedError{Roles: map[string][]string{r.log.String(): {owner}}}
	}
	return nil
}
