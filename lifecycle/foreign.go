package lifecycle

import (
	"slices"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/internal/plan"
	"github.com/courtroll/courtroll/models"
)

// registerOf is the table tenants, of which each tenant has the row of its id.
func (c catalogue) registerOf(db *gorm.DB, registry *plan.Registry) (*table, error) {
	t, err := known(db, &models.Tenant{}, "id")
	if err != nil {
		return nil, err
	}
	found, err := read[relation](c, relationSQL+`c.oid = to_regclass($1)`, models.TenantsTable)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, faultOf([]string{models.TenantsTable}, ErrNoTable)
	}
	t.relation = found[0]
	t.owned, _ = registry.Lookup(models.TenantsTable)
	t.owned.Column = "id"
	return t, nil
}

// byOID finds an owned table, or the register.
func (v *inventory) byOID(oid int64) *table {
	if v.register.OID == oid {
		return v.register
	}
	i := slices.IndexFunc(v.tables, func(t *table) bool { return t.OID == oid })
	if i < 0 {
		return nil
	}
	return v.tables[i]
}

// crosses reports whether rows of one tenant can refer to another's by the key: it
// does not hold the tenant on both sides.
func (v *inventory) crosses(l link) bool {
	child, parent := v.byOID(l.Child), v.byOID(l.Parent)
	for i, column := range l.Columns {
		if column == child.owned.Column && l.References[i] == parent.owned.Column {
			return false
		}
	}
	return true
}

// checkForeign looks in system scope, which sees all rows, for rows of other tenants
// that refer by the links to this tenant's, and for rows of tenants that refer to what
// is to be deleted.
func (r *deletion) checkForeign(system *gorm.DB, links []link) error {
	var foreign, register []string
	for _, l := range links {
		refers, err := r.refers(system, l)
		switch {
		case err != nil:
			return err
		case refers && l.Child == r.register.OID:
			register = append(register, r.byOID(l.Parent).Name)
		case refers:
			foreign = append(foreign, r.byOID(l.Child).Name)
		}
	}
	slices.Sort(foreign)
	slices.Sort(register)
	if err := faultOf(slices.Compact(foreign), ErrForeignRow); err != nil {
		return err
	}
	return faultOf(slices.Compact(register), ErrRegisterKey)
}

// refers looks for one row that refers to the tenant's. Its own row in tenants counts
// but where it refers to itself: it is deleted last.
func (r *deletion) refers(system *gorm.DB, l link) (bool, error) {
	child, parent := r.byOID(l.Child), r.byOID(l.Parent)
	mine, err := parent.owned.Value(r.id)
	if err != nil {
		return false, err
	}
	theirs, err := child.owned.Value(r.id)
	if err != nil {
		return false, err
	}
	query := system.Unscoped().Model(child.model()).Table(child.sql()+" AS "+childAlias).Where(
		"EXISTS (SELECT 1 FROM "+parent.sql()+" WHERE ("+parent.list("", l.References)+") = ("+child.list(childAlias, l.Columns)+") AND "+
			parent.list("", []string{parent.owned.Column})+" = ?)", mine)
	if child != r.register || parent == r.register {
		query = query.Where(child.list(childAlias, []string{child.owned.Column})+" IS DISTINCT FROM ?", theirs)
	}
	var some []int
	err = query.Select("1").Limit(1).Scan(&some).Error
	return len(some) > 0, err
}

// crossing selects the links that cross to the table, nil for any: with harming, those by
// which PostgreSQL would change or delete rows, where by the others it refuses to
// delete what is referred to.
func (v *inventory) crossing(parent *table, harming bool) (list []link) {
	for _, l := range v.outer {
		if (parent == nil || l.Parent == parent.OID) && (l.Harms || !harming) {
			list = append(list, l)
		}
	}
	return list
}
