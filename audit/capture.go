package audit

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/courtroll/courtroll/internal/plan"
	"github.com/courtroll/courtroll/internal/stmtpool"
	"github.com/courtroll/courtroll/models"
	"github.com/courtroll/courtroll/tenancy"
)

// capture rewrites one statement so that it writes its own trail.
type capture struct {
	plugin   *Plugin
	stmt     *gorm.Statement
	pool     *stmtpool.Pool
	model    *plan.Audited
	isDelete bool
	text     string // what is sent
}

// Rewrite implements stmtpool.Rewriter.
func (c *capture) Rewrite(ctx context.Context, conn gorm.ConnPool, query string, args []any, returning bool) (string, []any, error) {
	change, err := parse(query, len(args), c.model, c.isDelete)
	if err == nil && change.op == opUpsert && c.conflict().OnConstraint != "" {
		err = ErrUnaudited // the rows to lock are found by the conflict's columns
	}
	if err != nil {
		return "", nil, c.fail(err, nil)
	}
	text, err := change.render(returning)
	if err != nil {
		return "", nil, c.fail(err, nil)
	}
	c.text = text
	entry, err := entryOf(ctx)
	if err != nil {
		return "", nil, c.fail(ErrAudit, err)
	}
	all := append(append(make([]any, 0, len(args)+5), args...), entry.actor, entry.tenant, entry.ip, entry.metadata)
	if change.op == opUpsert {
		locked, err := c.lock(ctx, conn, change)
		if err != nil {
			return "", nil, err // as the upsert itself would have failed
		}
		all = append(all, locked)
	}
	return text, all, nil
}

func (c *capture) fail(kind, cause error) error {
	return &ChangeError{Table: c.model.Table, Kind: kind, Cause: cause}
}

// entry is what all audit rows of a statement have in common.
type entry struct {
	actor, tenant, ip *string
	metadata          string
}

func entryOf(ctx context.Context) (entry, error) {
	actor, _ := ActorFromContext(ctx)
	e := entry{actor: orNil(actor.ID), ip: actor.ip()}
	if id, err := tenancy.FromContext(ctx); err == nil {
		e.tenant = &id
	}
	var err error
	e.metadata, err = contextMetadata(ctx)
	return e, err
}

// lock takes the rows that an upsert may update, so that their old values
// cannot change under it, and returns their keys as a JSON array. It needs the
// conflict target's columns and their values; a row that it misses makes the
// upsert fail, not go unrecorded.
func (c *capture) lock(ctx context.Context, conn gorm.ConnPool, change *change) (string, error) {
	columns, rows := c.conflictKeys()
	if len(rows) == 0 {
		return "[]", nil
	}
	tenant, _ := tenancy.FromContext(ctx)
	query, args := lockQuery(change, columns, rows, tenant)
	var locked string
	err := conn.QueryRowContext(ctx, query, args...).Scan(&locked)
	if errors.Is(err, sql.ErrNoRows) {
		return "", c.fail(ErrAudit, errAmbiguousKey)
	}
	return locked, err
}

func (c *capture) conflict() clause.OnConflict {
	conflict, _ := c.stmt.Clauses["ON CONFLICT"].Expression.(clause.OnConflict)
	return conflict
}

// conflictKeys returns the columns of the conflict target and their values in
// the rows to insert. Rows that leave one to the database are left out.
func (c *capture) conflictKeys() (columns []string, rows [][]any) {
	conflict := c.conflict()
	values, _ := c.stmt.Clauses["VALUES"].Expression.(clause.Values)
	for _, column := range conflict.Columns {
		columns = append(columns, column.Name)
	}
	if len(columns) == 0 {
		columns = c.model.Keys
	}
	for _, row := range values.Values {
		if key, ok := c.keyOf(columns, values.Columns, row); ok {
			rows = append(rows, key)
		}
	}
	return columns, rows
}

func (c *capture) keyOf(columns []string, inserted []clause.Column, row []any) ([]any, bool) {
	key := make([]any, len(columns))
	for i, column := range columns {
		for j, at := range inserted {
			if at.Name == column {
				key[i] = row[j]
			}
		}
		if tenant, err := tenancy.FromContext(c.stmt.Context); err == nil && column == c.model.Tenant {
			key[i] = tenant
		}
		if _, isExpression := key[i].(clause.Expression); isExpression || key[i] == nil {
			return nil, false
		}
	}
	return key, true
}

// errAmbiguousKey is an upsert whose old rows the model's key cannot tell apart.
var errAmbiguousKey = errors.New("the model's primary key is not unique in its table, or was changed meanwhile")

// lockQuery selects the keys of the tenant's rows that hold one of the values,
// or of all rows where no tenant is given, in the order of their keys so that
// two upserts of the same rows do not deadlock. It returns nothing where the table
// has two rows of one key.
func lockQuery(c *change, columns []string, rows [][]any, tenant string) (string, []any) {
	var args []any
	param := func(value any) string { args = append(args, value); return parameter(len(args)) }
	tuples := make([]string, len(rows))
	for i, row := range rows {
		values := make([]string, len(row))
		for j, value := range row {
			values[j] = param(value)
		}
		tuples[i] = "(" + strings.Join(values, ", ") + ")"
	}
	names, keys, ids := make([]string, len(columns)), make([]string, len(c.model.Keys)), make([]string, len(c.model.Keys))
	for i, column := range columns {
		names[i] = c.column(column)
	}
	for i, key := range c.model.Keys {
		keys[i], ids[i] = c.column(key), fmt.Sprintf(`"__k%d"::text`, i)
	}
	where := "(" + strings.Join(names, ", ") + ") IN (" + strings.Join(tuples, ", ") + ")"
	if tenant != "" && c.model.Tenant != "" {
		where += " AND " + c.column(c.model.Tenant) + "::text = " + param(tenant)
	}
	table := c.targetTable() + ` AS ` + c.alias
	return `WITH "__audit" AS (SELECT ` + strings.Join(c.oldKeys(), ", ") + ` FROM ` + table + ` WHERE ` + where +
		` ORDER BY ` + strings.Join(keys, ", ") + ` FOR NO KEY UPDATE) ` +
		`SELECT coalesce(json_agg(` + resourceID(ids) + `), '[]')::text FROM "__audit" ` +
		`HAVING count(*) = (SELECT count(*) FROM "__audit" JOIN ` + table + ` ON ` + c.join() + `)`, args
}

// Failed implements stmtpool.Rewriter: it tells the trail's errors from the change's own.
func (c *capture) Failed(err error) error {
	if c.isTrailError(err) {
		return c.fail(ErrAudit, err)
	}
	return err
}

var namesTrail = regexp.MustCompile(`\b(` + models.AuditLogsTable + `|courtroll_uuidv7|` + regexp.QuoteMeta(uncertainSetting) + `)\b`)

// isTrailError reports whether the part of the statement that failed is the one that writes the trail.
func (c *capture) isTrailError(err error) bool {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return false
	}
	if pg.TableName != "" {
		return pg.TableName == models.AuditLogsTable
	}
	if pg.Position > 0 { // where in the text it was found wrong, in characters
		return int(pg.Position) > utf8.RuneCountInString(c.text[:max(0, strings.Index(c.text, trailStart))])
	}
	return namesTrail.MatchString(pg.Message) || strings.HasPrefix(pg.Code, "P0") && c.isTrailTrigger(pg.Where)
}

// isTrailTrigger reports whether the function in which an exception was raised
// is a trigger of the trail: the exception itself does not name its table. The
// transaction is lost by then, so another connection has to be asked; if none
// is free in time the error stays as it is.
func (c *capture) isTrailTrigger(where string) bool {
	name, _, ok := strings.Cut(strings.TrimPrefix(where, "PL/pgSQL function "), "(")
	if !ok || !c.plugin.hasSecondConnection(c.stmt.Context, c.pool.InTransaction()) {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second) // the catalogue is no tenant's
	defer cancel()
	var found bool
	err := c.plugin.handle.ConnPool.QueryRowContext(ctx, `SELECT EXISTS (SELECT FROM pg_trigger t JOIN pg_proc f ON f.oid = t.tgfoid
		WHERE t.tgrelid = to_regclass($1) AND f.proname = $2)`, models.AuditLogsTable, plan.Unqualified(name)).Scan(&found)
	return err == nil && found
}

func parameter(n int) string { return "$" + strconv.Itoa(n) }
