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
	isChange := slices.Contains(changeActions, action)
	if isChange && slices.Contains(tables, resourceType) {
		return tr.doubtOfKey(resourceType) // without reading all of the trail
	}
	all, err := tr.read(audit.Filter{})
	switch {
	case err != nil:
		return "", err
	case isChange:
		return doubtOfTable(resourceType, tables, all), nil
	}
	return doubtOfEvent(resourceType, action, tables, all), nil
}

func doubtOfTable(name string, tables []string, all []models.AuditLog) string {
	for _, entry := range all { // of tables that are gone, too
		tables = append(tables, entry.ResourceType)
	}
	if slices.Contains(tables, name) {
		return ""
	}
	if own := unqualified(name); own != name && slices.Contains(tables, own) {
		return fmt.Sprintf("the trail names a table without its schema, %q: so there is no entry of %q", own, name)
	}
	return fmt.Sprintf("there is no table %q, nor an entry of one%s", name, didYouMean(name, tables))
}

func unqualified(table string) string { return table[strings.LastIndexByte(table, '.')+1:] }

// doubtOfKey judges the number of a key's parts by the ids that the trail has.
func (tr *Trail) doubtOfKey(table string) (string, error) {
	if tr.filter.ResourceID == "" {
		return "", nil
	}
	page, err := audit.List(tr.ctx(), tr.db, audit.Filter{ResourceType: table, Limit: pageSize}, "")
	if err != nil {
		return "", err
	}
	given, there := partsOf(tr.filter.ResourceID), 0
	for _, entry := range page.Entries {
		if entry.ResourceID == nil {
			continue
		}
		if there = partsOf(*entry.ResourceID); there == given {
			return "", nil
		}
	}
	if there == 0 {
		return "", nil
	}
	return fmt.Sprintf("Of was given a key of %s, and that of %q has %s", plural(given, "part"), table, plural(there, "part")), nil
}

// partsOf is the number of parts of a resource's id: a JSON array has several.
func partsOf(id string) int {
	var parts []string
	if json.Unmarshal([]byte(id), &parts) != nil {
		return 1
	}
	return max(len(parts), 1)
}

// doubtOfEvent judges by what was recorded: what an app names its events, and
// what they are about, is its own affair.
func doubtOfEvent(resourceType, action string, tables []string, all []models.AuditLog) string {
	var actions, types []string
	for _, entry := range all {
		actions = append(actions, entry.Action)
		if entry.Action == action {
			types = append(types, entry.ResourceType)
		}
	}
	noun, verb, dotted := strings.Cut(action, ".")
	switch {
	case len(types) > 0:
	case !dotted:
		return fmt.Sprintf("%q is no action: a change is one of %s, and an event is noun.verb%s",
			action, strings.Join(changeActions, ", "), didYouMean(action, append(actions, changeActions...)))
	case noun == resourceType && slices.Contains(changeActions, verb) && slices.Contains(tables, resourceType):
		return fmt.Sprintf("the action of a change of %q is %q, and there is no event %q", resourceType, verb, action)
	default:
		if i := slices.IndexFunc(actions, func(other string) bool { return isSlip(action, other) }); i >= 0 {
			return fmt.Sprintf("there is no event %q: did you mean %q?", action, actions[i])
		}
	}
	if near := didYouMean(resourceType, types); near != "" && !slices.Contains(types, resourceType) {
		return fmt.Sprintf("there is no %q on %q%s", action, resourceType, near)
	}
	return ""
}

// exclusion returns why changes of a table leave no entry, empty where they do, or
// where the action is an event's. The error is also that nothing is recorded.
func (tr *Trail) exclusion(resourceType, action string) (reason string, err error) {
	lines, err := audit.Coverage(tr.ctx(), tr.db)
	if err != nil || !slices.Contains(changeActions, action) {
		return "", err
	}
	for _, line := range lines {
		if unqualified(line.Table) != resourceType {
			continue
		}
		if line.Excluded == "" || line.Trigger {
			return "", nil
		}
		reason = line.Excluded
	}
	return reason, nil
}

// relations are the tables and views of the app's. A resource type is a table's
// name without its schema.
const relations = ` FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
	WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^(pg_|information_schema$)'`

func (tr *Trail) tables() ([]string, error) {
	return tr.names(`SELECT coalesce(json_agg(DISTINCT c.relname), '[]')::text` + relations)
}

// columns returns those of a table, none if the resource type is no table's.
func (tr *Trail) columns(resourceType string) ([]string, error) {
	return tr.names(`SELECT coalesce(json_agg(DISTINCT a.attname), '[]')::text FROM pg_catalog.pg_attribute a
		WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attrelid IN (SELECT c.oid`+relations+` AND c.relname = $1)`, resourceType)
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

// isSlip reports whether one event's action is another's, but for one letter that
// is wrong, missing or too much, two that changed places, or capitals and
// underscores. More would take user.unlock for user.lock, and of short verbs
// key.get for key.set.
func isSlip(action, other string) bool {
	a, b := plain(action), plain(other)
	if a == b {
		return true
	}
	_, verbA, _ := strings.Cut(a, ".")
	_, verbB, _ := strings.Cut(b, ".")
	if verbA != verbB && min(len(verbA), len(verbB)) < 4 {
		return false
	}
	return distance(a, b) == 1 || isSwap(a, b)
}

// isSwap reports whether two neighbouring bytes changed places, and that is all.
func isSwap(a, b string) bool {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	return len(a) == len(b) && i+1 < len(a) && a[i] == b[i+1] && a[i+1] == b[i] && a[i+2:] == b[i+2:]
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
