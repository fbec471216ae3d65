package tests

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/internal/pgtest"
)

type CovProject struct {
	ID     int64
	Name   string
	Tags   []CovTag `gorm:"many2many:cov_project_tags"`
	Notes  []CovNote
	Hidden []CovGone
}

type CovTag struct{ ID int64 }

type CovNote struct {
	ID           int64
	CovProjectID int64
}

// CovGone has no table: it is reached only from CovProject.
type CovGone struct{ ID, CovProjectID int64 }

type CovElsewhere struct{ ID int64 }

func (CovElsewhere) TableName() string { return "elsewhere.cov_notes" }

// CovQualified is the table of CovNote by its whole name.
type CovQualified struct{ ID int64 }

func (CovQualified) TableName() string { return "public.cov_notes" }

type CovKeyless struct{ Name string }

func (CovKeyless) TableName() string { return "cov_view" }

type CovReport struct{ Total int64 }

func (CovReport) TableName() string { return "cov_report" }

type CovHashed struct {
	ID    int64
	Phone string `audit:"hash"`
}

type CovPart struct{ ID int64 }

type CovJob struct{ ID int64 }

const covTables = `CREATE SCHEMA elsewhere; GRANT USAGE ON SCHEMA elsewhere TO PUBLIC;
	CREATE TABLE cov_projects (id bigint PRIMARY KEY, name text); CREATE TABLE cov_tags (id bigint PRIMARY KEY);
	CREATE TABLE cov_project_tags (cov_project_id bigint, cov_tag_id bigint, PRIMARY KEY (cov_project_id, cov_tag_id));
	CREATE TABLE cov_notes (id bigint PRIMARY KEY, cov_project_id bigint); CREATE TABLE elsewhere.cov_notes (id bigint PRIMARY KEY);
	CREATE TABLE elsewhere.cov_far (id bigint); GRANT ALL ON elsewhere.cov_far TO PUBLIC;
	CREATE VIEW cov_view AS SELECT name FROM cov_projects; CREATE VIEW cov_report AS SELECT count(*) AS total FROM cov_projects;
	CREATE TABLE cov_hasheds (id bigint PRIMARY KEY, phone text); CREATE TABLE cov_jobs (id bigint PRIMARY KEY);
	CREATE TABLE cov_parts (id bigint PRIMARY KEY) PARTITION BY RANGE (id);
	CREATE TABLE cov_parts_1 PARTITION OF cov_parts FOR VALUES FROM (1) TO (9);
	CREATE TABLE cov_loose (id bigint); CREATE TABLE cov_read (id bigint); CREATE TABLE cov_column (id bigint, name text);
	CREATE TABLE cov_captured (id bigint); CREATE TABLE cov_boths (id bigint);
	CREATE FUNCTION no_op() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'`

// capturingDDL returns the SQL that makes the triggers of migrate.CaptureByTrigger, which capture nothing.
func capturingDDL(tables ...string) string {
	var b strings.Builder
	for _, table := range tables {
		for _, on := range []string{"AFTER INSERT", "AFTER UPDATE", "AFTER DELETE", "BEFORE TRUNCATE"} {
			_, event, _ := strings.Cut(on, " ")
			b.WriteString("CREATE TRIGGER courtroll_capture_" + strings.ToLower(event) + " " + on + " ON " + table + " EXECUTE FUNCTION no_op();\n")
		}
	}
	return b.String()
}

// covered returns what Coverage says of the tables named cov_…, line by line.
func covered(t *testing.T, db *gorm.DB, models ...any) (all []string) {
	t.Helper()
	lines, err := audit.Coverage(t.Context(), db, models...)
	must(t, err)
	for _, line := range lines {
		if strings.Contains(line.Table, "cov_") {
			text, _, _ := strings.Cut(line.String(), ": ")
			for kind, fault := range map[string]error{
				"no model": audit.ErrNoModel, "no table": audit.ErrNoTable, "triggers": audit.ErrTriggers, "view": audit.ErrUnaudited, "tag": audit.ErrAudit,
			} {
				if errors.Is(line.Fault, fault) {
					text += " !" + kind
				}
			}
			if line.Plugin {
				text += " plugin"
			}
			if line.Trigger {
				text += " trigger"
			}
			if line.Excluded != "" {
				text += " excluded (" + line.Excluded + ")"
			}
			all = append(all, text)
		}
	}
	return all
}

func TestCoverage(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t, schema)
	must(t, db.Owner.Exec(covTables).Error)
	must(t, db.Owner.Exec(capturingDDL("cov_captured", "cov_boths", "cov_jobs")+`
		REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON cov_read, cov_column, cov_captured FROM PUBLIC, "`+db.AppRole+`";
		GRANT UPDATE (name) ON cov_column TO "`+db.AppRole+`"`).Error)
	if _, err := audit.Coverage(t.Context(), db.App); !errors.Is(err, audit.ErrNotInstalled) {
		t.Errorf("without the plugin: %v, want ErrNotInstalled", err)
	}
	type CovBoth struct{ ID int64 }
	type CovNowhere struct{ ID int64 }
	use(t, db.App, audit.New(audit.Config{
		Rules: audit.Rules{Models: []any{&CovProject{}}},
		Exclude: []audit.Exclusion{
			{Model: &CovTag{}, Reason: "public"}, {Model: "cov_loose", Reason: "scratch"}, {Model: "cov_jobs", Reason: "raw"}, {Model: "cov_typo", Reason: "gone"},
		},
	}))
	given := []any{&CovElsewhere{}, &CovQualified{}, &CovNote{}, &CovKeyless{}, &CovReport{}, &CovHashed{}, &CovPart{}, &CovBoth{}, &CovNowhere{}}
	want := []string{
		"cov_boths plugin trigger",
		"cov_captured trigger",
		"cov_column !no model",
		"cov_hasheds !tag plugin",
		"cov_jobs trigger excluded (raw)",
		"cov_loose excluded (scratch)",
		"cov_notes plugin",
		"cov_nowheres !no table",
		"cov_parts plugin",
		"cov_project_tags plugin",
		"cov_projects plugin",
		"cov_report plugin",
		"cov_tags excluded (public)",
		"cov_typo excluded (gone)",
		"cov_view !view plugin",
		"elsewhere.cov_far !no model",
		"elsewhere.cov_notes plugin",
	}
	if diff := cmp.Diff(want, covered(t, db.App, given...)); diff != "" {
		t.Error(diff)
	}
}

// Triggers of those names that do not fire, or that do something else, capture nothing.
func TestCoverage_Triggers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ sql, want string }{
		"Whole":       {``, "cov_jobs plugin trigger"},
		"Always":      {`ALTER TABLE cov_jobs ENABLE ALWAYS TRIGGER courtroll_capture_insert`, "cov_jobs plugin trigger"},
		"Disabled":    {`ALTER TABLE cov_jobs DISABLE TRIGGER courtroll_capture_delete`, "cov_jobs !triggers plugin"},
		"ReplicaOnly": {`ALTER TABLE cov_jobs ENABLE REPLICA TRIGGER courtroll_capture_update`, "cov_jobs !triggers plugin"},
		"Missing":     {`DROP TRIGGER courtroll_capture_truncate ON cov_jobs`, "cov_jobs !triggers plugin"},
		"OtherEvent": {`DROP TRIGGER courtroll_capture_delete ON cov_jobs;
			CREATE TRIGGER courtroll_capture_delete AFTER INSERT ON cov_jobs EXECUTE FUNCTION no_op()`, "cov_jobs !triggers plugin"},
		"OneColumn": {`DROP TRIGGER courtroll_capture_update ON cov_jobs;
			CREATE TRIGGER courtroll_capture_update AFTER UPDATE OF id ON cov_jobs EXECUTE FUNCTION no_op()`, "cov_jobs !triggers plugin"},
		"Condition": {`DROP TRIGGER courtroll_capture_insert ON cov_jobs;
			CREATE TRIGGER courtroll_capture_insert AFTER INSERT ON cov_jobs WHEN (current_user = 'x') EXECUTE FUNCTION no_op()`, "cov_jobs !triggers plugin"},
		"None": {strings.ReplaceAll(`DROP TRIGGER courtroll_capture_insert ON cov_jobs; DROP TRIGGER courtroll_capture_update ON cov_jobs;
			DROP TRIGGER courtroll_capture_delete ON cov_jobs; DROP TRIGGER courtroll_capture_truncate ON cov_jobs`, "\n", " "), "cov_jobs plugin"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.New(t, schema)
			must(t, db.Owner.Exec(`CREATE TABLE cov_jobs (id bigint PRIMARY KEY);
				CREATE FUNCTION no_op() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';`+capturingDDL("cov_jobs")+c.sql).Error)
			use(t, db.App, audit.New(audit.Config{}))
			if diff := cmp.Diff([]string{c.want}, covered(t, db.App, &CovJob{})); diff != "" {
				t.Error(diff)
			}
			if err := audit.Verify(t.Context(), db.App, &CovJob{}); errors.Is(err, audit.ErrTriggers) != strings.Contains(c.want, "!triggers") {
				t.Errorf("Verify: %v", err)
			}
		})
	}
}

// A partition has a line where its table has none, and an exclusion is of one schema's table.
func TestCoverage_Schemas(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t, schema)
	must(t, db.Owner.Exec(`CREATE SCHEMA elsewhere; GRANT USAGE ON SCHEMA elsewhere TO PUBLIC; CREATE SCHEMA hidden;
		CREATE TABLE hidden.cov_orders (id int) PARTITION BY RANGE (id); CREATE TABLE cov_orders_1 PARTITION OF hidden.cov_orders DEFAULT;
		CREATE TABLE elsewhere.cov_bills (id int) PARTITION BY RANGE (id); CREATE TABLE cov_bills_1 PARTITION OF elsewhere.cov_bills DEFAULT;
		CREATE TABLE cov_jobs (id int); CREATE TABLE elsewhere.cov_jobs (id int); CREATE TABLE hidden.cov_jobs (id int);
		CREATE TABLE cov_tags (id int); CREATE TABLE elsewhere.cov_tags (id int);
		CREATE TABLE elsewhere.courtroll_migrations (id int); CREATE TABLE elsewhere.courtroll_cov_ (id int);
		GRANT ALL ON ALL TABLES IN SCHEMA elsewhere, hidden TO PUBLIC`).Error)
	use(t, db.App, audit.New(audit.Config{Exclude: []audit.Exclusion{
		{Model: "cov_jobs", Reason: "scratch"}, {Model: "elsewhere.cov_tags", Reason: "public"}, {Model: "nowhere.cov_jobs", Reason: "gone"},
	}}))
	want := []string{
		"cov_jobs excluded (scratch)",
		"cov_orders_1 !no model",
		"cov_tags !no model",
		"elsewhere.courtroll_cov_ !no model",
		"elsewhere.cov_bills !no model",
		"elsewhere.cov_jobs !no model",
		"elsewhere.cov_tags excluded (public)",
	}
	if diff := cmp.Diff(want, covered(t, db.App)); diff != "" {
		t.Error(diff)
	}
}

// What the plugin has met counts as known, and as long as it is there.
func TestCoverage_Met(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t, schema)
	must(t, db.Owner.Exec(`CREATE TABLE cov_jobs (id bigserial PRIMARY KEY)`).Error)
	use(t, db.App, audit.New(audit.Config{}))
	if diff := cmp.Diff([]string{"cov_jobs !no model"}, covered(t, db.App)); diff != "" {
		t.Error(diff)
	}
	must(t, db.App.Create(&CovJob{}).Error)
	if diff := cmp.Diff([]string{"cov_jobs plugin"}, covered(t, db.App)); diff != "" {
		t.Error(diff)
	}
	must(t, db.Owner.Exec(`DROP TABLE cov_jobs`).Error)
	if got := covered(t, db.App); len(got) != 0 {
		t.Errorf("a table that is gone: %v", got)
	}
	must(t, db.App.Transaction(func(tx *gorm.DB) error { // and in a transaction it is read there
		must(t, tx.Exec("SET LOCAL statement_timeout = 60000").Error)
		_, err := audit.Coverage(t.Context(), tx)
		return err
	}))
}

// Our own tables and those of extensions are nobody's to cover; tenants has a model of ours.
func TestCoverage_Own(t *testing.T) {
	t.Parallel()
	b := setup(t)
	lines, err := audit.Coverage(b.system, b.app)
	must(t, err)
	var tables []string
	for _, line := range lines {
		tables = append(tables, line.String())
	}
	want := []string{
		"authors: captured by the plugin",
		"countries: not covered: " + audit.ErrNoModel.Error(),
		"pages: captured by the plugin", "revisions: captured by the plugin", "tenants: captured by the plugin",
	}
	if diff := cmp.Diff(want, tables); diff != "" {
		t.Error(diff)
	}
	_ = b.app.Callback().Update().Remove("audit:guard_update")
	if _, err := audit.Coverage(b.acme, b.app); !errors.Is(err, audit.ErrDisplaced) {
		t.Errorf("with displaced callbacks: %v, want ErrDisplaced", err)
	}
}
