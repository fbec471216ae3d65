package migrate

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Versions and indexes.
const (
	CodeNoVersions      Code = "versions-missing" // courtroll_migrations is gone
	CodeVersionPending  Code = "version-pending"
	CodeVersionChecksum Code = "version-checksum"
	CodeVersionUnknown  Code = "version-unknown" // of a newer release
	CodeIndexMissing    Code = "index-missing"   // of a version
	CodeIndexInvalid    Code = "index-invalid"
)

// findOurs finds along the search_path of the login what lies beside no table of ours.
func (d *doctor) findOurs(ctx context.Context) error {
	home, err := queryStrings(ctx, d.tx, `SELECT n.nspname::text FROM pg_catalog.pg_proc p
		JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE p.oid = to_regprocedure('courtroll_uuidv7()')`)
	if err != nil {
		return err
	}
	if len(home) > 0 {
		d.uuidHome = home[0]
	}
	if d.searched, err = queryStrings(ctx, d.tx, `SELECT unnest(pg_catalog.current_schemas(false))::text`); err != nil {
		return err
	}
	// One in another schema counts, too, for the owner's search_path may be another.
	records, err := queryStrings(ctx, d.tx, `SELECT n.nspname::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relname = $1 AND c.relkind IN ('r', 'p') ORDER BY c.oid = to_regclass($1) DESC NULLS LAST, n.nspname = current_schema() DESC, n.nspname LIMIT 1`, recordsTable)
	if err == nil && len(records) > 0 {
		d.recordsHome = records[0]
	}
	return err
}

// checkInstalled looks at what Up made. What is pending is not missed twice.
func (d *doctor) checkInstalled(ctx context.Context) error {
	for _, step := range []func(context.Context) error{d.checkVersions, d.checkMadeFunctions, d.checkOurIndexes} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// checkVersions compares the records of versions with this binary's, if the login
// may read them.
func (d *doctor) checkVersions(ctx context.Context) error {
	d.pending = map[int]bool{}
	home := d.of(register)
	if home == nil || d.of(auditTrail) == nil {
		return nil // Up was never run, which is another finding
	}
	list, err := loadSources(embedded)
	if err != nil {
		return err
	}
	if d.recordsHome == "" {
		table := ident(home.Schema, recordsTable)
		fix := []string{strings.Replace(createRecords, `TABLE `+recordsTable, `TABLE `+table, 1)}
		for _, s := range list {
			fix = append(fix, insertSQL(table, s))
		}
		d.report(Finding{CodeNoVersions, SeverityWarning, "table " + home.Schema + "." + recordsTable,
			"it is gone: nobody knows which versions this database has, and the next Up runs them all again", texts(fix...)})
		return nil
	}
	table := ident(d.recordsHome, recordsTable)
	readable, err := queryStrings(ctx, d.tx, `SELECT 'yes' FROM pg_class c WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1) AND c.relname = $2
		AND has_schema_privilege(c.relnamespace, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
			AND NOT row_security_active(c.oid)`, d.recordsHome, recordsTable)
	if err != nil || len(readable) == 0 {
		return err
	}
	records, err := readRecordsOf(ctx, d.tx, table)
	if err != nil {
		return err
	}
	functions, err := d.sqlFunctions(ctx)
	if err != nil {
		return err
	}
	makes := map[int]*sqlFunction{}
	for _, f := range functions {
		makes[f.version] = f
	}
	for _, s := range statusOf(list, records) {
		d.judgeVersion(s, list, makes[s.Version], table)
	}
	return nil
}

// judgeVersion has the function that the version makes, if it does.
func (d *doctor) judgeVersion(s VersionStatus, list []source, makes *sqlFunction, table string) {
	object := fmt.Sprintf("version %03d_%s", s.Version, s.Name)
	switch {
	case s.Pending:
		d.pending[s.Version] = true
		d.report(Finding{CodeVersionPending, SeverityWarning, object, "this release has it and the database has not: Up was not run, or its record was removed", d.applySQL(list[s.Version-1], makes, table)})
	case s.ChecksumMismatch:
		d.report(Finding{CodeVersionChecksum, SeverityWarning, object, "the text that was run, or its record, is not this release's, so the next Up is refused",
			fmt.Sprintf("UPDATE %s SET checksum = %s WHERE version = %d; -- what the version made is examined by itself", table, literal(list[s.Version-1].checksum), s.Version)})
	case s.Unknown:
		d.report(Finding{CodeVersionUnknown, SeverityWarning, object, "this binary is of an older release than the database: its Up is refused", "-- deploy the release that made it"})
	}
}

func insertSQL(table string, s source) string {
	return fmt.Sprintf(`INSERT INTO %s (version, name, checksum) VALUES (%d, %s, %s)`, table, s.Version, literal(s.Name), literal(s.checksum))
}

// applySQL is a version with its record. Others wait while it builds an index, unless
// that is there.
func (d *doctor) applySQL(s source, makes *sqlFunction, table string) string {
	if makes != nil {
		return texts(makes.create(), d.grantLogins(makes), insertSQL(table, s))
	}
	return texts("-- or run Migrator.Up, for which nobody waits\n"+strings.Replace(d.qualified(s.up), " CONCURRENTLY", "", 1), insertSQL(table, s))
}

// checkOurIndexes looks for the indexes of the versions, and for such as are invalid.
func (d *doctor) checkOurIndexes(ctx context.Context) error {
	invalid, err := d.checkInvalid(ctx)
	if err != nil {
		return err
	}
	list, err := loadSources(embedded)
	if err != nil {
		return err
	}
	for _, s := range list {
		if s.index == nil || d.pending[s.Version] || invalid[s.index.index] || d.lacksColumn(s.index) {
			continue
		}
		if err := d.checkIndex(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// lacksColumn reports whether the index is missing because a column of it is.
func (d *doctor) lacksColumn(b *indexBuild) bool {
	return slices.ContainsFunc(d.findings, func(f Finding) bool {
		_, column, _ := strings.Cut(f.Object, "."+b.table+".")
		return f.Code == CodeColumnMissing && column != "" && regexp.MustCompile(`\b`+column+`\b`).MatchString(b.definition)
	})
}

func (d *doctor) checkIndex(ctx context.Context, s source) error {
	var g *guarded
	for _, t := range []*guarded{d.of(register), d.of(auditTrail)} {
		if t != nil && t.Name == s.index.table {
			g = t
		}
	}
	if g == nil {
		return nil
	}
	there, err := readIndexesOf(ctx, d.tx, `$1::bigint::oid`, g.OID)
	if err != nil {
		return err
	}
	text, name, what := d.qualified(s.up), s.index.index, "is missing"
	for _, i := range there {
		if indexed(strings.TrimPrefix(i.definition, "CREATE INDEX ON ")) == indexed(s.index.definition) {
			return nil
		}
		if i.name == name {
			what = "is not what it was"
			text = strings.Replace(text, name, name+"_again", 1)
		}
	}
	d.report(Finding{CodeIndexMissing, SeverityWarning, "index " + g.Schema + "." + name,
		fmt.Sprintf("it %s: what it serves, of %s, reads the whole table", what, s.Name), text})
	return nil
}

var (
	indexOptions = regexp.MustCompile(` WITH \([^)]*\)`)
	indexCasts   = regexp.MustCompile(`::(text|character varying)(\[\])?`)
	indexAnyOf   = strings.NewReplacer(" NOT IN (", " <> ALL (ARRAY[", "usingbtree", "", "]", "")
)

// indexed is the definition of an index in one spelling, ours or the server's.
func indexed(definition string) string {
	text := indexCasts.ReplaceAllString(indexOptions.ReplaceAllString(definition, ""), "")
	return indexAnyOf.Replace(spelled(indexAnyOf.Replace(text)))
}

// qualified is a version's text with the names of its tables, and of its functions, in full.
func (d *doctor) qualified(text string) string {
	text = statement(text)
	for _, g := range []*guarded{d.of(register), d.of(auditTrail)} {
		if g != nil {
			text = regexp.MustCompile(`\b(ON|ANALYZE) `+g.Name+`\b`).ReplaceAllString(text, "${1} "+g.sql())
			text = strings.ReplaceAll(text, `to_regclass('`+g.Name+`')`, `to_regclass(`+literal(g.sql())+`)`)
		}
	}
	return text
}

// checkInvalid reports the invalid indexes of the tables, and returns their names.
func (d *doctor) checkInvalid(ctx context.Context) (map[string]bool, error) {
	type index struct {
		Name, Plain, Table string
		Unique, Leftover   bool
		SQL                string
	}
	list, err := readRows[index](ctx, d.tx, `
		SELECT format('%s.%s', n.nspname, c.relname) AS "Name", c.relname AS "Plain", i.indrelid::regclass AS "Table", i.indisunique AS "Unique",
			c.relname ~ '_cc(new|old)[0-9]*$' AS "Leftover", i.indexrelid::regclass AS "SQL"
		FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE i.indrelid = ANY ($1::bigint[]::oid[]) AND c.relkind = 'i' AND NOT (i.indisvalid AND i.indisready AND i.indislive) ORDER BY 1`, d.set.oids())
	invalid := map[string]bool{}
	for _, i := range list {
		invalid[i.Plain] = true
		f := Finding{CodeIndexInvalid, SeverityWarning, "index " + i.Name, "it is invalid, as an interrupted build leaves it: no query of " + i.Table + " uses it, and each write may pay for it",
			"REINDEX INDEX CONCURRENTLY " + i.SQL + ";"}
		if i.Unique {
			f.Severity, f.Why = SeverityError, "it is invalid, as an interrupted build leaves it: that its keys are unique in "+i.Table+" is not certain, and the fix fails where they are not"
		}
		if i.Leftover {
			f.Severity, f.Why, f.Fix = SeverityWarning, "it is what an interrupted REINDEX CONCURRENTLY left: each write of "+i.Table+" may pay for it", "DROP INDEX CONCURRENTLY "+i.SQL+";"
		}
		d.report(f)
	}
	return invalid, err
}
