package plan

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"gorm.io/gorm"
	"gorm.io/gorm/schema"
)

// Treatment says how the values of a column enter the audit trail, the
// stricter ones last.
type Treatment uint8

const (
	// Keep records the values, long ones cut.
	Keep Treatment = iota
	// Hash records a keyed hash of the values.
	Hash
	// Redact records that the value changed, not what it is.
	Redact
	// Omit records nothing.
	Omit
)

// Column is how a column enters the audit trail.
type Column struct {
	Name      string
	Treatment Treatment
	Limit     int  // characters above which a value is cut; 0 is the default
	Auto      bool // GORM sets it at every update; alone it is no change
}

// Audited is how the rows of one model enter the audit trail.
type Audited struct {
	Table     string // without its schema
	Tenant    string // the tenant column, empty if the table has none
	Keys      []string
	Columns   []Column
	DeletedAt string // the column that marks a row as deleted, empty if there is none
	// Flag is set where that column is a number or a truth value, of which zero is not deleted.
	Flag bool
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
	for i, key := range a.Keys {
		a.Keys[i] = Name(key)
	}
	for _, name := range s.DBNames {
		field := s.FieldsByDBName[name]
		column, err := columnOf(field)
		if err != nil {
			return nil, err
		}
		if a.DeletedAt == "" && marksDeleted(field) {
			a.DeletedAt, a.Flag = column.Name, field.FieldType != reflect.TypeFor[gorm.DeletedAt]()
		}
		a.Columns = append(a.Columns, column)
	}
	return a, nil
}

// marksDeleted reports whether GORM sets the column in place of deleting the row.
func marksDeleted(f *schema.Field) bool {
	_, ok := reflect.TypeAssert[schema.DeleteClausesInterface](reflect.New(f.IndirectFieldType))
	return ok
}

// Column returns the plan of a column, by its name alone if no model has it.
func (a *Audited) Column(name string) Column {
	if i := slices.IndexFunc(a.Columns, func(c Column) bool { return c.Name == name }); i >= 0 {
		return a.Columns[i]
	}
	c := Column{Name: name}
	if IsSecret(name) {
		c.Treatment = Redact
	}
	return c
}

// Merge returns the plan with the columns of another model of the same table;
// where both have one, the stricter treatment holds.
func (a *Audited) Merge(b *Audited) *Audited {
	out := *a
	if out.DeletedAt == "" {
		out.DeletedAt, out.Flag = b.DeletedAt, b.Flag
	}
	if len(out.Keys) == 0 {
		out.Keys = b.Keys
	}
	out.Columns = slices.Clone(a.Columns)
	for _, c := range b.Columns {
		i := slices.IndexFunc(out.Columns, func(o Column) bool { return o.Name == c.Name })
		if i < 0 {
			out.Columns = append(out.Columns, c)
			continue
		}
		at := &out.Columns[i]
		at.Treatment = max(at.Treatment, c.Treatment)
		at.Auto = at.Auto && c.Auto
		at.Limit = min(cmp.Or(at.Limit, c.Limit), cmp.Or(c.Limit, at.Limit))
	}
	return &out
}

// columnOf reads the tag of a field: "keep", "hash", "redact", "-", or "cut=N"
// for a limit of N characters. Keep and cut speak against what the name tells.
func columnOf(f *schema.Field) (Column, error) {
	c := Column{Name: Name(f.DBName), Auto: f.AutoUpdateTime > 0}
	tag := f.Tag.Get(auditTag)
	limit, isCut := strings.CutPrefix(tag, "cut=")
	switch {
	case tag == "" && IsSecret(f.DBName), tag == "redact":
		c.Treatment = Redact
	case tag == "", tag == "keep":
	case tag == "hash":
		c.Treatment = Hash
	case tag == "-":
		c.Treatment = Omit
	case isCut:
		n, err := strconv.Atoi(limit)
		if err != nil || n <= 0 {
			return c, fmt.Errorf(`field %s of %s: audit:%q: the limit is a number of characters above 0`, f.Name, f.Schema.Name, tag)
		}
		c.Limit = n
	default:
		return c, fmt.Errorf(`field %s of %s: audit:%q is none of "keep", "hash", "redact", "cut=N" and "-"`, f.Name, f.Schema.Name, tag)
	}
	return c, nil
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

// snake writes a name in snake case; capitals in a row are one word.
func snake(name string) string {
	var b strings.Builder
	before := ' '
	for _, c := range name {
		if unicode.IsUpper(c) && unicode.IsLower(before) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(c))
		before = c
	}
	return b.String()
}

// maxName is how many bytes of a name PostgreSQL keeps.
const maxName = 63

// Name cuts a name as the server does: it keeps whole characters.
func Name(name string) string {
	if len(name) <= maxName {
		return name
	}
	end := maxName
	for end > 0 && !utf8.RuneStart(name[end]) {
		end--
	}
	return name[:end]
}
