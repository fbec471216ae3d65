package audit

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/models"
)

// Verify looks for changes of audited tables that leave no entry, for an app to
// call when it starts, after its migrations. It takes the models that are not in
// Config.Models, and learns them. Audited are the tables that [Coverage] says
// are captured by the plugin; those captured by trigger as well have nothing to
// fear. The error joins a [CoverageError] for each fault, in the order of the
// tables' names:
//
//   - the faults of Coverage, but for tables of which no model is known: these
//     are refused through GORM;
//   - [ErrCascade] for a foreign key of an audited table that deletes its rows or
//     changes them when the rows that they refer to are deleted or change their
//     key, whatever table those are of, itself included;
//   - [ErrHiddenWrite] for a trigger, or a rule, that writes an audited table, a
//     partition of one or a view on one, in its own text or in that of a function
//     that it calls, or that this one calls. A trigger that sets columns of its
//     own row (NEW) is none;
//   - [ErrUnreadable] for one of which that cannot be told: it runs SQL that it
//     puts together (EXECUTE), or is in a language other than SQL and PL/pgSQL.
//     What extensions bring in C is taken for harmless, but for dblink and refint;
//   - [ErrNoTrail] if this login cannot write the trail.
//
// Names are taken as the text has them: a name without schema is that of each
// audited table and function of that name. Triggers that are disabled count for
// nothing, and those of [Config.TrustedFunctions] are not looked at. Not seen are
// functions that defaults, views, policies and SQL by hand call.
//
// Two things are no faults, and db's logger is warned of them: a logger of GORM's
// that prints the parameters of statements, redacted values among them, and a
// login that may change entries of the trail, as the owner's may.
//
// Verify reads the catalogue alone, in db's transaction if it is in one, and needs
// no tenant and no rights. Where the plugin is not on db, the error is
// [ErrNotInstalled]; where its callbacks were displaced, [ErrDisplaced].
func Verify(ctx context.Context, db *gorm.DB, models ...any) error {
	s, err := newSurvey(ctx, db, models)
	if err != nil {
		return err
	}
	faults := s.faults()
	for _, check := range []func() ([]*CoverageError, error){
		s.cascades, s.hiddenWrites, func() ([]*CoverageError, error) { return s.trail(ctx, db) },
	} {
		found, err := check()
		if err != nil {
			return fmt.Errorf("audit: reading the catalogue: %w", err)
		}
		faults = append(faults, found...)
	}
	if printsParameters(ctx, db) {
		db.Logger.Warn(ctx, "audit: GORM's logger prints the parameters of statements, redacted values among them: set its ParameterizedQueries")
	}
	slices.SortStableFunc(faults, func(a, b *CoverageError) int { return cmp.Compare(a.Table, b.Table) })
	errs := make([]error, len(faults))
	for i, fault := range faults {
		errs[i] = fault
	}
	return errors.Join(errs...)
}

// faults returns those of the tables whose models are known.
func (s *survey) faults() (found []*CoverageError) {
	for _, line := range s.lines {
		var fault *CoverageError
		if errors.As(line.Fault, &fault) && !errors.Is(fault, ErrNoModel) {
			found = append(found, fault)
		}
	}
	return found
}

// trail looks at the table that entries are written to, as [trail.CatalogSQL] finds it.
func (s *survey) trail(ctx context.Context, db *gorm.DB) ([]*CoverageError, error) {
	var login struct{ Insert, Change bool }
	err := s.read(&login, `SELECT json_build_object('insert', pg_catalog.has_any_column_privilege(c.oid, 'INSERT'),
			'change', pg_catalog.has_table_privilege(c.oid, 'UPDATE, DELETE, TRUNCATE') OR pg_catalog.has_any_column_privilege(c.oid, 'UPDATE'))::text
		FROM unnest(current_schemas(false)) WITH ORDINALITY AS s (name, place)
		JOIN pg_catalog.pg_namespace n ON n.nspname = s.name JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid
		WHERE c.relname = $1 ORDER BY s.place LIMIT 1`, models.AuditLogsTable)
	switch {
	case errors.Is(err, sql.ErrNoRows), err == nil && !login.Insert:
		return []*CoverageError{{Table: models.AuditLogsTable, Kind: ErrNoTrail}}, nil
	case err != nil:
		return nil, err
	case login.Change:
		db.Logger.Warn(ctx, "audit: the login may update, delete or truncate %s: grant it SELECT and INSERT alone", models.AuditLogsTable)
	}
	return nil, nil
}

// printsParameters reports whether GORM's logger gets the parameters: it keeps
// them from itself, or nobody does.
func printsParameters(ctx context.Context, db *gorm.DB) bool {
	filter, ok := db.Logger.(gorm.ParamsFilter)
	if !ok {
		return true
	}
	_, params := filter.ParamsFilter(ctx, "SELECT $1", "a value")
	return len(params) > 0
}

// cascadesSQL reads the foreign keys by which the tables in $2, or partitions of
// them, change with others, unless triggers capture the table that they are of. A
// key that a partition has of its table is that one's.
const cascadesSQL = `WITH RECURSIVE ` + partsSQL + `
	SELECT json_agg(json_build_object('table', CASE WHEN pg_catalog.pg_table_is_visible(c.oid) THEN c.relname ELSE n.nspname || '.' || c.relname END,
		'key', o.conname, 'to', CASE WHEN pg_catalog.pg_table_is_visible(p.oid) THEN p.relname ELSE pn.nspname || '.' || p.relname END,
		'delete', o.confdeltype, 'update', o.confupdtype) ORDER BY c.oid, o.conname)::text
	FROM pg_catalog.pg_constraint o JOIN uncaptured u ON u.oid = o.conrelid
	JOIN pg_catalog.pg_class c ON c.oid = o.conrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
	JOIN pg_catalog.pg_class p ON p.oid = o.confrelid JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace
	WHERE o.contype = 'f' AND o.conparentid = 0 AND (o.confdeltype IN ('c', 'n', 'd') OR o.confupdtype IN ('c', 'n', 'd'))
		AND coalesce((to_jsonb(o) ->> 'conenforced')::boolean, true)`

// partsSQL is the relation uncaptured: the tables in $2, as JSON, with their
// partitions and children, but for those that the triggers in $1 capture.
const partsSQL = `part (oid) AS (
		SELECT m.oid::oid FROM json_array_elements_text($2::text::json) AS m (oid)
		UNION SELECT i.inhrelid FROM part JOIN pg_catalog.pg_inherits i ON i.inhparent = part.oid),
	uncaptured (oid) AS (SELECT c.oid FROM part AS c WHERE (SELECT count(*) ` + firingSQL + `) < json_array_length($1::text::json))`

// actions are those of foreign keys that change rows, as in pg_constraint.
var actions = map[string]string{"c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT"}

func (s *survey) cascades() ([]*CoverageError, error) {
	var keys []struct{ Table, Key, To, Delete, Update string }
	err := s.read(&keys, cascadesSQL, captures(), s.auditedJSON())
	var faults []*CoverageError
	for _, k := range keys {
		by := fmt.Sprintf("foreign key %q to %q", k.Key, k.To)
		if action := actions[k.Delete]; action != "" {
			by += " ON DELETE " + action
		}
		if action := actions[k.Update]; action != "" {
			by += " ON UPDATE " + action
		}
		faults = append(faults, &CoverageError{Table: k.Table, By: by, Kind: ErrCascade})
	}
	return faults, err
}

// auditedJSON returns the tables that are audited by their oids.
func (s *survey) auditedJSON() string {
	oids := make([]uint32, len(s.audited))
	for i, r := range s.audited {
		oids[i] = r.OID
	}
	return asJSON(oids)
}
