package tests

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/internal/sqllex"
	"github.com/courtroll/courtroll/tenancy"
)

// statement is one that reached the server, with its arguments.
type statement struct {
	query string
	args  []string
}

// wire records what a handle sends, from below database/sql, so that prepared
// statements and those on db.DB() are seen too.
type wire struct {
	mu       sync.Mutex
	sent     []statement
	prepared map[string]string
}

func (w *wire) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	w.mu.Lock()
	defer w.mu.Unlock()
	query := data.SQL
	if text, ok := w.prepared[query]; ok {
		query = text
	}
	if !transactionControl.MatchString(query) {
		w.sent = append(w.sent, statement{query, values(data.Args)})
	}
	return ctx
}

// values returns the parameters as text, without what tells pgx how to read results.
func values(args []any) (texts []string) {
	for _, arg := range args {
		switch arg := arg.(type) {
		case pgx.QueryResultFormatsByOID, pgx.QueryResultFormats, pgx.QueryExecMode:
			continue
		case driver.Valuer:
			value, err := arg.Value()
			texts = append(texts, fmt.Sprint(value, err))
		default:
			texts = append(texts, fmt.Sprint(arg, error(nil)))
		}
	}
	return texts
}

func (w *wire) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (w *wire) TracePrepareStart(ctx context.Context, _ *pgx.Conn, data pgx.TracePrepareStartData) context.Context {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.prepared[data.Name] = data.SQL
	return ctx
}

func (w *wire) TracePrepareEnd(context.Context, *pgx.Conn, pgx.TracePrepareEndData) {}

var transactionControl = regexp.MustCompile(`(?i)^(begin|commit|rollback|savepoint|release|-- ping|;)`)

// matrixRow names a row.
type matrixRow struct{ Tenant, Tbl, Key string }

// observed is what a run did and returned.
type observed struct {
	result        string
	err           error
	sent          []statement
	before, after map[matrixRow]string
	crossed       int64
}

// matrixDB is a database with the rows of one or both tenants.
type matrixDB struct {
	*pgtest.DB
	super  *gorm.DB
	walled *gorm.DB // behind all walls, and what it sends
	wire   *wire
}

func newMatrixDB(t *testing.T, template pgtest.Template) *matrixDB {
	db := pgtest.New(t, template)
	return &matrixDB{DB: db, super: db.Open(postgres.Open(db.SuperDSN), nil)}
}

// matrixWalls are what stands between hal and acme.
type matrixWalls int

const (
	noWall matrixWalls = iota
	pluginAlone
	allWalls // the database's as well, where there are any
)

// open opens a handle of the app's.
func (m *matrixDB) open(t *testing.T, walls matrixWalls) (*gorm.DB, *wire) {
	t.Helper()
	config, err := pgx.ParseConfig(m.AppDSN)
	must(t, err)
	w := &wire{prepared: map[string]string{}}
	config.Tracer = w
	app := m.Open(tenancy.PostgresConfig(config), nil)
	must(t, app.SetupJoinTable(&Room{}, "Tags", &RoomTag{}))
	switch walls {
	case pluginAlone:
		use(t, app, tenancy.New(tenancy.Config{Rules: matrixRules}))
	case allWalls:
		use(t, app, tenancy.New(tenancy.Config{Rules: matrixRules, RowLevelSecurity: true, RequireConfinedRole: true}))
		must(t, tenancy.Verify(t.Context(), app))
		w.sent = nil
	}
	return app.WithContext(tenancy.WithTenant(t.Context(), "hal")), w
}

// reset makes the tables hold the rows of the given tenants and no others, in the
// order of their creation: what DELETE leaves free would be used again.
func (m *matrixDB) reset(t *testing.T, tenants map[string]int64) {
	t.Helper()
	text := "TRUNCATE " + strings.Join(matrixTables, ", ") + "; "
	for tenant, id := range tenants {
		seed := strings.ReplaceAll(strings.ReplaceAll(matrixSeed, "@tenant", "'"+tenant+"'"), "@id", number(id))
		text += seed + "; "
	}
	for _, table := range matrixTables {
		if table != "room_tags" {
			text += fmt.Sprintf("SELECT setval('%s_id_seq', %d); ", table, matrixNew)
		}
	}
	must(t, m.super.Exec(text).Error)
}

func (m *matrixDB) rows(t *testing.T) map[matrixRow]string {
	t.Helper()
	var selects []string
	for _, table := range matrixTables {
		key := "id::text"
		if table == "room_tags" {
			key = "room_id || '/' || tag_id"
		}
		selects = append(selects, fmt.Sprintf("SELECT tenant_id AS tenant, '%s' AS tbl, %s AS key, r::text AS text FROM %[1]s r", table, key))
	}
	var found []struct{ Tenant, Tbl, Key, Text string }
	must(t, m.super.Raw(strings.Join(selects, " UNION ALL ")).Scan(&found).Error)
	rows := map[matrixRow]string{}
	for _, row := range found {
		rows[matrixRow{row.Tenant, row.Tbl, row.Key}] = row.Text
	}
	if len(rows) != len(found) {
		t.Fatalf("%d rows have %d names", len(found), len(rows))
	}
	return rows
}

var (
	bothTenants = map[string]int64{"acme": matrixAcme, "hal": matrixHal}
	halAlone    = map[string]int64{"hal": matrixHal}
)

// observe runs a case once, with a handle of its own: a case may change it.
func (m *matrixDB) observe(t *testing.T, tc matrixCase, tenants map[string]int64, walls matrixWalls) observed {
	t.Helper()
	m.reset(t, tenants)
	if tc.before != "" && len(tenants) > 1 {
		must(t, m.super.Exec(tc.before).Error)
	}
	return m.act(t, tc, walls)
}

func (m *matrixDB) act(t *testing.T, tc matrixCase, walls matrixWalls) observed {
	t.Helper()
	db, w := m.open(t, walls)
	pool, err := db.DB()
	must(t, err)
	defer func() { must(t, pool.Close()) }()
	return m.actOn(t, tc, db, w)
}

func (m *matrixDB) actOn(t *testing.T, tc matrixCase, db *gorm.DB, w *wire) observed {
	t.Helper()
	o := observed{before: m.rows(t)}
	crossedBefore := m.crossed(t)
	result, err := tc.run(db)
	text, jsonErr := json.Marshal(result)
	must(t, jsonErr)
	w.mu.Lock()
	defer w.mu.Unlock()
	o.result, o.err, o.sent, o.after = string(text), err, w.sent, m.rows(t)
	o.crossed = m.crossed(t) - crossedBefore
	return o
}

func (m *matrixDB) crossed(t *testing.T) (n int64) {
	t.Helper()
	must(t, m.super.Raw(matrixCrossed).Scan(&n).Error)
	return n
}

// unchanged reports whether no row of the tenant (of any, if it is empty)
// changed, came or went.
func (o observed) unchanged(tenant string) bool {
	of := func(rows map[matrixRow]string) map[matrixRow]string {
		rows = maps.Clone(rows)
		maps.DeleteFunc(rows, func(r matrixRow, _ string) bool { return tenant != "" && r.Tenant != tenant })
		return rows
	}
	return maps.Equal(of(o.before), of(o.after))
}

// leaks reports whether the run reached past hal: changed a row of acme's, read
// one, or made a row refer to one.
func (o observed) leaks() bool {
	return !o.unchanged("acme") || strings.Contains(o.result, "acme") || o.crossed != 0
}

// created returns how many rows came, and whether all are hal's.
func (o observed) created() (n int, stamped bool) {
	stamped = true
	for row := range o.after {
		if _, ok := o.before[row]; !ok {
			n++
			stamped = stamped && row.Tenant == "hal"
		}
	}
	return n, stamped
}

// predicate is how the plugin confines a mention of a table.
var predicate = regexp.MustCompile(`"(\w+)"\."tenant_id" = \$(\d+)`)

// filtered returns how many mentions of tenants' tables were read or changed,
// how many inserted into,
// and whether each of the first has its predicate with the id of hal.
func (o observed) filtered(t *testing.T) (mentions, inserts int, all bool) {
	t.Helper()
	owned := map[string]bool{}
	for _, table := range matrixTables {
		owned[table] = true
	}
	all = true
	for _, s := range o.sent {
		parsed, err := sqllex.Analyze(s.query)
		must(t, err)
		confined := map[string]bool{}
		for _, m := range predicate.FindAllStringSubmatch(s.query, -1) {
			var n int
			_, err := fmt.Sscan(m[2], &n)
			must(t, err)
			confined[m[1]] = s.args[n-1] == fmt.Sprint("hal", error(nil))
		}
		for i, ref := range parsed.Refs {
			switch {
			case !owned[ref.Name]:
			case i == 0 && parsed.Verb == "insert":
				inserts++
			default:
				mentions++
				all = all && confined[ref.Alias]
			}
		}
	}
	return mentions, inserts, all
}

var matrixErrors = []struct {
	name string
	kind error
}{
	{"tenancy.ErrTenantImmutable", tenancy.ErrTenantImmutable}, // is ErrCrossTenant too, where it names another tenant
	{"tenancy.ErrCrossTenant", tenancy.ErrCrossTenant},
	{"tenancy.ErrNoTenant", tenancy.ErrNoTenant},
	{"tenancy.ErrOpaqueSQL", tenancy.ErrOpaqueSQL},
	{"tenancy.ErrUnclassified", tenancy.ErrUnclassified},
	{"tenancy.ErrMigrateHandle", tenancy.ErrMigrateHandle},
}

// refusal returns the name of the typed error that stopped the run, "" if none
// did, and whether it came before a statement on a tenant's table was sent.
func (o observed) refusal(t *testing.T) (name string, inTime bool) {
	t.Helper()
	if errors.Is(o.err, gorm.ErrDuplicatedKey) {
		return "gorm.ErrDuplicatedKey", true // the server decides that
	}
	for _, e := range matrixErrors {
		if errors.Is(o.err, e.kind) {
			mentions, inserts, _ := o.filtered(t)
			return e.name, mentions+inserts == 0
		}
	}
	return "", true
}
