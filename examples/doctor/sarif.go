package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"strings"

	"github.com/owenrumney/go-sarif/v3/pkg/report"
	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"

	"github.com/courtroll/courtroll/migrate"
)

const (
	home  = "https://github.com/courtroll/courtroll"
	pages = home + "/blob/main/docs/"
)

// printSARIF is SARIF 2.1.0, as code scanners upload it. A rule is a code, and its help
// has the fix of each object; what is accepted is there, suppressed.
func printSARIF(out io.Writer, r result) error {
	run := sarif.NewRunWithInformationURI("courtroll doctor", home)
	for _, f := range r.left {
		addResult(run, f, r.at)
	}
	for _, f := range r.accepted {
		addResult(run, f, r.at).AddSuppression(sarif.NewSuppression().WithKind("external").WithStatus("accepted").WithJustification(r.baseline.Reason(f)))
	}
	document := report.NewV210Report()
	document.AddRun(run)
	if err := document.PrettyWrite(out); err != nil {
		return err
	}
	_, err := fmt.Fprintln(out)
	return err
}

func addResult(run *sarif.Run, f migrate.Finding, at string) *sarif.Result {
	rule := run.AddRule(string(f.Code))
	if rule.Help == nil {
		name := strings.ReplaceAll(string(f.Code), "-", " ")
		rule.WithName(string(f.Code)).WithDescription(name).WithHelpURI(pages + "guarantees.md")
		rule.WithFullDescription(sarif.NewMultiformatMessageString().WithText(name + ": " + pages + "guarantees.md says which guarantee that breaks"))
		rule.WithHelp(sarif.NewMultiformatMessageString().WithText("").WithMarkdown(""))
		rule.WithDefaultConfiguration(sarif.NewReportingConfiguration().WithLevel(string(f.Severity)))
	}
	help, markdown := *rule.Help.Text+fix("-- %s\n%s\n", f), *rule.Help.Markdown+fix("%s\n\n```sql\n%s\n```\n\n", f)
	rule.Help.WithText(help).WithMarkdown(markdown)
	kind, name, _ := strings.Cut(f.Object, " ")
	place := sarif.NewLocation().AddLogicalLocation(sarif.NewLogicalLocation().WithKind(kind).WithName(short(name)).WithFullyQualifiedName(name))
	identity := string(f.Code) + " " + f.Object
	prints := map[string]string{"courtroll/v1": identity}
	if at != "" {
		place.WithPhysicalLocation(sarif.NewPhysicalLocation().WithArtifactLocation(sarif.NewSimpleArtifactLocation(at)).WithRegion(sarif.NewRegion().WithStartLine(1)))
		// All are at one line, and GitHub takes what has this key's value in common for one.
		prints["primaryLocationLineHash"] = fmt.Sprintf("%.8x:1", sha256.Sum256([]byte(identity)))
	}
	return run.CreateResultForRule(string(f.Code)).WithLevel(string(f.Severity)).AddLocation(place).
		WithMessage(sarif.NewTextMessage(f.Object + ": " + f.Why)).
		WithPartialFingerprints(prints)
}

// short is a name without its schema. What is more than a name stays whole: "on
// public.pages to PUBLIC", of a grant.
func short(name string) string {
	own, _, _ := strings.Cut(name, "(") // types of arguments have schemas, too
	if strings.Contains(own, " ") {
		return name
	}
	return name[strings.LastIndex(own, ".")+1:]
}

func fix(format string, f migrate.Finding) string { return fmt.Sprintf(format, f.Object, f.Fix) }
