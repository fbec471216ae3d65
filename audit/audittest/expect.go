package audittest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/models"
)

// Trail is the part of the audit trail that a test looks at. Make one with
// [Expect]. Its methods read when they are called and keep nothing, so that one
// Trail may be asked before and after the act; those that narrow return another.
// Like t, it is for the test's own goroutine.
type Trail struct {
	t        testing.TB
	db       *gorm.DB
	filter   audit.Filter
	narrowed string // how, for messages
	outer    *Trail // without the last narrowing, nil without any
	last     string // the last narrowing
	off      bool   // the test has failed: there is nothing to find
}

// Expect returns the trail that db's context may see, by [audit.List]: that of
// its tenant, or of all in a system scope, whose first statement is recorded
// itself. Conditions on db count for nothing; if it is in a transaction, what
// that has written is seen.
//
// What is found wrong with the trail is an error of the test, which goes on. It
// ends by t.Fatal where nothing more can be said: the trail cannot be read, as
// without a tenant in the context; the entry of [Trail.One] is not there; a call
// can only be a mistake, as with a blank name or one that is misspelt.
func Expect(t testing.TB, db *gorm.DB) *Trail {
	t.Helper()
	tr := &Trail{t: t}
	db, err := reader(db)
	if err != nil {
		tr.stop("%v", err)
		return tr
	}
	tr.db = db
	return tr
}

// reader returns a handle with nothing of db's but its connection and context.
func reader(db *gorm.DB) (*gorm.DB, error) {
	switch {
	case db == nil:
		return nil, errors.New("the *gorm.DB is nil")
	case db.DryRun:
		return nil, errors.New("the handle is a dry run, which reads nothing")
	}
	// Without a method of a chain behind it, Session leaves the conditions to whoever
	// calls it next.
	return db.Session(&gorm.Session{NewDB: true}).Scopes(), nil
}

// Of narrows to one resource, by its primary key: a text, a number, a UUID or
// what else the key is in Go. Of a composite key it takes the parts in the order
// of the model's fields. What can only be a mistake fails: a model, or something
// else that is no key; nothing, a zero or a nil UUID, for then nobody has filled
// the id in (a key that is zero is given as text, "0"); and a key of another number
// of parts than the trail has of that table.
func (tr *Trail) Of(key ...any) *Trail {
	tr.t.Helper()
	id, err := keyText(key)
	if err != nil && !tr.off {
		next := *tr
		next.stop("%v", err)
		return &next
	}
	return tr.narrow("Of", id, func(f *audit.Filter) { f.ResourceID = id })
}

// By narrows to what one actor did, by [audit.Actor.ID].
func (tr *Trail) By(actorID string) *Trail {
	tr.t.Helper()
	return tr.narrow("By", actorID, func(f *audit.Filter) { f.ActorID = actorID })
}

// InRequest narrows to what one request did, by [audit.Actor.RequestID].
func (tr *Trail) InRequest(id string) *Trail {
	tr.t.Helper()
	return tr.narrow("InRequest", id, func(f *audit.Filter) { f.RequestID = id })
}

// Since narrows to what was written since a moment, which [Now] gives.
func (tr *Trail) Since(m Moment) *Trail {
	tr.t.Helper()
	text := ""
	if !m.at.IsZero() {
		text = m.String()
	}
	return tr.narrow("Since", text, func(f *audit.Filter) { f.From = m.at })
}

func (tr *Trail) narrow(how, value string, set func(*audit.Filter)) *Trail {
	tr.t.Helper()
	next := *tr
	if !tr.off && strings.TrimSpace(value) == "" {
		next.stop("%s was given nothing to narrow to: a blank would find everything", how)
		return &next
	}
	set(&next.filter)
	next.outer, next.last = tr, fmt.Sprintf("%s(%s)", how, value)
	next.narrowed += " " + next.last
	return &next
}

// One demands that there is exactly one entry of that resource type and action,
// and returns it for further checks. Where it is not so, the test ends; with a
// testing.TB that goes on all the same, the checks of what is returned do nothing.
func (tr *Trail) One(resourceType, action string) *Entry {
	tr.t.Helper()
	entry := &Entry{trail: tr}
	found, ok := tr.find(resourceType, action)
	if ok && len(found) != 1 {
		tr.stop("%s", tr.mismatch(found, "one", resourceType, action))
	}
	if !ok || len(found) != 1 {
		return entry
	}
	metadata, err := audit.ReadMetadata(found[0])
	if err != nil {
		tr.stop("%v", err)
		return entry
	}
	entry.log, entry.metadata, entry.there = found[0], metadata, true
	return entry
}

// Count demands that there are n entries of that resource type and action. Of 0
// it demands besides that there can be one: see [Trail.None].
func (tr *Trail) Count(n int, resourceType, action string) *Trail {
	tr.t.Helper()
	tr.counts(n, resourceType, action)
	return tr
}

// counts does what Count does, and reports whether it holds.
func (tr *Trail) counts(n int, resourceType, action string) bool {
	tr.t.Helper()
	found, ok := tr.find(resourceType, action)
	switch {
	case !ok:
		return false
	case len(found) != n:
		tr.t.Errorf("audittest: %s", tr.mismatch(found, fmt.Sprint(n), resourceType, action))
		return false
	}
	return n > 0 || tr.couldFail(resourceType, action)
}

// None demands that there is no entry of that resource type and action. Of
// "delete" it demands also that there is no "soft_delete", which is what a delete
// of a model with a gorm.DeletedAt leaves; Count(0, …) takes the action as it is.
//
// It fails as well where it would hold whatever happened:
//
//   - the name is of no table and in no entry, as "invoice" where the table is
//     "invoices", or has a schema, which the trail leaves out: "public.invoices";
//   - the action is none, as "updated", or is a change's with the table before it:
//     "invoices.delete". An event's action, and what it is about, are judged by the
//     trail: one that is not in it, and but for a slip of the pen like one that is,
//     fails. A wrong one that is like none there cannot be told from a right one;
//   - the table is in Config.Exclude, and no trigger captures it;
//   - the handle is without the audit plugin.
//
// If the context sees no entry at all, the test's log says so: it may be that of
// another tenant.
func (tr *Trail) None(resourceType, action string) *Trail {
	tr.t.Helper()
	if !tr.counts(0, resourceType, action) || action != "delete" {
		return tr
	}
	filter := tr.filter
	filter.ResourceType, filter.Action = resourceType, "soft_delete"
	soft, err := tr.read(filter)
	switch {
	case err != nil:
		tr.stop("%v", err)
	case len(soft) > 0:
		tr.t.Errorf("audittest: no entry of action %q on %q%s, but %s: a delete of this model only marks its rows. "+
			"If that is meant to be, say Count(0, %q, %q):%s", action, resourceType, tr.narrowed, plural(len(soft), "soft_delete"), resourceType, action, list(soft))
	}
	return tr
}

// Nothing demands that there is no entry at all, as after an act that was rolled
// back. The records of system scopes do not count: reading in one makes one. As
// [Trail.None], it fails without the audit plugin, and logs that the context sees
// no entry.
func (tr *Trail) Nothing() *Trail {
	tr.t.Helper()
	if tr.off {
		return tr
	}
	all, err := tr.read(tr.filter)
	if err != nil {
		tr.stop("%v", err)
		return tr
	}
	if all = slices.DeleteFunc(all, isScope); len(all) > 0 {
		tr.t.Errorf("audittest: %s%s, want none:%s", count(len(all)), tr.narrowed, list(all))
		return tr
	}
	tr.couldFail("", "")
	return tr
}

// couldFail reports whether there would be an entry if what should not happen had
// happened. Where there would not, the test ends; where nobody can tell, its log
// says so.
func (tr *Trail) couldFail(resourceType, action string) bool {
	tr.t.Helper()
	reason, err := tr.exclusion(resourceType, action)
	if err == nil && reason != "" {
		err = fmt.Errorf("table %q is in Config.Exclude (%s): no change of it leaves an entry, and that there is none says nothing", resourceType, reason)
	}
	if err != nil {
		tr.stop("%v", err)
		return false
	}
	if !tr.seesAny() {
		tr.t.Log("audittest: there is nothing, as was wanted, but the context sees no entry at all: is it that of the tenant in which something could have happened?")
	}
	return true
}

// find returns the entries of a type and an action. It is not ok where the test
// has failed over it.
func (tr *Trail) find(resourceType, action string) (found []models.AuditLog, ok bool) {
	tr.t.Helper()
	if tr.off {
		return nil, false
	}
	if strings.TrimSpace(resourceType) == "" || strings.TrimSpace(action) == "" {
		tr.stop("a resource type and an action are due, as in One(\"invoices\", \"update\"), not %q and %q", resourceType, action)
		return nil, false
	}
	filter := tr.filter
	filter.ResourceType, filter.Action = resourceType, action
	found, err := tr.read(filter)
	doubt := ""
	if err == nil && len(found) == 0 {
		doubt, err = tr.doubt(resourceType, action)
	}
	switch {
	case err != nil:
		tr.stop("%v", err)
	case doubt != "":
		tr.stop("%s%s", doubt, tr.others())
	default:
		return found, true
	}
	return nil, false
}

// stop ends the test. With a testing.TB that goes on, the trail is over.
func (tr *Trail) stop(format string, args ...any) {
	tr.t.Helper()
	tr.off = true
	tr.t.Fatalf("audittest: "+format, args...)
}

const pageSize = 1000 // the longest that there is

func (tr *Trail) read(filter audit.Filter) (found []models.AuditLog, err error) {
	err = eachPage(tr.ctx(), tr.db, filter, func(page []models.AuditLog) { found = append(found, page...) })
	return found, err
}

func (tr *Trail) ctx() context.Context { return tr.db.Statement.Context }

func eachPage(ctx context.Context, db *gorm.DB, filter audit.Filter, do func([]models.AuditLog)) error {
	filter.OldestFirst, filter.Limit = true, pageSize
	for cursor := ""; ; {
		page, err := audit.List(ctx, db, filter, cursor)
		if err != nil {
			return err
		}
		do(page.Entries)
		if cursor = page.Next; cursor == "" {
			return nil
		}
	}
}

// seesAny reports whether the context sees any entry, but for the records of
// system scopes.
func (tr *Trail) seesAny() bool {
	const some = 50 // so many scopes are not opened before anything else happens
	page, err := audit.List(tr.ctx(), tr.db, audit.Filter{Limit: some}, "")
	return err != nil || page.Next != "" || slices.ContainsFunc(page.Entries, func(e models.AuditLog) bool { return !isScope(e) })
}

// isScope tells the record of a system scope, which reading the trail may leave.
func isScope(entry models.AuditLog) bool { return entry.ResourceType == "system_scope" }
