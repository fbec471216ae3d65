package audit

import (
	"database/sql"
	"encoding/json"
	"slices"

	"github.com/courtroll/courtroll/models"
)

// captureTriggers are those that migrate's CaptureByTrigger puts on a table,
// with what PostgreSQL says of their kind (pg_trigger.tgtype): for each
// statement, after an INSERT, UPDATE or DELETE, and before a TRUNCATE.
var captureTriggers = []struct {
	name string
	kind int
}{
	{"courtroll_capture_insert", 1 << 2},
	{"courtroll_capture_delete", 1 << 3},
	{"courtroll_capture_update", 1 << 4},
	{"courtroll_capture_truncate", 1<<5 | 1<<1},
}

// relation is a table or a view.
type relation struct {
	OID       uint32 `json:"oid"`
	Schema    string `json:"schema"`
	Name      string `json:"name"`
	Kind      string `json:"kind"`      // as in pg_class
	Visible   bool   `json:"visible"`   // its name alone means it
	Own       bool   `json:"own"`       // it is the app's own, and not an extension's or migrate's
	Root      uint32 `json:"root"`      // of a partition that no model names, the table that it is a part of
	Writable  bool   `json:"writable"`  // by this login
	Updatable bool   `json:"updatable"` // by a login that may
	Found     int    `json:"found"`     // triggers of captureTriggers' names
	Firing    int    `json:"firing"`    // those that are of their kind and enabled
}

func (r relation) captured() bool { return r.Firing == len(captureTriggers) }

func (r relation) qualified() string { return r.Schema + "." + r.Name }

// display returns the name by which messages call the table.
func (r relation) display() string {
	if r.Visible {
		return r.Name
	}
	return r.qualified()
}

// isIn reports whether a schema in an exclusion, empty where none was given, is
// the table's.
func (r relation) isIn(given string) bool {
	return given == r.Schema || given == "" && (r.Visible || r.Schema == "public")
}

// names returns those that a model may give the table.
func (r relation) names() []string {
	if r.Visible {
		return []string{r.Name, r.qualified()}
	}
	return []string{r.qualified()}
}

// firing is the condition that a trigger, or a rule, fires in a session of an
// app: one that is disabled does not, nor one for replication alone.
const firing = `IN ('O', 'A')`

// foreignSchemas are those of no app's tables: PostgreSQL's own and sessions'.
const foreignSchemas = `(n.nspname IN ('pg_catalog', 'information_schema') OR n.nspname LIKE 'pg\_temp\_%' OR n.nspname LIKE 'pg\_toast%')`

// captured counts the triggers of a relation c by the names in $1, as JSON, of those that fire.
const capturingSQL = `FROM pg_catalog.pg_trigger t JOIN json_to_recordset($1::text::json) AS k (name text, kind int) ON k.name = t.tgname WHERE t.tgrelid = c.oid`

const firingSQL = capturingSQL + ` AND t.tgtype = k.kind AND t.tgenabled ` + firing + ` AND t.tgqual IS NULL AND t.tgattr = ''`

// relationsSQL reads the app's tables, and those that the names in $2, as JSON,
// stand for.
const relationsSQL = `SELECT json_agg(json_build_object('oid', c.oid::bigint, 'schema', n.nspname, 'name', c.relname, 'kind', c.relkind,
		'visible', pg_catalog.pg_table_is_visible(c.oid), 'own', v.own, 'updatable', v.updatable,
		'root', CASE WHEN c.relispartition AND NOT v.named THEN pg_catalog.pg_partition_root(c.oid)::oid::bigint ELSE 0 END,
		'writable', v.updatable AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND (pg_catalog.has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
			OR pg_catalog.has_any_column_privilege(c.oid, 'INSERT, UPDATE')),
		'found', (SELECT count(*) ` + capturingSQL + `), 'firing', (SELECT count(*) ` + firingSQL + `)) ORDER BY n.nspname, c.relname)::text
	FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
	CROSS JOIN LATERAL (SELECT c.relkind IN ('r', 'p') OR pg_catalog.pg_relation_is_updatable(c.oid, true) & 28 <> 0 AS updatable,
		c.relname <> '` + models.MigrationsTable + `'
			AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e') AS own,
		EXISTS (SELECT FROM json_array_elements_text($2::text::json) AS m (name)
			WHERE m.name = n.nspname || '.' || c.relname OR m.name = c.relname AND pg_catalog.pg_table_is_visible(c.oid)) AS named) v
	WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT ` + foreignSchemas + ` AND (v.own OR v.named)`

func (s *survey) relations() ([]relation, error) {
	names := make([]string, 0, len(s.models)+1)
	for name := range s.models {
		names = append(names, name)
	}
	slices.Sort(names)
	var found []relation
	err := s.read(&found, relationsSQL, captures(), asJSON(names))
	return found, err
}

// captures returns captureTriggers as JSON, for [capturingSQL].
func captures() string {
	type capture struct {
		Name string `json:"name"`
		Kind int    `json:"kind"`
	}
	all := make([]capture, 0, len(captureTriggers))
	for _, t := range captureTriggers {
		all = append(all, capture{t.name, t.kind})
	}
	return asJSON(all)
}

func asJSON(value any) string {
	text, _ := json.Marshal(value) // texts and numbers have a JSON form
	return string(text)
}

// read reads a query's one value, which is JSON or NULL. It goes past GORM's
// callbacks: the catalogue is nobody's, and no text of an app's is in it.
func (s *survey) read(into any, query string, args ...any) error {
	var text sql.NullString
	if err := s.pool.QueryRowContext(s.ctx, query, args...).Scan(&text); err != nil || !text.Valid {
		return err
	}
	return json.Unmarshal([]byte(text.String), into)
}
