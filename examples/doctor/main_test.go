package main

import (
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/migrate"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// private runs what the program does without a database to examine.
func private(t *testing.T, args ...string) (out, progress string, left migrate.Findings) {
	t.Helper()
	db := pgtest.New(t, pgtest.Template{})
	var stdout, stderr strings.Builder
	d := &doctor{out: &stdout, progress: &stderr}
	noError(t, d.configure(args, func(string) string { return "" }))
	left, err := d.examinePrivate(t.Context(), db.SuperDSN)
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	return stdout.String(), stderr.String(), left
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	noError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestPrivate_Table(t *testing.T) {
	t.Parallel()
	out, progress, left := private(t)
	for _, want := range []string{
		"│ error    │ rls-not-forced ", "│ warning  │ policy-foreign ",
		"\n-- rls-not-forced: table public.pages\nALTER TABLE \"public\".\"pages\" FORCE ROW LEVEL SECURITY;\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the result lacks %q", want)
		}
	}
	if first, _, _ := strings.Cut(progress, "Broken"); !strings.Contains(first, "Found:    0,") || !strings.HasSuffix(progress, "Found:    0, accepted: 0\n") {
		t.Error("something was found before anything was broken, or after the fixes")
	}
	if len(left) > 0 || t.Failed() {
		t.Errorf("left %v\n%s\n%s", left, progress, out)
	}
}

const baseline = `[
	{"code": "rls-not-forced", "object": "table public.pages", "reason": "a test"},
	{"code": "rls-disabled", "object": "table public.pages", "reason": "another"}
]`

func TestPrivate_JSON(t *testing.T) {
	t.Parallel()
	out, progress, left := private(t, "-format", "json", "-baseline", write(t, "baseline.json", baseline))
	var found migrate.Findings
	noError(t, json.Unmarshal([]byte(out), &found))
	if len(found) < len(injuries)-1 || slices.ContainsFunc(found, func(f migrate.Finding) bool { return f.Code == migrate.CodeRLSNotForced }) {
		t.Errorf("found %v", found)
	}
	if !strings.Contains(progress, "stale, for it is not found any more: rls-disabled: table public.pages\n") || !strings.HasSuffix(progress, "Found:    1, accepted: 1\n  stale, for it is not found any more: rls-disabled: table public.pages\n") {
		t.Errorf("nothing is said of the baseline, or what it accepts was fixed:\n%s", progress)
	}
	if len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

// log is of SARIF what the test compares.
type log struct {
	Runs []struct {
		Results []struct {
			RuleID, Level string
			RuleIndex     int
			Locations     []struct {
				LogicalLocations []struct{ Kind, Name, FullyQualifiedName string }
				PhysicalLocation struct {
					ArtifactLocation struct{ URI string }
					Region           struct{ StartLine int }
				}
			}
			Suppressions        []struct{ Justification string }
			PartialFingerprints struct{ PrimaryLocationLineHash string }
		}
		Tool struct {
			Driver struct {
				Rules []struct {
					ID   string
					Help struct{ Text string }
				}
			}
		}
	}
}

func TestPrivate_SARIF(t *testing.T) {
	t.Parallel()
	out, _, _ := private(t, "-format", "sarif", "-at", "deploy/doctor.json", "-baseline", write(t, "baseline.json", baseline))
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(out))
	noError(t, err)
	if err := schema(t).Validate(value); err != nil {
		t.Error(err)
	}
	var document log
	noError(t, json.Unmarshal([]byte(out), &document))
	run := document.Runs[0]
	if len(run.Results) < len(injuries) {
		t.Errorf("%d results of %d", len(run.Results), len(injuries))
	}
	suppressed, prints := 0, map[string]bool{}
	for _, r := range run.Results {
		rule, place := run.Tool.Driver.Rules[r.RuleIndex], r.Locations[0]
		name := place.LogicalLocations[0]
		if rule.ID != r.RuleID || !strings.Contains(rule.Help.Text, "-- "+name.Kind+" "+name.FullyQualifiedName+"\n") || !strings.HasSuffix("."+name.FullyQualifiedName, "."+name.Name) {
			t.Errorf("result %+v has the rule %+v", r, rule)
		}
		if at := place.PhysicalLocation; at.ArtifactLocation.URI != "deploy/doctor.json" || at.Region.StartLine != 1 {
			t.Errorf("result %+v is at no line of the file", r)
		}
		prints[r.PartialFingerprints.PrimaryLocationLineHash] = true
		for _, s := range r.Suppressions {
			suppressed++
			if r.RuleID != "rls-not-forced" || s.Justification != "a test" {
				t.Errorf("result %+v is suppressed", r)
			}
		}
	}
	if suppressed != 1 || len(prints) != len(run.Results) || t.Failed() {
		t.Errorf("%d results are suppressed, and %d of %d can be told apart\n%s", suppressed, len(prints), len(run.Results), out)
	}
}

// schema is OASIS's, with errata 01: of https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas.
func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	file, err := os.Open("testdata/sarif-schema-2.1.0.json.gz")
	noError(t, err)
	defer file.Close()
	text, err := gzip.NewReader(file)
	noError(t, err)
	value, err := jsonschema.UnmarshalJSON(text)
	noError(t, err)
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	noError(t, compiler.AddResource("sarif.json", value))
	compiled, err := compiler.Compile("sarif.json")
	noError(t, err)
	return compiled
}

func TestShort(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"public.pages":                "pages",
		"public.pages.courtroll_app":  "courtroll_app",
		"shop_app":                    "shop_app",
		"on public.pages to PUBLIC":   "on public.pages to PUBLIC",
		"public.peek()":               "peek()",
		"public.peek(x.kind, bigint)": "peek(x.kind, bigint)",
	} {
		if got := short(name); got != want {
			t.Errorf("of %q it is %q", name, got)
		}
	}
}

// TestNamed: a database that somebody names is examined and stays as it is.
func TestNamed(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t, pgtest.Template{})
	noError(t, db.Owner.Exec(`CREATE TABLE pages (id bigint PRIMARY KEY, tenant_id text NOT NULL)`).Error)
	before := content(t, db)
	examine := func(args ...string) (status int, out, progress string) {
		var stdout, stderr strings.Builder
		status = run(t.Context(), args, func(string) string { return db.AppDSN }, &stdout, &stderr)
		return status, stdout.String(), stderr.String()
	}
	status, out, progress := examine("-format", "json")
	var found migrate.Findings
	noError(t, json.Unmarshal([]byte(out), &found))
	has := func(code migrate.Code, object string) bool {
		return slices.ContainsFunc(found, func(f migrate.Finding) bool { return f.Code == code && f.Object == object })
	}
	if status != exitUndermined || !has(migrate.CodeRLSOff, "table public.pages") || !has(migrate.CodeNoTable, "table revisions") {
		t.Errorf("status %d: %s\n%s", status, progress, out)
	}
	if _, out, _ := examine("-all", "-format", "json"); !strings.Contains(out, `"rls-disabled"`) || strings.Contains(out, `"table revisions"`) {
		t.Errorf("of all tables it finds %s", out)
	}
	accepted := make(migrate.Baseline, len(found))
	for i, f := range found {
		accepted[i] = migrate.Accepted{Code: f.Code, Object: f.Object, Reason: "a test"}
	}
	text, err := json.Marshal(accepted)
	noError(t, err)
	if status, out, progress := examine("-baseline", write(t, "all.json", string(text))); status != 0 || out != "Nothing undermines the guarantees.\n" {
		t.Errorf("with all accepted: status %d: %s\n%s", status, progress, out)
	}
	if after := content(t, db); after != before {
		t.Errorf("the database was\n%s\nand is\n%s", before, after)
	}
}

// content is the catalogue, as text.
func content(t *testing.T, db *pgtest.DB) (text string) {
	t.Helper()
	noError(t, db.Owner.Raw(`SELECT concat_ws(' ', (SELECT md5(string_agg(c::text || c.xmin, ',' ORDER BY oid)) FROM pg_class c WHERE relkind <> 'i'),
		(SELECT md5(string_agg(p::text, ',' ORDER BY oid)) FROM pg_policy p), (SELECT md5(string_agg(f.oid::text, ',' ORDER BY oid)) FROM pg_proc f))`).Scan(&text).Error)
	return text
}

// TestBlind: who could not look does not say that all is well.
func TestBlind(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"NoServer":       {"-dsn", "host=/nonexistent user=x password=canary dbname=x"},
		"NoDSN":          {"-dsn", "postgres://x:canary@[/x"},
		"UnknownFormat":  {"-format", "xml"},
		"UnknownFlag":    {"-fix"},
		"Argument":       {"pages"},
		"NoBaseline":     {"-baseline", "/nonexistent"},
		"BrokenBaseline": {"-baseline", write(t, "baseline.json", `[{"code": "rls-disabled"}]`)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out, progress strings.Builder
			if status := run(t.Context(), args, func(string) string { return "" }, &out, &progress); status != exitBlind || out.Len() > 0 || progress.Len() == 0 {
				t.Errorf("status %d, %q, %q", status, out.String(), progress.String())
			}
			if strings.Contains(progress.String(), "canary") {
				t.Errorf("a password is shown: %s", progress.String())
			}
		})
	}
	var progress strings.Builder
	if status := run(t.Context(), []string{"-h"}, os.Getenv, &strings.Builder{}, &progress); status != 0 || !strings.Contains(progress.String(), "-baseline") {
		t.Errorf("-h: status %d: %s", status, progress.String())
	}
}
