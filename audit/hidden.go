package audit

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/courtroll/courtroll/internal/sqllex"
)

// targetsSQL reads the tables in $2 that triggers of $1 do not capture, with their
// partitions and children, and the views through which they can be written.
const targetsSQL = `WITH RECURSIVE ` + partsSQL + `,
	target (oid, base) AS (
		SELECT oid, oid FROM uncaptured
		UNION SELECT r.ev_class, t.base FROM target t
			JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = t.oid AND d.classid = 'pg_catalog.pg_rewrite'::regclass
			JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid
			WHERE r.ev_type = '1' AND r.ev_class <> t.oid AND pg_catalog.pg_relation_is_updatable(r.ev_class, false) & 28 <> 0)
	SELECT json_agg(json_build_object('schema', n.nspname, 'name', c.relname,
		'table', CASE WHEN pg_catalog.pg_table_is_visible(b.oid) THEN b.relname ELSE bn.nspname || '.' || b.relname END) ORDER BY c.oid, b.oid)::text
	FROM target JOIN pg_catalog.pg_class c ON c.oid = target.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
	JOIN pg_catalog.pg_class b ON b.oid = target.base JOIN pg_catalog.pg_namespace bn ON bn.oid = b.relnamespace`

// originsSQL reads what writes behind a statement's back: the triggers of $1 are
// ours, as are functions named courtroll_…. What an extension made is its own.
const originsSQL = `SELECT json_agg(json_build_object('by', o.what || ' on ' || to_json(CASE WHEN pg_catalog.pg_table_is_visible(c.oid)
		THEN c.relname::text ELSE n.nspname || '.' || c.relname END)::text, 'schema', o.schema, 'function', o.function, 'text', o.text) ORDER BY n.nspname, c.relname, o.what)::text
	FROM (SELECT t.tgrelid AS relation, 'trigger ' || to_json(t.tgname::text)::text AS what, fn.nspname AS schema, f.proname AS function, NULL AS text
			FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc f ON f.oid = t.tgfoid JOIN pg_catalog.pg_namespace fn ON fn.oid = f.pronamespace
			WHERE NOT t.tgisinternal AND t.tgparentid = 0 AND t.tgenabled ` + firing + ` AND fn.nspname <> 'pg_catalog'
			AND NOT EXISTS (SELECT FROM json_to_recordset($1::text::json) AS k (name text) WHERE k.name = t.tgname)
		UNION ALL SELECT r.ev_class, 'rule ' || to_json(r.rulename::text)::text, NULL, NULL, pg_catalog.pg_get_ruledef(r.oid)
			FROM pg_catalog.pg_rewrite r WHERE r.ev_type <> '1' AND r.ev_enabled ` + firing + `) AS o
	JOIN pg_catalog.pg_class c ON c.oid = o.relation JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
	WHERE NOT ` + foreignSchemas + ` AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
		WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')`

// functionsSQL reads the functions of the names in $1, as JSON. A body of standard
// SQL is kept as a tree, not as text.
const functionsSQL = `SELECT json_agg(json_build_object('schema', n.nspname, 'name', f.proname, 'language', l.lanname,
		'extension', EXISTS (SELECT FROM pg_catalog.pg_depend d
			WHERE d.classid = 'pg_catalog.pg_proc'::regclass AND d.objid = f.oid AND d.deptype = 'e'),
		'text', CASE WHEN l.lanname IN ('sql', 'plpgsql') THEN coalesce(pg_catalog.pg_get_function_sqlbody(f.oid), f.prosrc) ELSE '' END) ORDER BY f.oid)::text
	FROM pg_catalog.pg_proc f JOIN pg_catalog.pg_namespace n ON n.oid = f.pronamespace JOIN pg_catalog.pg_language l ON l.oid = f.prolang
	WHERE f.proname IN (SELECT json_array_elements_text($1::text::json)) AND NOT ` + foreignSchemas + ` AND NOT starts_with(f.proname, 'courtroll_')`

// victim is a table, or a view, whose changes are those of an audited table.
type victim struct{ Schema, Name, Table string }

// origin is a trigger, with its function, or a rule, with its text.
type origin struct{ By, Schema, Function, Text string }

// function is a function of the database, and what its text does.
type function struct {
	Schema, Name, Language, Text string
	Extension                    bool

	routine    *sqllex.Routine
	unreadable string // why it cannot be told what it writes
}

// hiddenWrites looks into what writes behind a statement's back. Where no table is
// audited that triggers do not capture, it may write what it likes.
func (s *survey) hiddenWrites() ([]*CoverageError, error) {
	var victims []victim
	var origins []origin
	if err := s.read(&victims, targetsSQL, captures(), s.auditedJSON()); err != nil || len(victims) == 0 {
		return nil, err
	}
	if err := s.read(&origins, originsSQL, captures()); err != nil {
		return nil, err
	}
	roots := make([]*function, len(origins))
	for i, o := range origins {
		roots[i] = &function{Text: o.Text, Language: "sql"}
		if o.Function != "" {
			roots[i].Text, roots[i].routine = "", &sqllex.Routine{Calls: []sqllex.Ref{{Schema: o.Schema, Name: o.Function}}}
		}
		roots[i].analyze()
	}
	functions, err := s.functionsOf(roots)
	if err != nil {
		return nil, err
	}
	var faults []*CoverageError
	for i, o := range origins {
		q := &inquiry{survey: s, by: o.By, root: roots[i], functions: functions, victims: victims}
		q.run()
		faults = append(faults, q.faults...)
	}
	return faults, nil
}

// functionsOf reads the functions that are called from roots, and those that these
// call, by their names: a query for each step, of which there are few.
func (s *survey) functionsOf(roots []*function) (map[string][]*function, error) {
	known := map[string][]*function{}
	for due := roots; len(due) > 0; {
		asked := map[string]bool{}
		for _, f := range due {
			for _, call := range f.routine.Calls {
				if _, done := known[call.Name]; !done {
					asked[call.Name] = true
				}
			}
		}
		due = nil
		if len(asked) == 0 {
			break
		}
		names := slices.Sorted(maps.Keys(asked))
		if err := s.read(&due, functionsSQL, asJSON(names)); err != nil {
			return nil, err
		}
		for _, name := range names {
			known[name] = nil
		}
		for _, f := range due {
			f.analyze()
			known[f.Name] = append(known[f.Name], f)
		}
	}
	return known, nil
}

// inC holds what functions in C do that extensions bring, where it is not harmless,
// by the beginnings of their names: dblink's run any SQL, refint's deletes rows.
var inC = []string{"dblink", "check_foreign_key"}

func (f *function) analyze() {
	isC := f.Language == "c" || f.Language == "internal"
	switch {
	case f.routine != nil:
		return
	case f.Language == "sql" || f.Language == "plpgsql":
		var err error
		if f.routine, err = sqllex.ReadRoutine(f.Text); err == nil && f.routine.Dynamic {
			f.unreadable = "runs SQL that it puts together"
		} else if err != nil {
			f.unreadable = "cannot be read: " + err.Error()
		}
	case !isC || !f.Extension && f.Language == "c" || slices.ContainsFunc(inC, func(name string) bool { return strings.HasPrefix(f.Name, name) }):
		f.unreadable = "is in the language " + f.Language
	}
	if f.routine == nil {
		f.routine = &sqllex.Routine{}
	}
}

// inquiry is what is found out about one trigger or rule.
type inquiry struct {
	*survey
	by        string
	root      *function
	functions map[string][]*function // by their names
	victims   []victim
	faults    []*CoverageError
}

// run notes a fault for each audited table that root, or what it calls, writes,
// and one if that cannot be told of a part of it.
func (q *inquiry) run() {
	due := []*function{q.root}
	for i := 0; i < len(due); i++ {
		f := due[i]
		q.reportWrites(f)
		if f.unreadable != "" {
			q.report(f, "", ErrUnreadable, f.unreadable)
		}
		for _, call := range f.routine.Calls {
			for _, called := range q.functions[call.Name] {
				if cmp.Or(call.Schema, called.Schema) == called.Schema && !slices.Contains(due, called) && !q.trusts(called) {
					due = append(due, called)
				}
			}
		}
	}
}

func (q *inquiry) reportWrites(f *function) {
	for _, written := range f.routine.Writes {
		for _, v := range q.victims {
			if v.Name == written.Name && cmp.Or(written.Schema, v.Schema) == v.Schema {
				q.report(f, v.Table, ErrHiddenWrite, "writes "+written.String())
			}
		}
	}
}

// report notes the first fault of a table.
func (q *inquiry) report(f *function, table string, kind error, why string) {
	if slices.ContainsFunc(q.faults, func(e *CoverageError) bool { return e.Table == table }) {
		return
	}
	who := "it"
	if f != q.root {
		who = fmt.Sprintf("function %q", f.Schema+"."+f.Name)
	}
	q.faults = append(q.faults, &CoverageError{Table: table, By: q.by, Kind: kind, Cause: errors.New(who + " " + why)})
}

func (s *survey) trusts(f *function) bool {
	return slices.ContainsFunc(s.plugin.config.TrustedFunctions, func(t TrustedFunction) bool {
		return t.Name == f.Name || t.Name == f.Schema+"."+f.Name
	})
}
