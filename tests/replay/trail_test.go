package replay

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// row is a row, or the changed columns of one, as PostgreSQL renders them to JSON.
// Two values are the same if their texts are: 1.0 is not 1.00.
type row map[string]json.RawMessage

// rows are those of a table, by their key as the trail names it.
type rows map[string]row

// entry is a line of the trail. The time and the id are its place in the order.
type entry struct {
	ID, At, Actor, Tenant string
	Action, Table, Key    string
	Xid                   string
	Old, New              row // of the columns that changed
}

// version is a line of the shadow: one change of one row.
type version struct {
	Table    string
	Old, New row // nil where there was none
	Xid      string
}

const (
	null     = "null"
	redacted = `"[redacted]"`
)

func (r row) at(column string) string {
	if v, ok := r[column]; ok {
		return string(v)
	}
	return null
}

// trail reads the entries in their order.
func (l *lab) trail() ([]entry, error) {
	var lines []struct {
		ID, At, Actor, Tenant, Action, Table, Key, Xid, Changes string
	}
	err := l.super.Raw(`SELECT id::text, created_at::text AS at, coalesce(actor_id, '') AS actor, coalesce(tenant_id, '') AS tenant, action,
		resource_type AS "table", coalesce(resource_id, '') AS key, metadata->>'transaction_id' AS xid, metadata->'changes' AS changes
		FROM audit_logs ORDER BY created_at, id`).Scan(&lines).Error
	entries := make([]entry, 0, len(lines))
	for _, line := range lines {
		var changes map[string]struct{ Old, New json.RawMessage }
		if err := json.Unmarshal([]byte(line.Changes), &changes); err != nil {
			return nil, fmt.Errorf("the changes of entry %s: %w", line.ID, err)
		}
		e := entry{line.ID, line.At, line.Actor, line.Tenant, line.Action, line.Table, line.Key, line.Xid, row{}, row{}}
		for column, c := range changes {
			// A column that is NULL before and after may be in a create or a delete, or not.
			if string(c.Old) != null || string(c.New) != null {
				e.Old[column], e.New[column] = c.Old, c.New
			}
		}
		entries = append(entries, e)
	}
	return entries, err
}

// shadow reads what the oracle saw.
func (l *lab) shadow() ([]version, error) {
	var lines []struct{ Tbl, Old, New, Xid string }
	err := l.super.Raw(`SELECT tbl, coalesce(old, 'null') AS old, coalesce(new, 'null') AS new, xid FROM oracle.shadow ORDER BY seq`).Scan(&lines).Error
	versions := make([]version, len(lines))
	for i, line := range lines {
		v := version{Table: line.Tbl, Xid: line.Xid}
		if err := json.Unmarshal([]byte(line.Old), &v.Old); err != nil {
			return nil, err
		}
		if err := json.Unmarshal([]byte(line.New), &v.New); err != nil {
			return nil, err
		}
		versions[i] = v
	}
	return versions, err
}

// rows reads all tables.
func (l *lab) rows() (map[string]rows, error) {
	var parts []string
	for _, t := range tables {
		parts = append(parts, fmt.Sprintf(`SELECT '%[1]s' AS "table", to_jsonb(t) AS row FROM %[1]s AS t`, t.name))
	}
	var lines []struct{ Table, Row string }
	err := l.super.Raw(strings.Join(parts, " UNION ALL ")).Scan(&lines).Error
	all := map[string]rows{}
	for _, t := range tables {
		all[t.name] = rows{}
	}
	for _, line := range lines {
		var r row
		if err := json.Unmarshal([]byte(line.Row), &r); err != nil {
			return nil, err
		}
		all[line.Table][tableNamed(line.Table).key(r)] = r
	}
	return all, err
}

// key renders a row's key as the trail does: as text, or as a JSON array of texts.
func (t *table) key(r row) string {
	parts := make([]string, len(t.keys))
	for i, column := range t.keys {
		parts[i] = plainText(r[column])
	}
	if len(parts) == 1 {
		return parts[0]
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(parts)
	return strings.TrimSuffix(b.String(), "\n")
}

func plainText(v json.RawMessage) string {
	var text string
	if err := json.Unmarshal(v, &text); err == nil {
		return text
	}
	return string(v)
}

// seen returns what the trail may show of a value.
func (t *table) seen(column, value string) string {
	if value != null && slices.Contains(t.redacted, column) {
		return redacted
	}
	return value
}

// expect returns the entry that a version has to leave, and false if it has to
// leave none.
func (v version) expect() (entry, bool) {
	t := tableNamed(v.Table)
	e := entry{Table: v.Table, Xid: v.Xid, Tenant: plainText(union(v.Old, v.New)["tenant_id"]), Action: "update", Key: t.key(v.Old), Old: row{}, New: row{}}
	real := false
	for column := range union(v.Old, v.New) {
		before, after := v.Old.at(column), v.New.at(column)
		if before == after || slices.Contains(t.omitted, column) {
			continue
		}
		e.Old[column], e.New[column] = json.RawMessage(t.seen(column, before)), json.RawMessage(t.seen(column, after))
		real = real || !slices.Contains(t.auto, column)
	}
	before, after := v.Old.at(t.deletedAt), v.New.at(t.deletedAt)
	switch {
	case v.Old == nil:
		e.Action, e.Key, real = "create", t.key(v.New), true
	case v.New == nil:
		e.Action, real = "delete", true
	case before == null && after != null:
		e.Action = "soft_delete"
	case before != null && after == null:
		e.Action = "restore"
	}
	return e, real
}

func union(a, b row) row {
	all := maps.Clone(a)
	if all == nil {
		all = row{}
	}
	maps.Copy(all, b)
	return all
}

// String renders what an entry says, without its id, time and actor.
func (e entry) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s of %s in %s:", e.Action, e.Table, e.Key, e.Tenant, e.Xid)
	for _, column := range slices.Sorted(maps.Keys(union(e.Old, e.New))) {
		fmt.Fprintf(&b, " %s %s→%s", column, e.Old.at(column), e.New.at(column))
	}
	return b.String()
}

// compare holds the trail against the shadow: every version has its entry and
// every entry its version, with the same values and in the same transaction, those
// of a row in the same order.
func compare(versions []version, entries []entry) string {
	want, got := map[string][]string{}, map[string][]string{}
	for _, v := range versions {
		if e, real := v.expect(); real {
			want[e.Table+" "+e.Key] = append(want[e.Table+" "+e.Key], e.String())
		}
	}
	whose := map[string]string{}
	for _, e := range entries {
		if other, ok := whose[e.Xid]; ok && other != e.Actor {
			return fmt.Sprintf("entries of %s and of %s have the transaction %s", other, e.Actor, e.Xid)
		}
		whose[e.Xid] = e.Actor
		got[e.Table+" "+e.Key] = append(got[e.Table+" "+e.Key], e.String())
	}
	for _, of := range slices.Sorted(maps.Keys(want)) {
		if !slices.Equal(want[of], got[of]) {
			return fmt.Sprintf("the trail of %s is\n%s\nwant\n%s", of, strings.Join(got[of], "\n"), strings.Join(want[of], "\n"))
		}
	}
	for _, of := range slices.Sorted(maps.Keys(got)) {
		if want[of] == nil {
			return fmt.Sprintf("nothing happened to %s, but the trail has\n%s", of, strings.Join(got[of], "\n"))
		}
	}
	return ""
}
