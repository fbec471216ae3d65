package models_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
	"gorm.io/gorm/schema"

	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/models"
)

// column is a column as the catalogue has it.
type column struct {
	Position int
	Name     string
	UDT      string
	Nullable bool
	Default  string // "" for none
}

// The contract that other programs rely on.
var (
	tenantColumns = []column{
		{1, "id", "text", false, ""},
		{2, "name", "text", false, ""},
		{3, "slug", "text", false, ""},
		{4, "domain", "text", true, ""},
		{5, "logo", "text", true, ""},
		{6, "is_active", "bool", false, "true"},
		{7, "plan", "text", false, "'free'::text"},
		{8, "created_at", "timestamptz", false, "now()"},
		{9, "updated_at", "timestamptz", false, "now()"},
	}
	auditLogColumns = []column{
		{1, "id", "uuid", false, "gen_random_uuid()"},
		{2, "actor_id", "text", true, ""},
		{3, "tenant_id", "text", true, ""},
		{4, "action", "text", false, ""},
		{5, "resource_type", "text", false, ""},
		{6, "resource_id", "text", true, ""},
		{7, "ip_address", "text", true, ""},
		{8, "metadata", "jsonb", true, ""},
		{9, "created_at", "timestamptz", false, "clock_timestamp()"},
	}
)

func contract(table string) []column {
	if table == models.TenantsTable {
		return tenantColumns
	}
	return auditLogColumns
}

const informationSchema = `
	SELECT ordinal_position AS position, column_name AS name, udt_name AS udt,
		is_nullable = 'YES' AS nullable, coalesce(column_default, '') AS "default"
	FROM information_schema.columns WHERE table_schema = 'public' AND table_name = ? ORDER BY ordinal_position`

// catalogue also shows what information_schema hides from a role, and a
// modifier: varchar(3) would be no text.
const catalogue = `
	SELECT a.attnum AS position, a.attname AS name, t.typname || CASE WHEN a.atttypmod >= 0 THEN ' with modifier' ELSE '' END AS udt,
		NOT a.attnotnull AS nullable, coalesce(pg_get_expr(d.adbin, d.adrelid), '') AS "default"
	FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
	LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
	WHERE a.attrelid = ?::regclass AND a.attnum > 0 ORDER BY a.attnum`

func columns(t *testing.T, db *pgtest.DB, query, table string) (list []column) {
	t.Helper()
	if err := db.Owner.Raw(query, table).Scan(&list).Error; err != nil {
		t.Fatal(err)
	}
	return list
}

func TestTables(t *testing.T) {
	t.Parallel()
	db := setup(t)
	for _, table := range []string{models.TenantsTable, models.AuditLogsTable} {
		for name, query := range map[string]string{"information_schema": informationSchema, "pg_catalog": catalogue} {
			t.Run(table+" in "+name, func(t *testing.T) {
				t.Parallel()
				if diff := cmp.Diff(contract(table), columns(t, db, query, table)); diff != "" {
					t.Error(diff)
				}
			})
		}
	}

	t.Run("constraints", func(t *testing.T) {
		t.Parallel()
		var got []string
		err := db.Owner.Raw(`SELECT format('%s: %s', conrelid::regclass, pg_get_constraintdef(oid)) FROM pg_constraint
			WHERE (conrelid IN ('tenants'::regclass, 'audit_logs'::regclass) OR confrelid IN ('tenants'::regclass, 'audit_logs'::regclass))
				AND contype <> 'n' -- NOT NULL, which PostgreSQL 18 lists
			ORDER BY 1`).Scan(&got).Error
		if err != nil {
			t.Fatal(err)
		}
		// None is a foreign key: history outlives its subject.
		want := []string{"audit_logs: PRIMARY KEY (id)", "tenants: PRIMARY KEY (id)", "tenants: UNIQUE (slug)"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})

	t.Run("nothing that would change rows or hide them", func(t *testing.T) {
		t.Parallel()
		var got []string
		err := db.Owner.Raw(`SELECT 'trigger ' || tgname FROM pg_trigger WHERE tgrelid IN ('tenants'::regclass, 'audit_logs'::regclass)
			UNION ALL SELECT 'policy ' || polname FROM pg_policy
			UNION ALL SELECT 'row-level security on ' || relname FROM pg_class WHERE relrowsecurity`).Scan(&got).Error
		if err != nil || len(got) > 0 {
			t.Errorf("got %s, %v", got, err)
		}
	})
}

// Every type's tags say the same as the contract, column by column, so that
// neither a row type nor an insert type can drift from the table.
func TestTags(t *testing.T) {
	t.Parallel()
	for _, model := range []schema.Tabler{models.Tenant{}, models.NewTenant{}, models.AuditLog{}, models.NewAuditLog{}} {
		parsed, err := schema.Parse(model, &sync.Map{}, schema.NamingStrategy{})
		if err != nil {
			t.Fatal(err)
		}
		t.Run(parsed.Name, func(t *testing.T) {
			t.Parallel()
			var got []column
			for i, name := range parsed.DBNames {
				got = append(got, columnOf(i+1, parsed.FieldsByDBName[name]))
			}
			if diff := cmp.Diff(contract(model.TableName()), got); diff != "" {
				t.Error(diff)
			}
			if got := parsed.PrioritizedPrimaryField; got == nil || got.DBName != "id" {
				t.Errorf("the primary key is %v", got)
			}
		})
	}
}

// columnOf says what a field's tags make of its column. A default may stand in
// the type, where GORM does not see it; there it is the database's alone.
func columnOf(position int, field *schema.Field) column {
	kind, inType, _ := strings.Cut(field.TagSettings["TYPE"], " DEFAULT ")
	c := column{Position: position, Name: field.DBName, UDT: kind, Nullable: !field.NotNull && !field.PrimaryKey}
	if kind == "boolean" {
		c.UDT = "bool"
	}
	c.Default = inType + field.TagSettings["DEFAULT"]
	if strings.HasPrefix(c.Default, "'") {
		c.Default += "::text"
	}
	return c
}

// A nullable column is a pointer in a row; in an insert, so is one with a default.
func TestPointers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		model  schema.Tabler
		insert bool
	}{{models.Tenant{}, false}, {models.NewTenant{}, true}, {models.AuditLog{}, false}, {models.NewAuditLog{}, true}} {
		parsed, err := schema.Parse(test.model, &sync.Map{}, schema.NamingStrategy{})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range contract(test.model.TableName()) {
			pointer := parsed.FieldsByDBName[c.Name].FieldType.Kind().String() == "ptr"
			if want := c.Nullable || test.insert && c.Default != ""; pointer != want {
				t.Errorf("%s.%s: is a pointer: %t, want %t", parsed.Name, c.Name, pointer, want)
			}
		}
	}
}

// An app may list the types in its own AutoMigrate.
func TestAutoMigrateOnMigratedTables(t *testing.T) {
	t.Parallel()
	db := setup(t)
	log := &recorder{Interface: logger.Discard}
	owner := db.Owner.Session(&gorm.Session{Logger: log})
	for range 2 {
		err := owner.AutoMigrate(&models.Tenant{}, &models.NewTenant{}, &models.AuditLog{}, &models.NewAuditLog{})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(log.statements) == 0 {
		t.Fatal("the recorder saw nothing")
	}
	if got := log.changing(); len(got) > 0 {
		t.Errorf("got statements:\n%s", strings.Join(got, "\n"))
	}
	for _, table := range []string{models.TenantsTable, models.AuditLogsTable} {
		if diff := cmp.Diff(contract(table), columns(t, db, catalogue, table)); diff != "" {
			t.Error(diff)
		}
	}
}
