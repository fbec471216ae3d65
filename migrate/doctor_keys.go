package migrate

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// The codes of the third wall: the keys.
const (
	CodeForeignKeyNoTenant    Code = "foreign-key-without-tenant"
	CodeForeignKeyMissing     Code = "foreign-key-missing"          // an association has none
	CodeForeignKeyAltered     Code = "foreign-key-altered"          // that of an association ties something else
	CodeForeignKeyCrossed     Code = "foreign-key-crossed"          // the tenant is compared with another column
	CodeForeignKeyNotEnforced Code = "foreign-key-not-enforced"     // PostgreSQL 18
	CodeForeignKeyNotValid    Code = "foreign-key-not-valid"        // the rows that are there were not checked
	CodeForeignKeyUnproven    Code = "foreign-key-unproven"         // they were checked by who did not see them
	CodeForeignKeySetsTenant  Code = "foreign-key-sets-tenant"      // ON DELETE or ON UPDATE changes it
	CodeForeignKeyUnprotected Code = "foreign-key-unprotected"      // one of the two tables is not protected
	CodeConstraintTriggersOff Code = "constraint-triggers-disabled" // the server's own, that check keys
	CodeCompositeKeyMissing   Code = "composite-key-missing"        // the tenant and the key are no key any more
)

// checkKeys compares the foreign keys between the app's tables with what Protect makes
// of them, and with the associations of the models.
func (d *doctor) checkKeys(ctx context.Context) error {
	if len(d.set.owned()) == 0 {
		return nil
	}
	have, err := d.readLinks(ctx)
	if err != nil {
		return err
	}
	missing := slices.DeleteFunc(d.missingLinks(nil), func(m *link) bool {
		return !m.ordinary() || slices.ContainsFunc(have, func(l *link) bool { return m.tiedBy(l) })
	})
	firsts, err := d.firstPolicies(ctx)
	if err != nil {
		return err
	}
	for _, l := range have {
		switch {
		case l.isTwin(have):
		case l.isOurs() && l.ordinary(), namesake(l, missing) != nil:
			err = d.checkLink(ctx, l, missing, have, firsts)
		case l.from == nil || l.to == nil:
			err = d.checkHalfLink(ctx, l)
		}
		if err != nil {
			return err
		}
	}
	if err := d.reportMissing(ctx, missing, have); err != nil {
		return err
	}
	return d.checkTriggers(ctx, have)
}

// ordinary reports whether both are tables that can have keys.
func (l *link) ordinary() bool { return l.from.Kind == "r" && l.to.Kind == "r" }

// tiedBy reports whether another key covers this one, and never passes a row over: of
// several columns MATCH SIMPLE looks at none where one is NULL.
func (l *link) tiedBy(other *link) bool {
	passes := func(c string) bool { return c != l.from.column && !slices.Contains(l.Cols, c) }
	return l.covers(other) && (other.Full || !slices.ContainsFunc(other.Nullable, passes))
}

// checkLink reports what is worst about a key between two of the app's tables.
func (d *doctor) checkLink(ctx context.Context, l *link, missing, have []*link, firsts map[int64]int64) error {
	due := namesake(l, missing)
	code, severity, why := l.flaw(due, firsts)
	if code == "" {
		return nil
	}
	fixed := l.mended()
	if code == CodeForeignKeyCrossed || code == CodeForeignKeyAltered {
		fixed = due
	}
	l.ready = l.twin(have)
	fix, err := d.drafted(func(r *protectRun) error {
		if err := r.dropLink(ctx, l); err != nil || fixed == nil {
			return err
		}
		fixed.ready = l.ready
		return r.draftLinks(ctx, l.after(fixed), fixed)
	})
	d.report(Finding{code, severity, l.subject(), why, fix})
	return err
}

// flaw says what is wrong with the key. Due is the association that it is named after
// and does not stand for, if any.
func (l *link) flaw(due *link, firsts map[int64]int64) (Code, Severity, string) {
	switch {
	case l.isOurs() && l.crossed():
		return CodeForeignKeyCrossed, SeverityError, "it compares the tenant column with another column, so that a row may refer to another tenant's"
	case due != nil:
		return CodeForeignKeyAltered, SeverityError, fmt.Sprintf("it does not tie %s to %s (%s) whatever the other columns hold, as the association that it is named after says: a row may refer to another tenant's",
			strings.Join(due.Cols, ", "), due.to, strings.Join(due.RefCols, ", "))
	case !l.Enforced:
		return CodeForeignKeyNotEnforced, SeverityError, "it is NOT ENFORCED, so nobody checks it: a row may refer to another tenant's. The fix fails where one does"
	case !l.confined():
		return CodeForeignKeyNoTenant, SeverityError, fmt.Sprintf("it ties rows of %s to rows of %s without the tenant column: a row may refer to another tenant's. The fix fails where one does", l.from, l.to)
	case l.setsTenant():
		return CodeForeignKeySetsTenant, SeverityWarning, "its action overwrites the tenant column with the rest of the key: a row loses its tenant, or cannot be deleted"
	case !l.Valid:
		return CodeForeignKeyNotValid, SeverityError, "it is NOT VALID: rows that were there before may refer to another tenant's. The fix fails where one does"
	case l.unproven(firsts):
		return CodeForeignKeyUnproven, SeverityWarning, "it was made while row-level security was forced, and not by Protect: the check of the rows that were there saw none. The fix checks them, and fails where one refers to another tenant's"
	}
	return "", "", ""
}

// crossed reports whether the tenant column is tied to another column.
func (l *link) crossed() bool {
	return !l.confined() && (slices.Contains(l.Cols, l.from.column) || slices.Contains(l.RefCols, l.to.column))
}

// setsTenant reports whether an action overwrites the tenant column.
func (l *link) setsTenant() bool {
	return l.confined() && (sets(l.OnUpdate) || sets(l.OnDelete) && (len(l.SetCols) == 0 || slices.Contains(l.SetCols, l.from.column)))
}

// unproven goes by age: a key without our note that is older than Protect's policies was
// checked when its maker saw the rows.
func (l *link) unproven(firsts map[int64]int64) bool {
	if l.proven() {
		return false
	}
	for _, g := range []*guarded{l.from, l.to} {
		if first, ok := firsts[g.OID]; ok && g.Forced && l.OID > first {
			return true
		}
	}
	return false
}

// firstPolicies returns for each table the oldest policy that is ours.
func (d *doctor) firstPolicies(ctx context.Context) (map[int64]int64, error) {
	type first struct {
		Table  int64 `json:"table"`
		Policy int64 `json:"policy"`
	}
	list, err := readRows[first](ctx, d.tx, `SELECT p.polrelid::bigint AS table, min(p.oid::bigint) AS policy FROM pg_policy p
		WHERE p.polrelid = ANY ($1::bigint[]::oid[]) AND obj_description(p.oid, 'pg_policy') LIKE '`+notePrefix+`{%' GROUP BY 1`, d.set.oids())
	firsts := map[int64]int64{}
	for _, f := range list {
		firsts[f.Table] = f.Policy
	}
	return firsts, err
}

// subject is the key as findings name it.
func (l *link) subject() string {
	if l.from != nil {
		return "constraint " + l.from.String() + "." + l.Name
	}
	return "constraint " + l.FromName + "." + l.Name
}

// mended is the key with what keeps it from including the tenant left out.
func (l *link) mended() *link {
	m := *l
	if sets(m.OnUpdate) {
		m.OnUpdate = "a"
	}
	if sets(m.OnDelete) && len(m.setColumns()) == 0 {
		m.OnDelete = "a"
	}
	m.Full = m.Full && (len(m.Nullable) == 0 || m.confined())
	return &m
}

// after is the note for what replaces the key: of one that was ours it stays.
func (l *link) after(next *link) note {
	if n, ours := readNote(l.Comment); ours {
		return n
	}
	if next.OID == 0 {
		return note{}
	}
	definition := strings.TrimSuffix(strings.TrimSuffix(l.Definition, ` NOT ENFORCED`), ` NOT VALID`)
	return note{Original: definition, Comment: l.Comment}
}

// namesake returns the association that a key of the database has the name of, if it is
// among those that no key stands for.
func namesake(l *link, missing []*link) *link {
	at := slices.IndexFunc(missing, func(m *link) bool { return m.From == l.From && m.Name == l.Name })
	if at < 0 {
		return nil
	}
	return missing[at].mended()
}

// draftLinks makes a key anew, with the index that it refers to.
func (r *protectRun) draftLinks(ctx context.Context, n note, links ...*link) error {
	var tables []*guarded
	for i, l := range links {
		tables = append(tables, l.from, l.to)
		if slices.ContainsFunc(links[:i], func(o *link) bool { return o.to == l.to && slices.Equal(o.RefCols, l.RefCols) }) {
			continue
		}
		if err := r.ensureKey(ctx, l.to, l.RefCols); err != nil {
			return err
		}
	}
	return r.unforced(ctx, tables, func() error {
		for _, l := range links {
			taken, err := r.takeTwin(ctx, l)
			if err == nil && !taken {
				err = r.addLink(ctx, l, l.sql())
			}
			if err == nil {
				err = r.comment(ctx, l.object(), n)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// drafted is the text of what fn would run.
func (d *doctor) drafted(fn func(r *protectRun) error) (string, error) {
	r := *d.protectRun
	r.drafts, r.done = true, Protection{}
	err := fn(&r)
	return strings.Join(r.done.Changed, "; ") + ";", err
}

// reportMissing reports the associations that no key stands for. Where the key that they
// would refer to is gone, that is what was done: dropping it drops them.
func (d *doctor) reportMissing(ctx context.Context, missing, have []*link) error {
	orphans := map[*guarded][]*link{}
	for _, m := range missing {
		if slices.ContainsFunc(have, func(l *link) bool { return l.From == m.From && l.Name == m.Name }) {
			continue // reported with the key that has its name
		}
		indexes, err := d.readIndexes(ctx, m.to)
		if err != nil {
			return err
		}
		want := withTenant(m.to.column, m.RefCols)
		if !slices.ContainsFunc(indexes, func(u *unique) bool { return u.isKey(want) }) {
			orphans[m.to] = append(orphans[m.to], m.mended())
			continue
		}
		fix, err := d.drafted(func(r *protectRun) error { return r.draftLinks(ctx, note{}, m.mended()) })
		if err != nil {
			return err
		}
		d.report(Finding{CodeForeignKeyMissing, SeverityError, m.subject(),
			fmt.Sprintf("an association ties %s to %s and no key in the database does: a row may refer to another tenant's. The fix fails where one does", m.from, m.to), fix})
	}
	for _, g := range d.set.list {
		if err := d.reportOrphans(ctx, g, orphans[g]); err != nil {
			return err
		}
	}
	return nil
}

func (d *doctor) reportOrphans(ctx context.Context, g *guarded, links []*link) error {
	if len(links) == 0 {
		return nil
	}
	var names []string
	for _, l := range links {
		names = append(names, l.from.String()+"."+l.Name)
	}
	fix, err := d.drafted(func(r *protectRun) error { return r.draftLinks(ctx, note{}, links...) })
	d.report(Finding{CodeCompositeKeyMissing, SeverityError, "table " + g.String(),
		"it has no unique index of the tenant and the columns referred to, so foreign keys with the tenant cannot be, and are not: " + strings.Join(names, ", ") +
			". A row may refer to another tenant's; the fix fails where one does", fix})
	return err
}
