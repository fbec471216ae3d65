package migrate

import (
	"slices"
	"strings"

	"gorm.io/gorm/schema"
)

// missingLinks returns the associations between protected tables that no foreign
// key of the database stands for.
func (r *protectRun) missingLinks(have []*link) []*link {
	var missing []*link
	for _, s := range r.set.schemas {
		for _, rel := range sortedRelations(s) {
			if reason := unkeyed(rel); reason != "" {
				r.reportAssociation(rel, reason)
				continue
			}
			l := r.association(rel)
			if l == nil {
				continue
			}
			same := func(other *link) bool { return l.covers(other) }
			if !slices.ContainsFunc(have, same) && !slices.ContainsFunc(missing, same) {
				missing = append(missing, l)
			}
		}
	}
	return missing
}

// unkeyed says why an association cannot or must not have a foreign key.
func unkeyed(rel *schema.Relationship) string {
	switch {
	case rel.Polymorphic != nil:
		return "a polymorphic association has no foreign key, and so may point at another tenant's row"
	case rel.Field.TagSettings["CONSTRAINT"] == "-" && rel.JoinTable == nil:
		return "its tag forbids a foreign key, and so it may point at another tenant's row"
	}
	return ""
}

// reportAssociation reports one between protected tables, once: GORM lists it on
// both sides.
func (r *protectRun) reportAssociation(rel *schema.Relationship, reason string) {
	if r.set.byName[rel.Schema.Table] == nil || r.set.byName[rel.FieldSchema.Table] == nil {
		return
	}
	report := Report{Object: "association " + rel.Schema.Name + "." + rel.Name, Reason: reason}
	if !slices.Contains(r.done.Reported, report) {
		r.done.Reported = append(r.done.Reported, report)
	}
}

// covers reports whether another key ties the same columns, with the tenant or without.
func (l *link) covers(other *link) bool {
	if l.From != other.From && l.from != other.from || l.To != other.To && l.to != other.to {
		return false
	}
	for i, c := range l.Cols {
		at := slices.Index(other.Cols, c)
		if at < 0 || other.RefCols[at] != l.RefCols[i] {
			return false
		}
	}
	return true
}

// association returns the key that GORM would make, nil if it would make none or
// not between protected tables.
func (r *protectRun) association(rel *schema.Relationship) *link {
	if rel.Field.IgnoreMigration || rel.JoinTable != nil {
		return nil
	}
	c := rel.ParseConstraint()
	if c == nil || len(c.ForeignKeys) == 0 || c.Schema == nil || c.ReferenceSchema == nil {
		return nil
	}
	l := &link{Name: c.Name, from: r.set.byName[c.Schema.Table], to: r.set.byName[c.ReferenceSchema.Table],
		OnDelete: letter(c.OnDelete), OnUpdate: letter(c.OnUpdate)}
	if !l.isOurs() {
		return nil
	}
	l.From, l.To = l.from.OID, l.to.OID
	for i := range c.ForeignKeys {
		l.Cols, l.RefCols = append(l.Cols, c.ForeignKeys[i].DBName), append(l.RefCols, c.References[i].DBName)
	}
	return l
}

// letter is the catalogue's for an action as a tag has it.
func letter(action string) string {
	for letter, name := range actions {
		if strings.EqualFold(strings.TrimSpace(action), name) {
			return letter
		}
	}
	return "a"
}
