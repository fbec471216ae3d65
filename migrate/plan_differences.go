package migrate

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/courtroll/courtroll/models"
)

// Difference is something of the two tables that is otherwise than it should be and
// that no Up alters.
type Difference struct {
	Table string
	// Column is empty where it is about the table, a constraint or an index.
	Column string
	// Have and Want are in PostgreSQL's words: types, defaults, definitions.
	Have, Want string
	// Consequence is what it leads to.
	Consequence string
	// Fix is the SQL that ends it. It is empty if Widening does it, or only its owner
	// can judge.
	Fix string
	// Widening is what to name to [Migrator.Widen], as "tenants.created_at".
	Widening string
}

// String is one line for people.
func (d Difference) String() string {
	where := d.Table
	if d.Column != "" {
		where += "." + d.Column
	}
	text := fmt.Sprintf("%s: is %s, should be %s: %s", where, d.Have, d.Want, d.Consequence)
	if d.Fix != "" {
		text += ": " + d.Fix
	}
	if d.Widening != "" {
		text += fmt.Sprintf(": Widen(ctx, migrate.Widening{Column: %q, …})", d.Widening)
	}
	return text
}

// tableDifferences compares those of the two tables that exist with the contract.
func tableDifferences(ctx context.Context, s session) (list []Difference, err error) {
	for _, table := range []string{models.TenantsTable, models.AuditLogsTable} {
		live, err := readColumns(ctx, s, table)
		if err != nil {
			return nil, err
		}
		if len(live) == 0 {
			continue
		}
		list = append(list, columnDifferences(table, live)...)
		constraints, err := constraintDifferences(ctx, s, table)
		if err != nil {
			return nil, err
		}
		list = append(list, constraints...)
	}
	return list, nil
}

func columnDifferences(table string, live []liveColumn) (list []Difference) {
	known := map[string]bool{}
	for _, c := range contractOf(table) {
		known[c.name] = true
		has := findColumn(live, c.name)
		if has == nil {
			if !c.addable() {
				list = append(list, c.difference("missing", c.kind, "Up is refused: add it, with the values of the rows that are there", ""))
			}
			continue
		}
		list = append(list, c.differences(has)...)
	}
	for _, has := range live {
		if !known[has.Name] && has.NotNull && !has.Filled {
			list = append(list, Difference{
				Table: table, Column: has.Name, Have: "NOT NULL without a default", Want: "nullable, or with a default",
				Consequence: "inserts of courtroll fail: it does not know the column",
				Fix:         alterColumn(table, has.Name, "DROP NOT NULL"),
			})
		}
	}
	return list
}

func alterColumn(table, column, what string) string {
	return `ALTER TABLE ` + table + ` ALTER COLUMN ` + ident(column) + ` ` + what
}

func (c contractColumn) difference(have, want, consequence, fix string) Difference {
	return Difference{Table: c.table, Column: c.name, Have: have, Want: want, Consequence: consequence, Fix: fix}
}

// differences of one column: its type, whether it may be null, and its default.
func (c contractColumn) differences(has *liveColumn) (list []Difference) {
	if has.Type != c.kind {
		list = append(list, c.typeDifference(has))
	}
	switch {
	case c.null && has.NotNull:
		list = append(list, c.difference("NOT NULL", "nullable", "rows that have none cannot be written", alterColumn(c.table, c.name, "DROP NOT NULL")))
	case !c.null && !has.NotNull:
		list = append(list, c.difference("nullable", "NOT NULL", "rows without one can be written, which no reader expects", c.setNotNull()))
	}
	switch {
	case has.Fixed:
		list = append(list, c.difference("generated always", "a column that takes values", "inserts that give one fail", ""))
	case c.def != "" && !c.isDefault(has.Default):
		have := "without a default"
		if has.Default != "" {
			have = "DEFAULT " + has.Default
		}
		list = append(list, c.difference(have, "DEFAULT "+c.def, "rows that leave it out fail, or get another value",
			alterColumn(c.table, c.name, "SET DEFAULT "+c.def)))
	}
	return list
}

// setNotNull reads the table while others write to it, and locks it for a moment only.
func (c contractColumn) setNotNull() string {
	name := ident("courtroll_" + c.name + "_not_null")
	return strings.Join([]string{
		fmt.Sprintf(`ALTER TABLE %s ADD CONSTRAINT %s CHECK (%s IS NOT NULL) NOT VALID`, c.table, name, c.name),
		fmt.Sprintf(`ALTER TABLE %s VALIDATE CONSTRAINT %s`, c.table, name),
		alterColumn(c.table, c.name, "SET NOT NULL"),
		fmt.Sprintf(`ALTER TABLE %s DROP CONSTRAINT %s`, c.table, name),
	}, "; ")
}

var (
	clocks = regexp.MustCompile(`^\(?(now\(\)|CURRENT_TIMESTAMP|LOCALTIMESTAMP|(clock|statement|transaction)_timestamp\(\)|timezone\('utc'::text, now\(\)\))(\(\d\))?\)?(::timestamp.*)?$`)
	casts  = regexp.MustCompile(`::[a-z ]+(\(\d+\))?$`)
	uuids  = regexp.MustCompile(`^(gen_random_uuid|uuidv7|uuid_generate_v[147]|(.+\.)?courtroll_uuidv7)\(\)$`)
)

// isDefault takes any clock of the database, and any maker of UUIDs, for ours.
func (c contractColumn) isDefault(have string) bool {
	switch c.kind {
	case kindTime:
		return clocks.MatchString(strings.ReplaceAll(have, "'UTC'", "'utc'"))
	case kindUUID:
		return uuids.MatchString(have)
	}
	return casts.ReplaceAllString(have, "") == c.def
}

// typeDifference is that of a column whose type is another.
func (c contractColumn) typeDifference(has *liveColumn) Difference {
	d := c.difference(has.Type, c.kind, "values that fit "+c.kind+" may not fit it", "")
	switch {
	case !c.fits(has):
		d.Consequence = "Up is refused: courtroll's SQL does not work with it"
		d.Fix = fmt.Sprintf(`%s USING %s::%s`, alterColumn(c.table, c.name, "TYPE "+c.kind), c.name, c.kind)
	case c.widens(has):
		d.Widening = c.String()
	default:
		return d
	}
	switch has.Base {
	case kindLocalTime:
		d.Consequence = "it means UTC: every program has to write it so, also by a default of the database"
		if c.table == models.AuditLogsTable {
			d.Consequence = "the times of entries are those of each session's TimeZone: they are right, and in order, only while that is UTC everywhere"
		}
	case "json":
		d.Consequence = "searches in it are slow, and keys may come twice"
	case kindTime:
		d.Consequence = "times are rounded, and entries of one resource may have equal ones"
	}
	return d
}

// constraintDifferences looks for the keys that the contract has, and for those of which
// history must be free.
func constraintDifferences(ctx context.Context, s session, table string) (list []Difference, err error) {
	keyed, err := hasUnique(ctx, s, byName, table, "id", true)
	if err != nil {
		return nil, err
	}
	if !keyed {
		list = append(list, Difference{
			Table: table, Have: "without a primary key of id", Want: "PRIMARY KEY (id)", Consequence: "an id may come twice",
			Fix: fmt.Sprintf(`CREATE UNIQUE INDEX CONCURRENTLY %[1]s_pkey ON %[1]s (id); ALTER TABLE %[1]s ADD PRIMARY KEY USING INDEX %[1]s_pkey`, table),
		})
	}
	if table == models.AuditLogsTable {
		foreign, err := foreignKeyDifferences(ctx, s, table)
		return append(list, foreign...), err
	}
	unique, err := hasUnique(ctx, s, byName, table, "slug", false)
	if err == nil && !unique {
		list = append(list, Difference{
			Table: table, Column: "slug", Have: "not unique", Want: "UNIQUE (slug)", Consequence: "a slug may name two tenants",
			Fix: `CREATE UNIQUE INDEX CONCURRENTLY uni_tenants_slug ON tenants (slug); ALTER TABLE tenants ADD CONSTRAINT uni_tenants_slug UNIQUE USING INDEX uni_tenants_slug`,
		})
	}
	return list, err
}

func hasUnique(ctx context.Context, s session, oid string, what any, column string, primary bool) (bool, error) {
	found, err := queryStrings(ctx, s, `
		SELECT 'yes' FROM pg_catalog.pg_index i
		JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
		WHERE i.indrelid = `+oid+` AND a.attname = $2 AND i.indnkeyatts = 1
			AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND (i.indisprimary OR NOT $3)`, what, column, primary)
	return len(found) > 0, err
}

func foreignKeyDifferences(ctx context.Context, s session, table string) (list []Difference, err error) {
	type key struct{ Name, Definition string }
	keys, err := readRows[key](ctx, s, `SELECT conname AS "Name", pg_get_constraintdef(oid) AS "Definition"
		FROM pg_catalog.pg_constraint WHERE conrelid = to_regclass(quote_ident($1)) AND contype = 'f' ORDER BY 1`, table)
	for _, k := range keys {
		list = append(list, Difference{
			Table: table, Have: k.Definition, Want: "no foreign key", Fix: `ALTER TABLE ` + table + ` DROP CONSTRAINT ` + ident(k.Name),
			Consequence: "history goes with its subject, or keeps it from being deleted",
		})
	}
	return list, err
}

// indexDifference says what of a recorded version's index, or of our name, is not as it was built.
func (s *source) indexDifference(there presence) Difference {
	d := Difference{
		Table: s.index.table, Have: "without an index " + s.index.index, Want: s.index.index + " " + s.index.definition,
		Consequence: "what it serves reads the whole table", Fix: statement(s.up),
	}
	if there.differs {
		d.Have = there.own.name + " " + strings.TrimPrefix(there.own.definition, "CREATE INDEX ON ")
		d.Consequence = "the name is somebody's index: what ours serves may be slow, and Up fails where the version is pending"
		d.Fix = `ALTER INDEX ` + ident(there.own.schema, there.own.name) + ` RENAME TO ` + ident(there.own.name+"_old") + `; ` + statement(s.up)
	}
	return d
}
