package audittest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/internal/stmtpool"
	"github.com/courtroll/courtroll/models"
)

// changeActions are the actions of changes. An event's is noun.verb.
var changeActions = []string{"create", "update", "delete", "soft_delete", "restore"}

// doubt says why there can be no entry of these names, empty if there can be. It
// is asked where there is none, which a misspelt name would explain.
func (tr *Trail) doubt(resourceType, action string) (string, error) {
	tables, err := tr.tables()
	if err != nil {
		return "", fmt.Errorf("reading the catalogue: %w", err)
	}
	if slices.Contains(changeActions, action) && slices.Contains(tables, resourceType) {
		return "", nil // without reading the trail
	}
	all, err := tr.read(audit.Filter{})
	switch {
	case err != nil:
		return "", err
	case slices.Contains(changeActions, action):
		return doubtOfTable(resourceType, tables, all), nil
	}
	return doubtOfEvent(resourceType, action, all), nil
}

func doubtOfTable(name string, tables []string, all []models.AuditLog) string {
	for _, entry := range all { // of tables that are gone, too
		tables = append(tables, entry.ResourceType)
	}
	if slices.Contains(tables, name) {
		return ""
	}
	return fmt.Sprintf("there is no table %q, nor an entry of one%s", name, didYouMean(name, tables))
}

// doubtOfEvent judges by what was recorded: what an app names its events, and
// what they are about, is its own affair.
func doubtOfEvent(resourceType, action string, all []models.AuditLog) string {
	var actions, types []string
	for _, entry := range all {
		actions = append(actions, entry.Action)
		if entry.Action == action {
			types = append(types, entry.ResourceType)
		}
	}
	if !strings.Contains(action, ".") && len(types) == 0 {
		return fmt.Sprintf("%q is no action: a change is one of %s, and an event is noun.verb%s",
			action, strings.Join(changeActions, ", "), didYouMean(action, append(actions, changeActions...)))
	}
	if near := didYouMean(resourceType, types); near != "" && !slices.Contains(types, resourceType) {
		return fmt.Sprintf("there is no %q on %q%s", action, resourceType, near)
	}
	return ""
}

// relations are the tables and views of the app's. A resource type is a table's
// name as its model has it, with its schema or without.
const relations = ` FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
	CROSS JOIN LATERAL (VALUES (c.relname::text), (n.nspname || '.' || c.relname)) AS s (name)
	WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^(pg_|information_schema$)'`

func (tr *Trail) tables() ([]string, error) {
	return tr.names(`SELECT coalesce(json_agg(DISTINCT s.name), '[]')::text` + relations)
}

// columns returns those of a table, none if the resource type is no table's.
func (tr *Trail) columns(resourceType string) ([]string, error) {
	return tr.names(`SELECT coalesce(json_agg(DISTINCT a.attname), '[]')::text FROM pg_catalog.pg_attribute a
		WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attrelid IN (SELECT c.oid`+relations+` AND s.name = $1)`, resourceType)
}

func (tr *Trail) names(query string, args ...any) (names []string, err error) {
	var text string
	if err := stmtpool.ScanRow(tr.ctx(), tr.db.Statement.ConnPool, &text, query, args...); err != nil {
		return nil, err
	}
	return names, json.Unmarshal([]byte(text), &names)
}

// nearest returns the name that a misspelt one was meant to be, empty if there is none.
func nearest(name string, names []string) string {
	best, least := "", 3
	for _, candidate := range names {
		a, b := plain(name), plain(candidate)
		far := distance(a, b)
		if strings.HasPrefix(a, b) || strings.HasPrefix(b, a) {
			far = min(far, 2) // a plural, a past tense, or a name that was not written to its end
		}
		if far < least && 2*far < min(len(a), len(b)) {
			best, least = candidate, far
		}
	}
	return best
}

// plain makes a Go field's name and its column's the same.
func plain(name string) string { return strings.ToLower(strings.ReplaceAll(name, "_", "")) }

// distance is Levenshtein's: how many bytes to put in, leave out or replace.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
