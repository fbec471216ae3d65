//go:build !race

package scale

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/models"
)

// statement is what List sent.
type statement struct {
	sql  string
	args []any
}

// sent returns the statement of a page of List: of the first, or of one that
// goes on at a moment in the middle of what there is to read.
func sent(t *testing.T, ctx context.Context, db *gorm.DB, filter audit.Filter, from time.Time) statement {
	t.Helper()
	var last statement
	db = db.Session(&gorm.Session{Context: context.WithValue(ctx, recorder{}, &last)})
	ctx = db.Statement.Context
	page, err := audit.List(ctx, db, filter, "")
	must(t, err)
	if from.IsZero() {
		return last
	}
	if page.Next == "" {
		return statement{}
	}
	_, err = audit.List(ctx, db, filter, page.Next)
	must(t, err)
	last.args[slices.IndexFunc(last.args, isID)-1] = from
	return last
}

func isID(arg any) bool {
	text, ok := arg.(string)
	return ok && uuid.Validate(text) == nil
}

type recorder struct{}

// record puts what the handle reads into the context's statement.
func record(t *testing.T, db *gorm.DB) *gorm.DB {
	t.Helper()
	must(t, db.Callback().Query().After("gorm:query").Register("scale:record", func(tx *gorm.DB) {
		if last, ok := tx.Statement.Context.Value(recorder{}).(*statement); ok {
			*last = statement{tx.Statement.SQL.String(), slices.Clone(tx.Statement.Vars)}
		}
	}))
	return db
}

// plan is what the server did.
type plan struct {
	text    string
	nodes   []node
	buffers int
}

type node struct {
	Type    string  `json:"Node Type"`
	Index   string  `json:"Index Name"`
	Rows    float64 `json:"Actual Rows"`
	Loops   float64 `json:"Actual Loops"`
	Removed float64 `json:"Rows Removed by Filter"`
	Recheck float64 `json:"Rows Removed by Index Recheck"`
	Hit     int     `json:"Shared Hit Blocks"`
	Read    int     `json:"Shared Read Blocks"`
	Plans   []node  `json:"Plans"`
}

// reads is the number of entries that a scan looked at. What a bitmap is made of
// are no entries yet.
func (n node) reads() int {
	if !strings.Contains(n.Type, "Scan") || n.Type == "Bitmap Index Scan" {
		return 0
	}
	return int(n.Loops * (n.Rows + n.Removed + n.Recheck))
}

func (p *plan) walk(n node) {
	p.nodes = append(p.nodes, n)
	for _, below := range n.Plans {
		p.walk(below)
	}
}

// reads is the number of entries that the widest scan looked at.
func (p *plan) reads() (most int) {
	for _, n := range p.nodes {
		most = max(most, n.reads())
	}
	return most
}

// indexes are what the plan reads, by the ends of their names.
func (p *plan) indexes() string {
	var list []string
	for _, n := range p.nodes {
		switch {
		case n.Index != "":
			list = append(list, strings.TrimPrefix(n.Index, "courtroll_audit_logs_"))
		case n.Type == "Seq Scan":
			list = append(list, "table")
		}
	}
	slices.Sort(list)
	return strings.Join(slices.Compact(list), "+")
}

func (p *plan) has(kind string) bool {
	return slices.ContainsFunc(p.nodes, func(n node) bool { return strings.Contains(n.Type, kind) })
}

// session explains on one connection as one login of one tenant.
type session struct{ *sql.Conn }

func connect(t *testing.T, login *gorm.DB, tenant string) session {
	t.Helper()
	pool, err := login.DB()
	must(t, err)
	conn, err := pool.Conn(t.Context())
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	s := session{conn}
	s.exec(t, `SELECT set_config($1, $2, false)`, models.TenantSetting, tenant)
	return s
}

// explain runs a statement as the server does when pgx has prepared it, in a mode
// of its plan cache: auto is what the sixth run on a connection meets.
func (s session) explain(t *testing.T, made statement, mode string) *plan {
	t.Helper()
	s.exec(t, `SET plan_cache_mode = `+mode)
	s.exec(t, `PREPARE listing AS `+made.sql)
	defer s.exec(t, `DEALLOCATE listing`)
	run := `EXECUTE listing (` + literals(made.args) + `)`
	if mode == "auto" {
		for range 6 {
			s.exec(t, `EXPLAIN `+run)
		}
	}
	var raw string
	must(t, s.QueryRowContext(t.Context(), `EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) `+run).Scan(&raw))
	var tops []struct{ Plan node }
	must(t, json.Unmarshal([]byte(raw), &tops))
	p := &plan{text: raw, buffers: tops[0].Plan.Hit + tops[0].Plan.Read}
	p.walk(tops[0].Plan)
	return p
}

func (s session) exec(t *testing.T, query string, args ...any) {
	t.Helper()
	if _, err := s.ExecContext(t.Context(), query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

func literals(args []any) string {
	var list []string
	for _, arg := range args {
		if valuer, ok := arg.(driver.Valuer); ok {
			arg, _ = valuer.Value()
		}
		switch v := arg.(type) {
		case int:
			list = append(list, fmt.Sprint(v))
		case time.Time:
			list = append(list, `'`+v.Format(time.RFC3339Nano)+`'`)
		default:
			list = append(list, `'`+strings.ReplaceAll(fmt.Sprint(v), `'`, `''`)+`'`)
		}
	}
	return strings.Join(list, ", ")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
