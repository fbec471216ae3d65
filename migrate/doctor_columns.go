package migrate

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// The columns of tenants and audit_logs.
const (
	CodeColumnMissing Code = "column-missing"
	CodeColumnType    Code = "column-type"
	CodeColumnNull    Code = "column-nullable"
	CodeColumnNotNull Code = "column-not-null"
	CodeColumnDefault Code = "column-default"
	CodeNoPrimaryKey  Code = "primary-key-missing"
	CodeSlugNotUnique Code = "slug-not-unique"
)

const (
	trailTime         = "created_at"
	trailTimeWidening = "-- Migrator.Widen, before Protect and AppendOnly: no type changes under a policy"
)

// usedOfTenants are the columns that our functions go by. What another program, whose
// tenants it may be, does with the others is its own affair.
var usedOfTenants = []string{"id", "slug", "is_active"}

// checkColumns compares the two tables with the contract.
func (d *doctor) checkColumns(ctx context.Context) error {
	for _, g := range []*guarded{d.of(register), d.of(auditTrail)} {
		if g == nil {
			continue
		}
		live, err := readColumnsOf(ctx, d.tx, `$1::bigint::oid`, g.OID)
		if err != nil {
			return err
		}
		if err := d.compareColumns(ctx, g, live); err != nil {
			return err
		}
		if err := d.checkTableKeys(ctx, g); err != nil {
			return err
		}
	}
	return d.checkNotNull(ctx)
}

func (d *doctor) compareColumns(ctx context.Context, g *guarded, live []liveColumn) error {
	var missing []contractColumn
	for _, c := range contractOf(g.Name) {
		has := findColumn(live, c.name)
		switch {
		case has == nil:
			missing = append(missing, c)
		case g.class == register && !slices.Contains(usedOfTenants, c.name):
		case !c.fits(has):
			d.reportColumn(g, CodeColumnType, SeverityError, c.typeDifference(has))
		default:
			for _, diff := range c.differences(has) {
				d.judgeColumn(g, c, diff)
			}
			if g.class == auditTrail && c.null && c.name != g.column && invents(has) {
				d.reportColumn(g, CodeColumnDefault, SeverityWarning, c.difference("DEFAULT "+has.Default, "without a default",
					"an entry that does not say it gets a value that nobody gave", alterColumn(c.table, c.name, "DROP DEFAULT")))
			}
		}
	}
	if len(missing) > 0 {
		return d.reportMissingColumns(ctx, g, missing, live)
	}
	for _, diff := range columnDifferences(g.Name, live) {
		if g.class == auditTrail && diff.Have == "NOT NULL without a default" {
			d.reportColumn(g, CodeColumnNotNull, SeverityError, diff)
		}
	}
	return nil
}

// invents reports whether a default is a value that the session did not give.
func invents(has *liveColumn) bool {
	return has.Default != "" && !has.Fixed && !strings.HasPrefix(has.Default, "NULL") && !strings.Contains(has.Default, "current_setting(")
}

// reportMissingColumns brings a column back with the indexes that went with it. Where none
// of the table was ever dropped and another is of its type, it has another name.
func (d *doctor) reportMissingColumns(ctx context.Context, g *guarded, missing []contractColumn, live []liveColumn) error {
	dropped, err := queryStrings(ctx, d.tx, `SELECT attnum::text FROM pg_attribute WHERE attrelid = $1::bigint::oid AND attisdropped`, g.OID)
	if err != nil {
		return err
	}
	sources, err := loadSources(embedded)
	if err != nil {
		return err
	}
	for _, c := range missing {
		var fix []string
		renamed := slices.DeleteFunc(slices.Clone(live), func(l liveColumn) bool {
			return l.Type != c.kind || slices.ContainsFunc(contractOf(g.Name), func(c contractColumn) bool { return c.name == l.Name })
		})
		switch {
		case len(dropped) == 0 && len(renamed) == 1:
			fix = []string{`ALTER TABLE ` + c.table + ` RENAME COLUMN ` + ident(renamed[0].Name) + ` TO ` + c.name}
		case c.addable():
			fix = []string{addColumnsSQL([]contractColumn{c})}
			for _, s := range sources {
				if s.index != nil && s.index.table == c.table && regexp.MustCompile(`\b`+c.name+`\b`).MatchString(s.index.definition) {
					fix = append(fix, strings.Replace(statement(s.up), " CONCURRENTLY", "", 1))
				}
			}
		default:
			fix = []string{"-- add it, " + c.kind + " NOT NULL, with the values of the rows that are there; then run Migrator.Up"}
		}
		d.reportColumn(g, CodeColumnMissing, SeverityError, c.difference("missing", c.kind, "courtroll's statements fail, and with them the changes that entries are of", texts(fix...)))
	}
	return nil
}

func (d *doctor) judgeColumn(g *guarded, c contractColumn, diff Difference) {
	severity := SeverityWarning
	if g.class == auditTrail {
		severity = SeverityError
	}
	switch diff.Want {
	case c.kind:
		if g.class == auditTrail && c.name == trailTime {
			diff.Fix = trailTimeWidening
			d.reportColumn(g, CodeColumnType, SeverityWarning, diff)
		}
	case "nullable":
		d.reportColumn(g, CodeColumnNotNull, severity, diff)
	case "NOT NULL":
		d.reportColumn(g, CodeColumnNull, severity, diff)
	default:
		if c.name != trailTime {
			severity = SeverityWarning
		}
		d.reportColumn(g, CodeColumnDefault, severity, diff)
	}
}

// ownTables are the two tables as the SQL of differences has them.
var ownTables = regexp.MustCompile(`\b(TABLE|ON) (tenants|audit_logs)\b`)

func (d *doctor) reportColumn(g *guarded, code Code, severity Severity, diff Difference) {
	fix := ownTables.ReplaceAllString(diff.Fix, "$1 "+g.sql())
	if fix == "" {
		fix = "-- Migrator.Plan says what differs: only its owner can judge"
	}
	if !strings.HasPrefix(fix, "--") {
		fix = texts(fix)
	}
	d.report(Finding{code, severity, "column " + g.String() + "." + diff.Column, fmt.Sprintf("it is %s and should be %s: %s", diff.Have, diff.Want, diff.Consequence), fix})
}

// checkTableKeys looks for the unique indexes that the contract has. One that is
// invalid is another finding.
func (d *doctor) checkTableKeys(ctx context.Context, g *guarded) error {
	invalid, err := queryStrings(ctx, d.tx, `SELECT 'yes' FROM pg_index WHERE indrelid = $1::bigint::oid AND indisunique AND NOT indisvalid`, g.OID)
	if err != nil || len(invalid) > 0 {
		return err
	}
	keyed, err := hasUnique(ctx, d.tx, `$1::bigint::oid`, g.OID, "id", true)
	if err != nil {
		return err
	}
	if !keyed {
		other, err := queryStrings(ctx, d.tx, `SELECT format('DROP CONSTRAINT %I, ', conname) FROM pg_constraint WHERE conrelid = $1::bigint::oid AND contype = 'p'`, g.OID)
		if err != nil {
			return err
		}
		d.report(Finding{CodeNoPrimaryKey, SeverityError, "table " + g.String(), "it has no primary key of id: an id may come twice",
			`ALTER TABLE ` + g.sql() + ` ` + strings.Join(other, "") + `ADD PRIMARY KEY (id);`})
	}
	if g.class != register {
		return nil
	}
	unique, err := hasUnique(ctx, d.tx, `$1::bigint::oid`, g.OID, "slug", false)
	if err == nil && !unique {
		d.report(Finding{CodeSlugNotUnique, SeverityError, "table " + g.String(), "a slug may name two tenants, of which one is served as the other",
			`ALTER TABLE ` + g.sql() + ` ADD UNIQUE (slug);`})
	}
	return err
}

// checkNotNull finds checks that make a column NOT NULL by another name.
func (d *doctor) checkNotNull(ctx context.Context) error {
	g := d.of(auditTrail)
	if g == nil {
		return nil
	}
	type check struct{ Name, Definition string }
	list, err := readRows[check](ctx, d.tx, `SELECT conname AS "Name", pg_get_constraintdef(oid) AS "Definition" FROM pg_constraint
		WHERE conrelid = $1::bigint::oid AND contype = 'c' ORDER BY 1`, g.OID)
	for _, k := range list {
		for _, c := range contractOf(g.Name) {
			if c.null && strings.TrimSuffix(spelled(k.Definition), "notvalid") == "check"+c.name+"isnotnull" {
				d.report(Finding{CodeColumnNotNull, SeverityError, "constraint " + g.String() + "." + k.Name,
					fmt.Sprintf("it refuses entries whose %s is NULL, of which there are some: events of no tenant, or of nobody", c.name),
					`ALTER TABLE ` + g.sql() + ` DROP CONSTRAINT ` + ident(k.Name) + `;`})
			}
		}
	}
	return err
}
