package plan

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

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
	DeletedAt string   // the column of gorm.DeletedAt, empty if there is none
}

// auditTag is the key of the struct tag that sets a column's treatment.
const auditTag = "audit"

// secrets are the words that make a column redacted unless its tag says keep.
var secrets = []string{
	"password", "passwd", "passphrase", "secret", "secrets", "token", "tokens", "apikey", "credential", "credentials",
	"otp", "pin", "cvv", "cvc", "ssn",
}

// secretPairs are words that are secret together, as in api_key.
var secretPairs = []string{"api_key", "private_key", "access_key", "signing_key", "encryption_key", "recovery_code"}

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
		if treatment != Omit {
			a.Columns = append(a.Columns, Column{name, treatment, field.AutoUpdateTime > 0, isTime(field)})
		}
	}
	return a, nil
}

func isTime(f *schema.Field) bool {
	return f.DataType == schema.Time || strings.HasPrefix(strings.ToLower(string(f.DataType)), "timestamp")
}

func treatmentOf(f *schema.Field) (Treatment, error) {
	switch tag := f.Tag.Get(auditTag); tag {
	case "":
		if isSecret(f.DBName) {
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

func isSecret(column string) bool {
	name := strings.ToLower(column)
	for word := range strings.SplitSeq(name, "_") {
		if slices.Contains(secrets, strings.TrimRight(word, "0123456789")) {
			return true
		}
	}
	return slices.ContainsFunc(secretPairs, func(pair string) bool { return strings.Contains(name, pair) })
}
