package tests

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/tenancy"
)

type HidBoard struct{ ID int64 }

type HidTask struct{ ID int64 }

type HidFar struct{ ID int64 }

func (HidFar) TableName() string { return "elsewhere.hid_fars" }

const hidTables = `CREATE SCHEMA elsewhere; GRANT USAGE ON SCHEMA elsewhere TO PUBLIC;
	CREATE TABLE hid_boards (id bigint PRIMARY KEY, a int, b int, UNIQUE (a, b)); CREATE TABLE hid_tasks (id bigint PRIMARY KEY, up bigint, a int, b int);
	CREATE TABLE elsewhere.hid_fars (id bigint PRIMARY KEY, up bigint);
	CREATE TABLE hid_others (id bigint PRIMARY KEY, up bigint); CREATE SCHEMA third; CREATE TABLE third.hid_tasks (id bigint);
	CREATE FUNCTION no_op() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';`

// hidden runs the SQL and returns the faults that Verify finds, as table: kind.
func hidden(t *testing.T, sql string, config audit.Config, models ...any) []string {
	t.Helper()
	db := pgtest.New(t, schema)
	must(t, db.Open(postgres.Open(db.SuperDSN), nil).Exec(hidTables+sql).Error)
	use(t, db.App, audit.New(config))
	return faultsOf(t, audit.Verify(t.Context(), db.App, models...))
}

func faultsOf(t *testing.T, err error) (all []string) {
	t.Helper()
	if err == nil {
		return nil
	}
	list, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatal(err)
	}
	for _, err := range list.Unwrap() {
		var fault *audit.CoverageError
		if !errors.As(err, &fault) {
			t.Fatal(err)
		}
		for kind, is := range map[string]error{
			"cascade": audit.ErrCascade, "hidden": audit.ErrHiddenWrite, "unreadable": audit.ErrUnreadable, "trail": audit.ErrNoTrail,
			"table": audit.ErrNoTable, "triggers": audit.ErrTriggers,
		} {
			if errors.Is(err, is) {
				all = append(all, fault.Table+": "+kind+" "+fault.By)
			}
		}
	}
	return all
}

func exclude(tables ...string) (c audit.Config) {
	for _, table := range tables {
		c.Exclude = append(c.Exclude, audit.Exclusion{Model: table, Reason: "test"})
	}
	return c
}

var hidModels = []any{&HidBoard{}, &HidTask{}, &HidFar{}}

func TestVerify_Cascades(t *testing.T) {
	t.Parallel()
	key := `ALTER TABLE hid_tasks ADD CONSTRAINT k FOREIGN KEY (up) REFERENCES hid_boards `
	fault := `hid_tasks: cascade foreign key "k" to "hid_boards" `
	for name, c := range map[string]struct {
		sql    string
		config audit.Config
		want   []string
	}{
		"None":          {sql: key},
		"Restrict":      {sql: key + `ON DELETE RESTRICT ON UPDATE NO ACTION`},
		"Delete":        {sql: key + `ON DELETE CASCADE`, want: []string{fault + `ON DELETE CASCADE`}},
		"SetNull":       {sql: key + `ON DELETE SET NULL NOT VALID`, want: []string{fault + `ON DELETE SET NULL`}},
		"SetDefault":    {sql: key + `ON DELETE SET DEFAULT`, want: []string{fault + `ON DELETE SET DEFAULT`}},
		"Update":        {sql: key + `ON UPDATE CASCADE`, want: []string{fault + `ON UPDATE CASCADE`}},
		"UpdateSetNull": {sql: key + `ON UPDATE SET NULL`, want: []string{fault + `ON UPDATE SET NULL`}},
		"Both":          {sql: key + `ON DELETE SET NULL ON UPDATE CASCADE`, want: []string{fault + `ON DELETE SET NULL ON UPDATE CASCADE`}},
		"Composite": {sql: `ALTER TABLE hid_tasks ADD CONSTRAINT k FOREIGN KEY (a, b) REFERENCES hid_boards (a, b) ON DELETE CASCADE`,
			want: []string{fault + `ON DELETE CASCADE`}},
		"Itself": {sql: `ALTER TABLE hid_tasks ADD CONSTRAINT k FOREIGN KEY (up) REFERENCES hid_tasks ON DELETE CASCADE`,
			want: []string{`hid_tasks: cascade foreign key "k" to "hid_tasks" ON DELETE CASCADE`}},
		"ExcludedChild":   {sql: key + `ON DELETE CASCADE`, config: exclude("hid_tasks")},
		"ExcludedParent":  {sql: key + `ON DELETE CASCADE`, config: exclude("hid_boards"), want: []string{fault + `ON DELETE CASCADE`}},
		"CapturedChild":   {sql: key + `ON DELETE CASCADE;` + capturingDDL("hid_tasks")},
		"CapturedParent":  {sql: key + `ON DELETE CASCADE;` + capturingDDL("hid_boards"), want: []string{fault + `ON DELETE CASCADE`}},
		"ChildIsNoModels": {sql: `ALTER TABLE hid_others ADD FOREIGN KEY (up) REFERENCES hid_boards ON DELETE CASCADE`},
		"TwoLevels": {sql: key + `ON DELETE CASCADE; ALTER TABLE elsewhere.hid_fars ADD CONSTRAINT l FOREIGN KEY (up) REFERENCES hid_tasks ON DELETE CASCADE`,
			want: []string{`elsewhere.hid_fars: cascade foreign key "l" to "hid_tasks" ON DELETE CASCADE`, fault + `ON DELETE CASCADE`}},
		"ThroughAnother": {sql: `ALTER TABLE hid_others ADD FOREIGN KEY (up) REFERENCES hid_boards ON DELETE CASCADE;
			ALTER TABLE hid_tasks ADD CONSTRAINT l FOREIGN KEY (up) REFERENCES hid_others ON DELETE CASCADE`,
			want: []string{`hid_tasks: cascade foreign key "l" to "hid_others" ON DELETE CASCADE`}},
		"DisabledTrigger": {sql: key + `ON DELETE CASCADE;` + capturingDDL("hid_tasks") + `ALTER TABLE hid_tasks DISABLE TRIGGER courtroll_capture_delete`,
			want: []string{`hid_tasks: triggers `, fault + `ON DELETE CASCADE`}},
		"OtherSchemasTable": {sql: `ALTER TABLE third.hid_tasks ADD FOREIGN KEY (id) REFERENCES hid_boards ON DELETE CASCADE`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, hidden(t, c.sql, c.config, hidModels...)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

type HidPart struct{ ID int64 }

func (HidPart) TableName() string { return "hid_parts" }

// A key of a partitioned table is one fault, that of a single partition is the
// partition's, and what captures the table captures nothing of that one.
func TestVerify_Partitions(t *testing.T) {
	t.Parallel()
	parts := `CREATE TABLE hid_parts (id bigint PRIMARY KEY, up bigint) PARTITION BY RANGE (id);
		CREATE TABLE hid_parts_1 PARTITION OF hid_parts FOR VALUES FROM (1) TO (9); CREATE TABLE hid_parts_2 PARTITION OF hid_parts DEFAULT;`
	whole := `ALTER TABLE hid_parts ADD CONSTRAINT k FOREIGN KEY (up) REFERENCES hid_boards ON DELETE CASCADE;`
	single := `ALTER TABLE hid_parts_1 ADD CONSTRAINT l FOREIGN KEY (up) REFERENCES hid_boards ON DELETE CASCADE;`
	itself := `ALTER TABLE hid_parts ADD CONSTRAINT k FOREIGN KEY (up) REFERENCES hid_parts ON DELETE CASCADE;`
	ofWhole, ofSingle := `hid_parts: cascade foreign key "k" to "hid_boards" ON DELETE CASCADE`, `hid_parts_1: cascade foreign key "l" to "hid_boards" ON DELETE CASCADE`
	for name, c := range map[string]struct {
		sql  string
		want []string
	}{
		"Whole":          {whole, []string{ofWhole}},
		"Itself":         {itself, []string{`hid_parts: cascade foreign key "k" to "hid_parts" ON DELETE CASCADE`}},
		"Single":         {single, []string{ofSingle}},
		"WholeCaptured":  {whole + capturingDDL("hid_parts"), nil},
		"SingleCaptured": {single + capturingDDL("hid_parts"), []string{ofSingle}},
		"BothCaptured":   {single + capturingDDL("hid_parts", "hid_parts_1"), nil},
		"Trigger": {`CREATE FUNCTION w() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN DELETE FROM hid_parts_1; RETURN NULL; END';
			CREATE TRIGGER w AFTER INSERT ON hid_others EXECUTE FUNCTION w()`, []string{`hid_parts_1: hidden trigger "w" on "hid_others"`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, hidden(t, parts+c.sql, audit.Config{}, &HidPart{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A join table's keys cascade where its model says so.
func TestVerify_JoinTable(t *testing.T) {
	t.Parallel()
	type HidTag struct{ ID int64 }
	type HidPost struct {
		ID   int64
		Tags []HidTag `gorm:"many2many:hid_post_tags;constraint:OnDelete:CASCADE"`
	}
	db := pgtest.New(t, schema)
	must(t, db.Owner.AutoMigrate(&HidPost{}))
	use(t, db.App, audit.New(audit.Config{}))
	want := []string{
		`hid_post_tags: cascade foreign key "fk_hid_post_tags_hid_post" to "hid_posts" ON DELETE CASCADE`,
		`hid_post_tags: cascade foreign key "fk_hid_post_tags_hid_tag" to "hid_tags" ON DELETE CASCADE`,
	}
	if diff := cmp.Diff(want, faultsOf(t, audit.Verify(t.Context(), db.App, &HidPost{}))); diff != "" {
		t.Error(diff)
	}
}

func TestVerify_Triggers(t *testing.T) {
	t.Parallel()
	hid := []string{`hid_tasks: hidden trigger "w" on "hid_others"`}
	unreadable := []string{`: unreadable trigger "w" on "hid_others"`}
	fn := func(body string) string {
		return `CREATE FUNCTION w() RETURNS trigger LANGUAGE plpgsql AS $w$ BEGIN ` + body + `; RETURN NEW; END $w$; CREATE TRIGGER w BEFORE INSERT ON hid_others FOR EACH ROW EXECUTE FUNCTION w();`
	}
	trust := func(names ...string) (c audit.Config) {
		for _, name := range names {
			c.TrustedFunctions = append(c.TrustedFunctions, audit.TrustedFunction{Name: name, Reason: "test"})
		}
		return c
	}
	bump := `CREATE FUNCTION third.bump() RETURNS void LANGUAGE plpgsql AS 'BEGIN PERFORM third.deep(); END';
		CREATE FUNCTION third.deep() RETURNS void LANGUAGE sql BEGIN ATOMIC UPDATE public.hid_tasks SET a = 1; SELECT third.bump(); END;`
	for name, c := range map[string]struct {
		sql    string
		config audit.Config
		want   []string
	}{
		"OwnRow":           {sql: fn(`NEW.up := 1 + (SELECT count(*) FROM hid_tasks)`)},
		"OtherTable":       {sql: fn(`INSERT INTO hid_others VALUES (1)`)},
		"Insert":           {sql: fn(`INSERT INTO hid_tasks VALUES (1)`), want: hid},
		"Qualified":        {sql: fn(`DELETE FROM "public" . hid_tasks`), want: hid},
		"OtherSchema":      {sql: fn(`DELETE FROM third.hid_tasks`)},
		"FarSchema":        {sql: fn(`UPDATE elsewhere.hid_fars SET up = 1`), want: []string{`elsewhere.hid_fars: hidden trigger "w" on "hid_others"`}},
		"Comment":          {sql: fn(`NEW.up := 1; -- DELETE FROM hid_tasks;` + "\n" + `/* UPDATE hid_tasks */ RAISE NOTICE 'INSERT INTO hid_tasks'`)},
		"Two":              {sql: fn(`DELETE FROM hid_boards; DELETE FROM hid_tasks; DELETE FROM hid_tasks`), want: []string{`hid_boards: hidden trigger "w" on "hid_others"`, hid[0]}},
		"Disabled":         {sql: fn(`DELETE FROM hid_tasks`) + `ALTER TABLE hid_others DISABLE TRIGGER w`},
		"Excluded":         {sql: fn(`DELETE FROM hid_tasks`), config: exclude("hid_tasks")},
		"Captured":         {sql: fn(`DELETE FROM hid_tasks`) + capturingDDL("hid_tasks")},
		"Trusted":          {sql: fn(`DELETE FROM hid_tasks`), config: trust("w")},
		"TrustedQualified": {sql: fn(`DELETE FROM hid_tasks`), config: trust("public.w")},
		"TrustedElsewhere": {sql: fn(`DELETE FROM hid_tasks`), config: trust("third.w"), want: hid},
		"Called":           {sql: bump + fn(`PERFORM third.bump()`), want: hid},
		"CalledByName":     {sql: bump + fn(`PERFORM bump()`), want: hid},
		"CalledInAnother":  {sql: bump + fn(`PERFORM public.bump()`)},
		"CalledIsTrusted":  {sql: bump + fn(`PERFORM third.bump()`), config: trust("deep")},
		"ThroughView":      {sql: `CREATE VIEW v AS SELECT * FROM hid_tasks; CREATE VIEW vv AS SELECT id FROM v;` + fn(`INSERT INTO vv VALUES (1)`), want: hid},
		"ReadsView":        {sql: `CREATE VIEW v AS SELECT count(*) AS n FROM hid_tasks;` + fn(`NEW.up := (SELECT n FROM v)`)},
		"Execute":          {sql: fn(`EXECUTE 'NOTIFY x'`), want: unreadable},
		"ExecuteTrusted":   {sql: fn(`EXECUTE 'NOTIFY x'`), config: trust("w")},
		"ExecuteAndWrite":  {sql: fn(`EXECUTE 'NOTIFY x'; DELETE FROM hid_tasks`), want: []string{unreadable[0], hid[0]}},
		"AllCaptured":      {sql: fn(`EXECUTE 'NOTIFY x'`) + capturingDDL("hid_tasks", "hid_boards", "elsewhere.hid_fars", "tenants")},
		"NotRead":          {sql: fn(`NEW.up := length(E'a'` + "\n" + `'b')`), want: unreadable},
		"BuiltIn":          {sql: `CREATE TRIGGER w BEFORE UPDATE ON hid_tasks FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()`},
		"AuditedItself": {sql: `CREATE FUNCTION w() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN UPDATE hid_tasks SET a = 1; RETURN NULL; END';
			CREATE TRIGGER "W 1" AFTER INSERT ON hid_tasks EXECUTE FUNCTION w()`, want: []string{`hid_tasks: hidden trigger "W 1" on "hid_tasks"`}},
		"Ours":         {sql: `CREATE FUNCTION courtroll_x() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN EXECUTE 1; END'; CREATE TRIGGER x AFTER INSERT ON hid_tasks EXECUTE FUNCTION courtroll_x()`},
		"Rule":         {sql: `CREATE RULE r AS ON INSERT TO hid_others DO ALSO UPDATE hid_tasks SET a = 1`, want: []string{`hid_tasks: hidden rule "r" on "hid_others"`}},
		"RuleReads":    {sql: `CREATE RULE r AS ON UPDATE TO hid_tasks DO ALSO INSERT INTO hid_others SELECT id FROM hid_tasks`},
		"RuleNothing":  {sql: `CREATE RULE r AS ON DELETE TO hid_tasks DO INSTEAD NOTHING`},
		"RuleDisabled": {sql: `CREATE RULE r AS ON INSERT TO hid_others DO ALSO DELETE FROM hid_tasks; ALTER TABLE hid_others DISABLE RULE r`},
		"RuleCalls":    {sql: bump + `CREATE RULE r AS ON INSERT TO hid_others DO ALSO SELECT third.bump()`, want: []string{`hid_tasks: hidden rule "r" on "hid_others"`}},
		"Extension": {sql: `CREATE EXTENSION moddatetime; ALTER TABLE hid_others ADD at timestamp;
			CREATE TRIGGER w BEFORE UPDATE ON hid_others FOR EACH ROW EXECUTE FUNCTION moddatetime(at)`},
		"ExtensionDeletes": {sql: `CREATE EXTENSION refint;
			CREATE TRIGGER w AFTER DELETE ON hid_others FOR EACH ROW EXECUTE FUNCTION check_foreign_key(1, 'cascade', 'id', 'hid_tasks', 'up')`, want: unreadable},
		"ExtensionRunsSQL": {sql: `CREATE EXTENSION dblink;` + fn(`PERFORM dblink_exec('', 'DELETE FROM hid_tasks')`), want: unreadable},
		"OtherLanguage": {sql: `CREATE LANGUAGE other HANDLER plpgsql_call_handler; CREATE FUNCTION w() RETURNS trigger LANGUAGE other AS 'x';
			CREATE TRIGGER w AFTER INSERT ON hid_others EXECUTE FUNCTION w()`, want: unreadable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, hidden(t, c.sql, c.config, hidModels...)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// The texts say what to do, and where.
func TestVerify_AuditTexts(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t, schema)
	must(t, db.Owner.Exec(hidTables+`CREATE FUNCTION inner_one() RETURNS void LANGUAGE sql AS 'DELETE FROM hid_tasks';
		CREATE FUNCTION w() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM inner_one(); EXECUTE 1; RETURN NULL; END';
		CREATE TRIGGER w AFTER INSERT ON hid_others EXECUTE FUNCTION w()`).Error)
	if err := audit.Verify(t.Context(), db.App); !errors.Is(err, audit.ErrNotInstalled) {
		t.Errorf("without the plugin: %v, want ErrNotInstalled", err)
	}
	use(t, db.App, audit.New(audit.Config{}))
	err := audit.Verify(t.Context(), db.App, &HidTask{})
	want := `audit: trigger "w" on "hid_others": ` + audit.ErrUnreadable.Error() + `: function "public.w" runs SQL that it puts together
audit: table "hid_tasks": trigger "w" on "hid_others": ` + audit.ErrHiddenWrite.Error() + `: function "public.inner_one" writes hid_tasks`
	if diff := cmp.Diff(want, fmt.Sprint(err)); diff != "" {
		t.Error(diff)
	}
	for _, c := range []audit.TrustedFunction{{Name: "w"}, {Reason: "r"}} {
		if err := db.OpenApp(nil).Use(audit.New(audit.Config{TrustedFunctions: []audit.TrustedFunction{c}})); err == nil {
			t.Errorf("%+v: no error", c)
		}
	}
}

// warnings keeps what a logger is warned of.
type warnings struct {
	logger.Interface
	texts []string
}

func (w *warnings) Warn(_ context.Context, format string, args ...any) {
	w.texts = append(w.texts, fmt.Sprintf(format, args...))
}

// filtering is a logger that keeps parameters from itself.
type filtering struct{ *warnings }

func (filtering) ParamsFilter(_ context.Context, sql string, _ ...any) (string, []any) {
	return sql, nil
}

func TestVerify_Trail(t *testing.T) {
	t.Parallel()
	const params, changes = "prints the parameters", "may update, delete or truncate"
	for name, c := range map[string]struct {
		sql    string
		filter bool
		want   []string
		warned []string
	}{
		"OwnerLike":   {sql: `GRANT ALL ON audit_logs TO app`, filter: true, warned: []string{changes}},
		"Update":      {sql: `GRANT UPDATE (action), INSERT ON audit_logs TO app`, filter: true, warned: []string{changes}},
		"Truncate":    {sql: `GRANT TRUNCATE, INSERT ON audit_logs TO app`, filter: true, warned: []string{changes}},
		"InsertAlone": {sql: `GRANT INSERT, SELECT ON audit_logs TO app`, filter: true},
		"Parameters":  {sql: `GRANT INSERT ON audit_logs TO app`, warned: []string{params}},
		"NoInsert":    {sql: `GRANT SELECT ON audit_logs TO app`, filter: true, want: []string{"audit_logs: trail "}},
		"NoTable":     {sql: `DROP TABLE audit_logs`, filter: true, want: []string{"audit_logs: trail "}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.New(t, schema)
			must(t, db.Owner.Exec(`REVOKE ALL ON audit_logs FROM PUBLIC, "`+db.AppRole+`"; `+strings.ReplaceAll(c.sql, "app", `"`+db.AppRole+`"`)).Error)
			w := &warnings{Interface: logger.Discard}
			config := gorm.Config{Logger: w}
			if c.filter {
				config.Logger = filtering{w}
			}
			app := db.OpenApp(&config)
			use(t, app, audit.New(audit.Config{}))
			if diff := cmp.Diff(c.want, faultsOf(t, audit.Verify(t.Context(), app))); diff != "" {
				t.Error(diff)
			}
			if len(w.texts) != len(c.warned) || slices.ContainsFunc(c.warned, func(want string) bool {
				return !slices.ContainsFunc(w.texts, func(text string) bool { return strings.Contains(text, want) })
			}) {
				t.Errorf("warnings %q, want %q", w.texts, c.warned)
			}
		})
	}
}

// The catalogue is nobody's: any context will do, behind any walls, and a
// transaction is asked itself.
func TestVerify_AnyHandle(t *testing.T) {
	t.Parallel()
	eachWall(t, func(t *testing.T, w walls) {
		b := w.with(t, false, nil, nil)
		plain := b.DB.Open(postgres.Open(b.AppDSN), &gorm.Config{PrepareStmt: true})
		use(t, plain, audit.New(audit.Config{Rules: rules}))
		use(t, plain, tenancy.New(tenancy.Config{Rules: rules, RowLevelSecurity: w.all}))
		for _, app := range []*gorm.DB{b.app, plain} {
			for name, ctx := range map[string]context.Context{"nobody": t.Context(), "tenant": b.acme, "system": b.system} {
				if _, err := audit.Coverage(ctx, app); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				if err := audit.Verify(ctx, app.WithContext(ctx)); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
		must(t, b.as(b.acme).Transaction(func(tx *gorm.DB) error {
			must(t, tx.Create(&Author{ID: 1}).Error)
			must(t, audit.Verify(t.Context(), tx))
			return tx.Create(&Author{ID: 2, Email: "e"}).Error
		}))
	})
}
