package tenancy

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/courtroll/courtroll/internal/plan"
	"github.com/courtroll/courtroll/internal/sqllex"
)

// verifier checks the final text of one statement: every mention of a
// tenant-owned table must stand under a predicate that this package wrote, in
// the same query and not beside an OR. What it cannot read it refuses.
type verifier struct {
	plugin *Plugin
	scope  scope
	proof  *proof // what the check in progress rests on
}

// readable holds the statements whose text tells which rows they reach.
var readable = map[string]bool{
	"": true, "select": true, "with": true, "values": true, "table": true, "insert": true, "update": true, "delete": true,
	"merge": true, "explain": true, "show": true, "savepoint": true, "release": true, "rollback": true, "listen": true,
	"unlisten": true, "notify": true, "lock": true, "set": true,
}

// ddl holds the statements that belong on the owner's handle.
var ddl = map[string]bool{
	"create": true, "alter": true, "drop": true, "comment": true, "grant": true, "revoke": true, "truncate": true,
	"reindex": true, "cluster": true, "vacuum": true, "analyze": true, "refresh": true, "import": true, "reassign": true,
}

var opaqueCalls = map[string]bool{
	"ts_stat": true, "ts_rewrite": true, "connectby": true, "xpath_table": true,
	"pg_stat_get_activity": true, "pg_stat_get_backend_activity": true, "pg_prepared_statement": true, "pg_cursor": true,
	"lo_get": true, "lo_export": true, "loread": true,
}

// isOpaqueCall reports whether a function runs SQL given as text, or reads what
// other sessions do or large objects.
func isOpaqueCall(name string) bool {
	return opaqueCalls[name] || strings.Contains(name, "_to_xml") || strings.HasPrefix(name, "dblink") || strings.HasPrefix(name, "crosstab")
}

func (v verifier) verify(query string, args []any) error {
	if err := checkArgs(args); err != nil {
		return err
	}
	if err := v.scope.settle(args); err != nil {
		return err
	}
	s, err := v.plugin.texts.Analyze(query)
	if err == nil && ddl[s.Verb] {
		return &StatementError{Err: ErrMigrateHandle}
	}
	if err != nil {
		return &StatementError{Err: fmt.Errorf("%w: %w", ErrOpaqueSQL, err)}
	}
	if v.scope.system != nil && v.scope.check() == nil {
		return checkSettings(s)
	}
	if v.isProven(s, args) {
		return nil
	}
	v.proof = &proof{generation: v.plugin.registry.Generation(), args: len(args)}
	err = v.check(s, args)
	if errors.Is(err, ErrOpaqueSQL) && v.isConfined(s, query, args) {
		v.proof.tenant, err = true, nil
	}
	if err == nil {
		s.Conclusion.Store(v.proof)
	}
	return v.explain(err)
}

// explain says what SQL by hand needs where it may run.
func (v verifier) explain(err error) error {
	var refused *StatementError
	if !v.plugin.config.RowLevelSecurity || !errors.Is(err, ErrOpaqueSQL) || !errors.As(err, &refused) || errors.Is(err, errSettings.Err) {
		return err
	}
	return &StatementError{Table: refused.Table, Err: fmt.Errorf("SQL by hand runs on tables that tenancy.Verify has proven, names no setting courtroll.… and is one statement that can be read: %w", refused.Err)}
}

func (v verifier) check(s *sqllex.Statement, args []any) error {
	if err := cmp.Or(checkSettings(s), checkVerb(s), checkNumbers(s, args)); err != nil {
		return err
	}
	used := map[int]bool{}
	for i, ref := range s.Refs {
		check := v.checkRef
		if i == 0 && ref.Depth == 0 && s.Verb == "insert" {
			check = v.checkInsert
		}
		if err := check(s, ref, args, used); err != nil {
			return refuse(ref.String(), err)
		}
	}
	return nil
}

// checkArgs finds the errors that builders left among the arguments, and
// refuses those by which pgx would change the text once more.
func checkArgs(args []any) error {
	for _, arg := range args {
		switch arg := arg.(type) {
		case refusal:
			return arg.err
		case pgx.QueryExecMode: // GORM's migrator alone looks at a table with one
			return &StatementError{Err: ErrMigrateHandle}
		case pgx.QueryRewriter, pgx.QueryResultFormats, pgx.QueryResultFormatsByOID:
			return &StatementError{Err: ErrOpaqueSQL}
		}
	}
	return nil
}

// known holds the first keywords of the statements that are refused for what they
// are, for the error to name: any other first word may be a value.
var known = names("do call copy prepare execute deallocate declare fetch move close begin start commit end abort checkpoint load security")

func checkVerb(s *sqllex.Statement) error {
	if known[s.Verb] {
		return &StatementError{Err: fmt.Errorf("%s: %w", strings.ToUpper(s.Verb), ErrOpaqueSQL)}
	}
	if !readable[s.Verb] || calls(s.Tokens, isOpaqueCall) {
		return &StatementError{Err: ErrOpaqueSQL}
	}
	return nil
}

// calls reports whether the text calls such a function: f(x), or (x).f.
func calls(tokens []sqllex.Token, such func(name string) bool) bool {
	for i, t := range tokens {
		called := i+1 < len(tokens) && tokens[i+1].IsSymbol('(') || i > 0 && tokens[i-1].IsSymbol('.')
		if called && t.IsName() && such(t.Text) {
			return true
		}
	}
	return false
}

// forTransaction holds the settings that may be set until a transaction ends:
// they say how long a statement may take, not what it means or may do.
var forTransaction = names("statement_timeout lock_timeout idle_in_transaction_session_timeout transaction_timeout work_mem synchronous_commit timezone")

var errSettings = &StatementError{Err: fmt.Errorf("the tenant is set by tenancy.WithTenant, timeouts by SET LOCAL, any other setting in the DSN or for the role, in system scope too: %w", ErrOpaqueSQL)}

// checkSettings refuses, in system scope too, what changes a connection for the
// statements of others that come after.
func checkSettings(s *sqllex.Statement) error {
	t := s.Tokens
	switch {
	case s.Verb == "reset" || s.Verb == "discard", calls(t, func(name string) bool { return name == "set_config" }):
		return errSettings
	case s.Verb != "set" || len(t) < 3 || t[1].Is("transaction") || t[1].Is("constraints"):
		return nil
	case t[1].Is("local") && t[2].Kind == sqllex.Word && forTransaction[t[2].Text]:
		return nil
	}
	return errSettings
}

// checkNumbers refuses a text that numbers its parameters by hand and meets one
// of ours with it: GORM, alone, would have given that number to another value.
func checkNumbers(s *sqllex.Statement, args []any) error {
	met := map[int]bool{}
	for _, t := range s.Tokens {
		if t.Kind != sqllex.Param {
			continue
		}
		i := position(args, t)
		if i < 0 {
			continue
		}
		if _, ours := args[i].(bound); ours && met[i] {
			return &StatementError{Err: fmt.Errorf("a parameter is numbered by hand: write ? for it: %w", ErrOpaqueSQL)}
		}
		met[i] = true
	}
	return nil
}

func (v verifier) checkRef(s *sqllex.Statement, ref sqllex.Ref, args []any, used map[int]bool) error {
	table, known := v.plugin.registry.LookupIn(ref.Schema, ref.Name)
	switch {
	case table.Class == plan.Shared, !known && !ref.Write && s.IsCTE(ref):
		return nil
	case !known && isCatalog(ref):
		if ref.Write {
			return ErrOpaqueSQL
		}
		return nil
	}
	if err := v.plugin.admit(table, v.scope); err != nil {
		return err
	}
	switch {
	case ref.Renamed, ref.Write && (ref.Depth > 0 || s.Verb != "update" && s.Verb != "delete"):
		return ErrOpaqueSQL
	}
	if err := v.checkPredicate(s.Tokens, table, ref, args, used); err != nil {
		return err
	}
	if ref.Write && s.Verb == "update" {
		return checkSet(afterAlias(s.Tokens, ref), table)
	}
	return nil
}

// afterAlias returns the tokens after an UPDATE's target: its alias may be named set.
func afterAlias(tokens []sqllex.Token, ref sqllex.Ref) []sqllex.Token {
	rest := tokens[ref.Index+1:]
	if len(rest) > 1 && rest[0].Is("as") {
		return rest[2:]
	}
	return rest
}

// checkPredicate looks for our predicate after the table's name, in the same
// query. Each predicate covers one mention: a UNION needs two.
func (v verifier) checkPredicate(tokens []sqllex.Token, table plan.Table, ref sqllex.Ref, args []any, used map[int]bool) error {
	for i := ref.Index + 1; i < len(tokens) && tokens[i].Depth >= ref.Depth; i++ {
		if tokens[i].Depth != ref.Depth || used[i] {
			continue
		}
		if tokens[i].Kind == sqllex.Word && queryEnds[tokens[i].Text] {
			break
		}
		if !isPredicate(tokens, i, table.Column, ref.Alias, args) || !conjunct(tokens, i, args) {
			continue
		}
		if first := firstOf(tokens, i, args); tokens[first-1].Is("on") && !keepsOut(tokens, ref, first-1) {
			return ErrOpaqueSQL
		}
		if !v.isOwn(table, args, tokens[i+4]) {
			return ErrCrossTenant
		}
		used[i] = true
		return nil
	}
	return ErrOpaqueSQL
}

// keepsOut reports whether a predicate after the ON at index on keeps other rows
// of the table out: it is the ON of the table's own join, which is an inner or
// a LEFT JOIN.
func keepsOut(tokens []sqllex.Token, ref sqllex.Ref, on int) bool {
	if on != ref.End+1 {
		return false
	}
	i := ref.Index - 1
	for i > 0 && tokens[i].IsSymbol('.') {
		i -= 2
	}
	if i < 1 || !tokens[i].Is("join") {
		return false
	}
	if i--; tokens[i].Is("outer") && i > 0 {
		i--
	}
	if (tokens[i].Is("left") || tokens[i].Is("inner")) && i > 0 {
		i--
	}
	return !tokens[i].Is("right") && !tokens[i].Is("full") && !tokens[i].Is("cross") && !tokens[i].Is("natural")
}

// isOwn reports whether the parameter holds the context's tenant as this package binds it.
func (v verifier) isOwn(table plan.Table, args []any, param sqllex.Token) bool {
	own, err := v.scope.own(table)
	if err != nil || argument(args, param) != own {
		return false
	}
	v.proof.owned = append(v.proof.owned, owned{position(args, param), table})
	return true
}

// isPredicate reports whether "alias"."column" = $n stands at i, with a value of ours.
func isPredicate(tokens []sqllex.Token, i int, column, alias string, args []any) bool {
	if i+4 >= len(tokens) {
		return false
	}
	t := tokens[i : i+5]
	_, ours := argument(args, t[4]).(bound)
	return ours && t[0].IsName() && t[0].Text == alias && t[1].IsSymbol('.') && t[2].IsName() && t[2].Text == column &&
		t[3].IsSymbol('=') && t[4].Kind == sqllex.Param
}

// argument returns the argument that a parameter stands for, nil if there is none.
func argument(args []any, param sqllex.Token) any {
	if i := position(args, param); i >= 0 {
		return args[i]
	}
	return nil
}

// position returns the index of that argument, -1 if there is none.
func position(args []any, param sqllex.Token) int {
	n, err := strconv.Atoi(param.Text)
	if param.Kind != sqllex.Param || err != nil || n < 1 || n > len(args) {
		return -1
	}
	return n - 1
}

// queryEnds holds the keywords after which a condition is another query's, or
// of another part of an INSERT.
var queryEnds = map[string]bool{"union": true, "intersect": true, "except": true, "conflict": true, "returning": true}

// conditionEnds holds the keywords that end a WHERE or ON condition at their depth.
var conditionEnds = map[string]bool{
	"group": true, "having": true, "order": true, "limit": true, "offset": true, "fetch": true, "for": true, "window": true,
	"union": true, "intersect": true, "except": true, "returning": true, "join": true, "left": true, "right": true,
	"full": true, "inner": true, "cross": true, "natural": true, "where": true, "on": true,
}

// firstOf returns the index of the first of the predicates of ours that the one
// at i follows.
func firstOf(tokens []sqllex.Token, i int, args []any) int {
	for i > 6 && tokens[i-1].Is("and") && isPredicateStart(tokens, i-6, args) {
		i -= 6
	}
	return i
}

// conjunct reports whether the predicate at i begins a condition, or follows
// others of ours that do, and whether nothing follows but AND with a further
// one of ours or with something in parentheses.
func conjunct(tokens []sqllex.Token, i int, args []any) bool {
	first := firstOf(tokens, i, args)
	if !tokens[first-1].Is("where") && !tokens[first-1].Is("on") {
		return false
	}
	depth := tokens[i].Depth
	for i += 5; i < len(tokens) && tokens[i].Depth == depth && tokens[i].Is("and"); {
		switch {
		case isPredicateStart(tokens, i+1, args):
			i += 6
		case i+1 < len(tokens) && tokens[i+1].IsSymbol('('):
			for i += 2; tokens[i].Depth > depth; i++ {
			}
			i++
		default:
			return false
		}
	}
	return i >= len(tokens) || tokens[i].Depth < depth || tokens[i].Kind == sqllex.Word && conditionEnds[tokens[i].Text]
}

// isPredicateStart reports whether a further predicate of ours stands at i.
func isPredicateStart(tokens []sqllex.Token, i int, args []any) bool {
	return i+4 < len(tokens) && isPredicate(tokens, i, tokens[i+2].Text, tokens[i].Text, args)
}
