package plan

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode"

	"gorm.io/gorm"
	"gorm.io/gorm/schema"
)

// Treatment says how the values of a column enter the audit trail.
type Treatment uint8

const (
	// Keep records the values.
	Keep Treatment = iota
	// Redact records that the value changed, not what it is.
	Redact
	// Omit records nothing.
	Omit
)

// Column is a column of an audited table.
type Column struct {
	Name      string
	Treatment Treatment
	Auto      bool // GORM sets it at every update; alone it is no change
	Time      bool // a point in time, rendered in UTC
}

// Audited is how the rows of one model enter the audit trail.
type Audited struct {
	Table     string // without its schema
	Tenant    string // the tenant column, empty if the table has none
	Keys      []string
	Columns   []Column // those that are recorded at all
	Omitted   []string // those that are not
	DeletedAt string   // the column of gorm.DeletedAt, empty if there is none
}

// auditTag is the key of the struct tag that sets a column's treatment.
const auditTag = "audit"

// secrets are the words that make a column redacted unless its tag says keep.
var secrets = []string{"secret", "secrets", "token", "tokens", "credential", "credentials", "pwd", "otp", "pin", "cvv", "cvc", "ssn"}

// secretParts do so wherever they stand in a name, underscores left out.
var secretParts = []string{
	"password", "passwd", "passphrase", "passcode", "apikey", "privatekey", "accesskey", "secretkey", "signingkey",
	"encryptionkey", "recoverycode", "accesstoken", "refreshtoken", "authhash", "clientsecret",
}

// CompileAudited reads a model's columns.
func CompileAudited(s *schema.Schema, table Table) (*Audited, error) {
	a := &Audited{Table: table.Name, Tenant: table.Column, Keys: slices.Clone(s.PrimaryFieldDBNames)}
	for _, name := range s.DBNames {
		field := s.FieldsByDBName[name]
		if field.IgnoreMigration && !field.Creatable && !field.Updatable {
			continue // computed by a query, no column of the table
		}
		treatment, err := treatmentOf(field)
		if err != nil {
			return nil, err
		}
		if field.FieldType == reflect.TypeFor[gorm.DeletedAt]() {
			a.DeletedAt = name
		}
		if treatment == Omit {
			a.Omitted = append(a.Omitted, name)
		} else {
			a.Columns = append(a.Columns, Column{name, treatment, field.AutoUpdateTime > 0, isTime(field)})
		}
	}
	return a, nil
}

// Keeps reports whether the values of a column may be seen in the trail.
func (a *Audited) Keeps(column string) bool {
	i := slices.IndexFunc(a.Columns, func(c Column) bool { return c.Name == column })
	return i >= 0 && a.Columns[i].Treatment == Keep
}

// With returns the plan with columns that the model does not have, treated by their names.
func (a *Audited) With(columns []string) *Audited {
	out := a
	for _, name := range columns {
		if slices.Contains(out.Omitted, name) || slices.ContainsFunc(out.Columns, func(c Column) bool { return c.Name == name }) {
			continue
		}
		if out == a {
			clone := *a
			clone.Columns = slices.Clone(a.Columns)
			out = &clone
		}
		treatment := Keep
		if IsSecret(name) {
			treatment = Redact
		}
		out.Columns = append(out.Columns, Column{Name: name, Treatment: treatment})
	}
	return out
}

// Merge returns the plan with the columns of another model of the same table;
// where both have one, the stricter treatment holds.
func (a *Audited) Merge(b *Audited) *Audited {
	out := *a
	out.Omitted = append(slices.Clone(a.Omitted), b.Omitted...)
	out.DeletedAt = cmp.Or(a.DeletedAt, b.DeletedAt)
	if len(out.Keys) == 0 {
		out.Keys = b.Keys
	}
	out.Columns = nil
	for _, c := range append(slices.Clone(a.Columns), b.Columns...) {
		i := slices.IndexFunc(out.Columns, func(o Column) bool { return o.Name == c.Name })
		switch {
		case slices.Contains(out.Omitted, c.Name):
		case i < 0:
			out.Columns = append(out.Columns, c)
		default:
			out.Columns[i].Treatment = max(out.Columns[i].Treatment, c.Treatment)
			out.Columns[i].Auto = out.Columns[i].Auto && c.Auto
			out.Columns[i].Time = out.Columns[i].Time || c.Time
		}
	}
	return &out
}

func isTime(f *schema.Field) bool {
	return f.DataType == schema.Time || strings.HasPrefix(strings.ToLower(string(f.DataType)), "timestamp")
}

func treatmentOf(f *schema.Field) (Treatment, error) {
	switch tag := f.Tag.Get(auditTag); tag {
	case "":
		if IsSecret(f.DBName) {
			return Redact, nil
		}
		return Keep, nil
	case "keep":
		return Keep, nil
	case "redact":
		return Redact, nil
	case "-":
		return Omit, nil
	default:
		return Omit, fmt.Errorf(`field %s of %s: audit:%q is none of "keep", "redact" and "-"`, f.Name, f.Schema.Name, tag)
	}
}

// IsSecret reports whether a value of that name is redacted unless a tag says
// otherwise. It goes by the words of the name, in snake or camel case, and by
// what is unmistakable in any place of it.
func IsSecret(name string) bool {
	for word := range strings.SplitSeq(snake(name), "_") {
		if slices.Contains(secrets, strings.TrimRight(word, "0123456789")) {
			return true
		}
	}
	joined := strings.ReplaceAll(strings.ToLower(name), "_", "")
	return slices.ContainsFunc(secretParts, func(part string) bool { return strings.Contains(joined, part) })
}

// snake writes a name in snake case.
func snake(name string) string {
	var b strings.Builder
	for i, c := range name {
		if unicode.IsUpper(c) && i > 0 {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(c))
	}
	return b.String()
}
