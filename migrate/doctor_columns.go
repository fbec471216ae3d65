package migrate

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

const (
	// The columns of tenants and audit_logs.
	CodeColumnMissing  Code = "column-missing"
	CodeColumnType     Code = "column-type"
	CodeColumnNull     Code = "column-nullable"
	CodeColumnNotNull  Code = "column-not-null"
	CodeColumnDefault  Code = "column-default"
	CodeNoPrimaryKey   Code = "primary-key-missing"
	CodeSlugNotUnique  Code = "slug-not-unique"
	trailTime               = "created_at"
	trailTimeWidening       = "-- Migrator.Widen, before Protect and AppendOnly: no type changes under a policy"
	columnTypeRefusing      = "-- a type that courtroll's SQL works with: Migrator.Plan has the SQL"
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
		err := d.within(ctx, g.Schema, func() error {
			live, err := readColumns(ctx, d.tx, g.Name)
			if err != nil {
				return err
			}
			d.compareColumns(g, live)
			return d.checkTableKeys(ctx, g)
		})
		if err != nil {
			return err
		}
		if g.class == auditTrail {
			if err := d.checkNotNull(ctx, g); err != nil {
				return err
			}
		}
	}
	return nil
}

// within runs fn where a schema alone is searched, for what looks tables up by name.
func (d *doctor) within(ctx context.Context, schema string, fn func() error) error {
	if _, err := d.tx.ExecContext(ctx, `SELECT set_config('search_path', quote_ident($1) || ', pg_temp', true)`, schema); err != nil {
		return err
	}
	if err := fn(); err != nil {
		return err
	}
	return d.leaveSearchPath(ctx)
}

func (d *doctor) compareColumns(g *guarded, live []liveColumn) {
	for _, c := range contractOf(g.Name) {
		has := findColumn(live, c.name)
		if has == nil {
			d.reportColumn(g, CodeColumnMissing, SeverityError, c.difference("missing", c.kind, "courtroll's statements fail, and the changes that entries are of with them", c.addSQL()))
			continue
		}
		if g.class == register && !slices.Contains(usedOfTenants, c.name) {
			continue
		}
		if !c.fits(has) {
			d.reportColumn(g, CodeColumnType, SeverityError, c.difference(has.Type, c.kind, "courtroll's SQL does not work with it", columnTypeRefusing))
			continue
		}
		for _, diff := range c.differences(has) {
			d.judgeColumn(g, c, diff)
		}
	}
	if g.class != auditTrail {
		return
	}
	for _, diff := range columnDifferences(g.Name, live) {
		if diff.Have == "NOT NULL without a default" {
			d.reportColumn(g, CodeColumnNotNull, SeverityError, diff)
		}
	}
}

// addSQL adds the column where no value has to be made up for the rows that are there.
func (c contractColumn) addSQL() string {
	if !c.addable() {
		return "-- add it, " + c.kind + " NOT NULL, with the values of the rows that are there"
	}
	return addColumnsSQL([]contractColumn{c})
}

func (d *doctor) judgeColumn(g *guarded, c contractColumn, diff Difference) {
	severity := SeverityWarning
	if g.class == auditTrail {
		severity = SeverityError
	}
	switch {
	case diff.Want == c.kind:
		if g.class == auditTrail && c.name == trailTime {
			diff.Fix = trailTimeWidening
			d.reportColumn(g, CodeColumnType, SeverityWarning, diff)
		}
	case diff.Want == "nullable":
		d.reportColumn(g, CodeColumnNotNull, severity, diff)
	case diff.Want == "NOT NULL":
		d.reportColumn(g, CodeColumnNull, severity, diff)
	default:
		if c.name != trailTime {
			severity = SeverityWarning
		}
		d.reportColumn(g, CodeColumnDefault, severity, diff)
	}
}

// unqualified are the two tables as the SQL of differences has them.
var unqualified = regexp.MustCompile(`\b(TABLE|ON) (tenants|audit_logs)\b`)

func (d *doctor) reportColumn(g *guarded, code Code, severity Severity, diff Difference) {
	fix := unqualified.ReplaceAllString(diff.Fix, "$1 "+g.sql())
	if fix == "" {
		fix = "-- Migrator.Plan says what differs: only its owner can judge"
	}
	if !strings.HasPrefix(fix, "--") {
		fix += ";"
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
	keyed, err := hasUnique(ctx, d.tx, g.Name, "id", true)
	if err != nil {
		return err
	}
	if !keyed {
		d.report(Finding{CodeNoPrimaryKey, SeverityError, "table " + g.String(), "it has no primary key of id: an id may come twice",
			`ALTER TABLE ` + g.sql() + ` ADD PRIMARY KEY (id);`})
	}
	if g.class != register {
		return nil
	}
	unique, err := hasUnique(ctx, d.tx, g.Name, "slug", false)
	if err == nil && !unique {
		d.report(Finding{CodeSlugNotUnique, SeverityError, "table " + g.String(), "a slug may name two tenants, of which one is served as the other",
			`ALTER TABLE ` + g.sql() + ` ADD CONSTRAINT uni_tenants_slug UNIQUE (slug);`})
	}
	return err
}

// checkNotNull finds checks that make a column NOT NULL by another name.
func (d *doctor) checkNotNull(ctx context.Context, g *guarded) error {
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
