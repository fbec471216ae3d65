package audittest_test

import (
	"testing"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/audit/audittest"
	"github.com/courtroll/courtroll/models"
)

// Each check of an entry passes on what is there and fails on what is not.
func TestEntry(t *testing.T) {
	t.Parallel()
	b := setup(t)
	invoice := b.invoice(t)
	ctx := audit.WithReason(audit.WithActor(b.acme.Statement.Context, audit.Actor{ID: "ann", RequestID: "r_2"}), "ticket 4711")
	must(t, b.with(ctx).Model(invoice).Updates(map[string]any{"email": "bob@example.com", "bio": "a long story", "note": "n"}).Error)
	must(t, b.with(ctx).Delete(invoice).Error)
	data := map[string]any{"password": "canary-three", "rows": 3, "for": []string{"a", "b"}, "none": nil}
	must(t, audit.Record(ctx, b.app, audit.Event{Action: "user.login", ResourceType: "users", Data: data, Outcome: audit.Failure}))
	must(t, audit.Record(b.acme.Statement.Context, b.app, audit.Event{Action: "user.logout", ResourceType: "users"}))
	must(t, b.super().Create(&models.NewAuditLog{Action: "page.view", ResourceType: "pages", TenantID: &invoice.TenantID}).Error)

	second := [3]string{"r_2", "invoices", "update"}
	for name, c := range map[string]struct {
		of   [3]string // request, type and action: of the first update where empty
		do   func(e *audittest.Entry)
		want []string
	}{
		"Changed":            {do: func(e *audittest.Entry) { e.Changed("status", "draft", "sent").By("ann") }},
		"ChangedFrom":        {do: func(e *audittest.Entry) { e.Changed("status", "paid", "sent") }, want: []string{`update invoices: column "status" changed from "draft" to "sent", want from "paid" to "sent"`, "update invoices 1 by ann: api_token, status"}},
		"ChangedTo":          {do: func(e *audittest.Entry) { e.Changed("status", "draft", "paid") }, want: []string{`from "draft" to "sent", want from "draft" to "paid"`}},
		"ChangedFromNothing": {do: func(e *audittest.Entry) { e.Changed("status", nil, "sent") }, want: []string{`want from null to "sent"`}},
		"ChangedNot":         {do: func(e *audittest.Entry) { e.Changed("note", nil, nil) }, want: []string{`column "note" did not change: there are api_token, status`}},
		"ChangedMisspelt":    {do: func(e *audittest.Entry) { e.Changed("Status", "draft", "sent") }, want: []string{`did you mean "status"?`}},
		"ChangedRedacted":    {do: func(e *audittest.Entry) { e.Changed("api_token", "canary-one", "x") }, want: []string{"it is redacted: see Redacted"}},
		"Redacted":           {do: func(e *audittest.Entry) { e.Redacted("api_token") }},
		"RedactedNot":        {do: func(e *audittest.Entry) { e.Redacted("status") }, want: []string{`column "status" is not redacted`}},
		"RedactedUnchanged":  {do: func(e *audittest.Entry) { e.Redacted("note") }, want: []string{`column "note" did not change`}},
		"Unchanged":          {do: func(e *audittest.Entry) { e.Unchanged("note").Unchanged("avatar") }},
		"UnchangedNot":       {do: func(e *audittest.Entry) { e.Unchanged("status") }, want: []string{`column "status" changed from "draft" to "sent", want it unchanged`}},
		"UnchangedNoColumn":  {do: func(e *audittest.Entry) { e.Unchanged("Notes") }, want: []string{`there is no column "Notes": did you mean "note"?`}},
		"OnlyChanged":        {do: func(e *audittest.Entry) { e.OnlyChanged("status", "api_token") }},
		"OnlyChangedMore":    {do: func(e *audittest.Entry) { e.OnlyChanged("status") }, want: []string{"changed besides: api_token"}},
		"OnlyChangedLess":    {do: func(e *audittest.Entry) { e.OnlyChanged("status", "api_token", "note") }, want: []string{"want a change of note"}},
		"By":                 {do: func(e *audittest.Entry) { e.By("bob") }, want: []string{`the actor is "ann", want "bob"`}},
		"ByNobody":           {do: func(e *audittest.Entry) { e.By("") }, want: []string{"By was given no actor"}},
		"NobodyNamed":        {of: [3]string{"", "pages", "page.view"}, do: func(e *audittest.Entry) { e.By("ann") }, want: []string{"nobody is named as the actor", "audit.WithActor"}},
		"Because":            {of: [3]string{"r_2", "invoices", "soft_delete"}, do: func(e *audittest.Entry) { e.Because("ticket 4711").By("ann") }},
		"BecauseAnother":     {of: [3]string{"r_2", "invoices", "soft_delete"}, do: func(e *audittest.Entry) { e.Because("ticket") }, want: []string{`the reason is "ticket 4711", want "ticket"`}},
		"BecauseOfNothing":   {do: func(e *audittest.Entry) { e.Because("ticket 4711") }, want: []string{"no reason is given", "audit.WithReason"}},
		"BecauseBlank":       {do: func(e *audittest.Entry) { e.Because("") }, want: []string{"Because was given no reason"}},
		"OutcomeOfAChange":   {do: func(e *audittest.Entry) { e.Succeeded() }, want: []string{"a change has no outcome"}},
		"DataOfAChange":      {do: func(e *audittest.Entry) { e.Data("rows", 3) }, want: []string{"a change has no data"}},

		"Event": {of: [3]string{"r_2", "users", "user.login"}, do: func(e *audittest.Entry) {
			e.Failed().Data("rows", 3.0).Data("for", []string{"a", "b"}).Data("none", nil)
		}},
		"EventRedacted":    {of: [3]string{"r_2", "users", "user.login"}, do: func(e *audittest.Entry) { e.Redacted("password").Because("ticket 4711") }},
		"EventNotRedacted": {of: [3]string{"r_2", "users", "user.login"}, do: func(e *audittest.Entry) { e.Redacted("rows") }, want: []string{`data "rows" is not redacted`}},
		"EventSucceeded":   {of: [3]string{"r_2", "users", "user.login"}, do: func(e *audittest.Entry) { e.Succeeded() }, want: []string{`user.login users: the outcome is "failure", want "success"`}},
		"EventFailed":      {of: [3]string{"r_1", "users", "user.logout"}, do: func(e *audittest.Entry) { e.Succeeded().Failed() }, want: []string{`the outcome is "success", want "failure"`}},
		"EventData":        {of: [3]string{"r_2", "users", "user.login"}, do: func(e *audittest.Entry) { e.Data("rows", 4) }, want: []string{`data "rows" is 3, want 4`}},
		"EventDataName":    {of: [3]string{"r_2", "users", "user.login"}, do: func(e *audittest.Entry) { e.Data("row", nil) }, want: []string{`the data has no "row": did you mean "rows"?`}},
		"EventNoData":      {of: [3]string{"r_1", "users", "user.logout"}, do: func(e *audittest.Entry) { e.Data("rows", nil) }, want: []string{`the data has no "rows"`}},
		"EventChanged":     {of: [3]string{"r_2", "users", "user.login"}, do: func(e *audittest.Entry) { e.Changed("rows", nil, 3) }, want: []string{"an event changes no column: see Data"}},
		"EventUnchanged":   {of: [3]string{"r_2", "users", "user.login"}, do: func(e *audittest.Entry) { e.Unchanged("rows") }, want: []string{"an event changes no column"}},
		"EventOnly":        {of: [3]string{"r_2", "users", "user.login"}, do: func(e *audittest.Entry) { e.OnlyChanged() }, want: []string{"an event changes no column"}},

		"Hashed": {of: second, do: func(e *audittest.Entry) { e.Changed("email", "ann@example.com", "bob@example.com") }, want: []string{"the trail has a hash of it"}},
		"Cut":    {of: second, do: func(e *audittest.Entry) { e.Changed("bio", "", "a long story") }, want: []string{"the trail has its start alone"}},
		"CutTo": {of: second, do: func(e *audittest.Entry) {
			e.Changed("bio", "", "a long s...[cut from 12 characters]").Changed("note", nil, "n")
		}},

		// What is not there passes nothing, and panics nowhere.
		"Missing": {of: [3]string{"r_2", "invoices", "restore"}, do: func(e *audittest.Entry) {
			e.Changed("a", nil, 1).Redacted("a").Unchanged("a").OnlyChanged("a").By("ann").Because("x").Succeeded().Failed().Data("a", 1)
			if e.AuditLog() != (models.AuditLog{}) {
				t.Error("an entry that is not there has a row")
			}
		}, want: []string{"no entry"}},
	} {
		t.Run(name, func(t *testing.T) {
			check(t, func(r *recorder) {
				tr, of := audittest.Expect(r, b.acme), c.of
				if of == [3]string{} {
					of = [3]string{"r_1", "invoices", "update"}
				}
				if of[0] != "" {
					tr = tr.InRequest(of[0])
				}
				c.do(tr.One(of[1], of[2]))
			}, c.want...)
		})
	}
	if log := audittest.Expect(t, b.acme).One("invoices", "create").AuditLog(); log.Action != "create" || *log.ResourceID != "1" {
		t.Errorf("the entry is %+v", log)
	}
}
