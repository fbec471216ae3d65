package tenancy

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/courtroll/courtroll/internal/plan"
	"github.com/courtroll/courtroll/internal/sqllex"
	"github.com/courtroll/courtroll/internal/stmtpool"
)

// verifier checks the final text of one statement: every mention of a
// tenant-owned table must stand under a predicate that this package wrote, in
// the same query and not beside an OR. What it cannot read it refuses.
type verifier struct {
	plugin *Plugin
	scope  scope
	pool   *stmtpool.Pool
}

// readable holds the statements whose text tells which rows they reach.
var readable = map[string]bool{
	"": true, "select": true, "with": true, "values": true, "table": true, "insert": true, "update": true, "delete": true,
	"merge": true, "explain": true, "show": true, "savepoint": true, "release": true, "rollback": true, "listen": true,
	"unlisten": true, "notify": true, "lock": true,
}

// ddl holds the statements that belong on the owner's handle.
var ddl = map[string]bool{
	"create": true, "alter": true, "drop": true, "comment": true, "grant": true, "revoke": true, "truncate": true,
	"reindex": true, "cluster": true, "vacuum": true, "analyze": true, "refresh": true, "import": true, "reassign": true,
}

// opaqueCall holds the functions that run SQL given as text, or that would
// change the settings which row-level security reads.
var opaqueCall = map[string]bool{
	"set_config": true, "query_to_xml": true, "query_to_xmlschema": true, "query_to_xml_and_xmlschema": true,
	"table_to_xml": true, "table_to_xml_and_xmlschema": true, "schema_to_xml": true, "database_to_xml": true,
	"cursor_to_xml": true, "dblink": true, "dblink_exec": true, "dblink_open": true, "dblink_send_query": true,
	"ts_stat": true, "ts_rewrite": true,
}

func (v verifier) verify(query string, args []any) error {
	for _, arg := range args {
		if r, ok := arg.(refusal); ok {
			return r.err
		}
	}
	if isMigrator(args) {
		return &StatementError{Err: ErrMigrateHandle}
	}
	s, err := sqllex.Analyze(query)
	if err == nil && ddl[s.Verb] {
		return &StatementError{Err: ErrMigrateHandle}
	}
	if v.scope.system != nil && v.scope.check() == nil {
		return nil
	}
	if err != nil {
		return &StatementError{Err: fmt.Errorf("%w: %w", ErrOpaqueSQL, err)}
	}
	if err := checkVerb(s); err != nil {
		return &StatementError{Err: err}
	}
	used := map[int]bool{}
	for i, ref := range s.Refs {
		if i == 0 && s.Verb == "insert" && v.pool.Stamped == ref.Name {
			continue
		}
		if err := v.checkRef(s, ref, args, used); err != nil {
			return refuse(ref.Name, err)
		}
	}
	return nil
}

// isMigrator reports whether the statement comes from GORM's migrator, which
// alone puts a query mode before the arguments of its look at a table.
func isMigrator(args []any) bool {
	if len(args) == 0 {
		return false
	}
	_, ok := args[0].(pgx.QueryExecMode)
	return ok
}

func checkVerb(s *sqllex.Statement) error {
	if !readable[s.Verb] {
		return ErrOpaqueSQL
	}
	for i, t := range s.Tokens[:max(0, len(s.Tokens)-1)] {
		if t.IsName() && opaqueCall[t.Text] && s.Tokens[i+1].IsSymbol('(') {
			return ErrOpaqueSQL
		}
	}
	return nil
}

func (v verifier) checkRef(s *sqllex.Statement, ref sqllex.Ref, args []any, used map[int]bool) error {
	table, known := v.plugin.registry.Lookup(ref.Name)
	switch {
	case table.Class == plan.Shared, !known && isCatalog(ref), !known && s.HasCTE(ref.Name):
		return nil
	case v.scope.check() != nil:
		return v.scope.check()
	case table.Class == plan.Unclassified:
		return ErrUnclassified
	}
	return v.checkPredicate(s.Tokens, table, ref, args, used)
}

// samples holds the catalogue's tables with values out of other tables' columns.
var samples = map[string]bool{
	"pg_stats": true, "pg_stats_ext": true, "pg_stats_ext_exprs": true, "pg_statistic": true, "pg_statistic_ext_data": true,
	"pg_largeobject": true,
}

// isCatalog reports whether the name is one of PostgreSQL's own tables that
// hold no tenant's values.
func isCatalog(ref sqllex.Ref) bool {
	return !samples[ref.Name] && (ref.Schema == "pg_catalog" || ref.Schema == "information_schema" ||
		ref.Schema == "" && strings.HasPrefix(ref.Name, "pg_"))
}

// checkPredicate looks for our predicate after the table's name, in the same
// parentheses. Each predicate covers one mention: a UNION needs two.
func (v verifier) checkPredicate(tokens []sqllex.Token, table plan.Table, ref sqllex.Ref, args []any, used map[int]bool) error {
	for i := ref.Index + 1; i+4 < len(tokens) && tokens[i].Depth >= ref.Depth; i++ {
		if tokens[i].Depth != ref.Depth || used[i] || !isPredicate(tokens[i:i+5], table.Column, ref.Alias) {
			continue
		}
		value, ours := argument(args, tokens[i+4].Text).(bound)
		if !ours || !conjunct(tokens, i) {
			continue
		}
		if own, err := table.Value(v.scope.tenant); err != nil || own != value.value {
			return ErrCrossTenant
		}
		used[i] = true
		return nil
	}
	return ErrOpaqueSQL
}

// isPredicate reports whether the tokens are "alias"."column" = $n.
func isPredicate(t []sqllex.Token, column, alias string) bool {
	return t[0].IsName() && t[0].Text == alias && t[1].IsSymbol('.') && t[2].IsName() && t[2].Text == column &&
		t[3].IsSymbol('=') && t[4].Kind == sqllex.Param
}

func argument(args []any, number string) any {
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 || n > len(args) {
		return nil
	}
	return args[n-1]
}

// conditionEnds holds the keywords that end a WHERE or ON condition at their depth.
var conditionEnds = map[string]bool{
	"group": true, "having": true, "order": true, "limit": true, "offset": true, "fetch": true, "for": true, "window": true,
	"union": true, "intersect": true, "except": true, "returning": true, "join": true, "left": true, "right": true,
	"full": true, "inner": true, "cross": true, "natural": true, "where": true, "on": true,
}

// conjunct reports whether the predicate at i begins a condition, or follows
// another predicate of ours, and has no OR beside it.
func conjunct(tokens []sqllex.Token, i int) bool {
	if prev := tokens[i-1]; !prev.Is("where") && !prev.Is("on") && !prev.Is("and") {
		return false
	}
	depth := tokens[i].Depth
	for i += 5; i < len(tokens) && tokens[i].Depth >= depth; i++ {
		t := tokens[i]
		if t.Depth != depth || t.Kind != sqllex.Word {
			continue
		}
		if t.Text == "or" {
			return false
		}
		if conditionEnds[t.Text] {
			return true
		}
	}
	return true
}
