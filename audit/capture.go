package audit

import (
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"

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
	name     string // of the table
	source   source
	isDelete bool
	text     string // what is sent
}

// Rewrite implements stmtpool.Rewriter.
func (c *capture) Rewrite(ctx context.Context, conn gorm.ConnPool, query string, args []any, returning bool) (string, []any, error) {
	text, err := c.plugin.texts.Analyze(query)
	if err != nil || len(text.Refs) == 0 {
		return "", nil, c.fail(ErrUnaudited, err)
	}
	table, err := c.plugin.compile(ctx, conn, target{c.source, quoted(text.Refs[0])})
	if err != nil {
		return "", nil, err
	}
	if c.text, err = table.rewritten(rewrite{query, len(args), c.isDelete, returning}, text); err != nil {
		return "", nil, c.fail(err, nil)
	}
	entry, err := entryOf(ctx)
	if err != nil {
		return "", nil, c.fail(ErrAudit, err)
	}
	all := append(append(make([]any, 0, len(args)+6), args...), entry.actor, entry.tenant, entry.ip, entry.rest())
	if table.Hashes() && hashes(c.text, len(args)) {
		inner, outer := padded(c.plugin.config.HashKey)
		all = append(all, inner, outer)
	}
	return c.text, all, nil
}

// hashes reports whether the statement takes the key: an update that leaves the
// hashed columns alone does not, and the server refuses a parameter too many.
func hashes(sent string, params int) bool {
	return strings.Contains(sent[max(0, strings.Index(sent, trailStart)):], parameter(params+5)+"::bytea")
}

func (c *capture) fail(kind, cause error) error {
	return &ChangeError{Table: c.name, Kind: kind, Cause: cause}
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
	metadata := actor.metadata()
	if scope, ok := tenancy.SystemFromContext(ctx); ok {
		metadata["system_reason"] = scope.Reason()
	}
	text, err := json.Marshal(metadata)
	e.metadata = string(text)
	return e, err
}

// rest returns the metadata as the end of a JSON object that has members already.
func (e entry) rest() string {
	if inside := e.metadata[1:]; inside != "}" {
		return "," + inside
	}
	return "}"
}

// metadata returns what an audit row's metadata says of the actor.
func (a Actor) metadata() map[string]any {
	m := map[string]any{}
	for key, value := range map[string]string{
		"actor_kind": string(a.kind()), "actor_name": a.Name, "request_id": a.RequestID, "user_agent": a.UserAgent,
	} {
		if value != "" {
			m[key] = strings.ToValidUTF8(strings.ReplaceAll(value, "\x00", ""), "\uFFFD")
		}
	}
	return m
}

// Failed implements stmtpool.Rewriter: it tells the trail's errors from the change's own.
func (c *capture) Failed(err error) error {
	if c.isTrailError(err) {
		c.plugin.forgetTables()
		return c.fail(ErrAudit, err)
	}
	return err
}

var namesTrail = regexp.MustCompile(`\b(` + models.AuditLogsTable + `|courtroll_uuidv7|` + regexp.QuoteMeta(uncertainSetting) + `|` + regexp.QuoteMeta(alteredSetting) + `)\b`)

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
