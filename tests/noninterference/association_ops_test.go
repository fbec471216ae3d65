package noninterference

import (
	"fmt"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"pgregory.net/rapid"
)

// relation is an association of Team, with a row for its other end.
type relation struct {
	name string
	row  func(id int64, tenantID string) any
	find func() any
}

var relations = []relation{
	{"Members", func(id int64, tenantID string) any {
		return &Member{ID: id, TenantID: tenantID, Name: fmt.Sprint("m", id)}
	}, func() any { return &[]Member{} }},
	{"Notes", func(id int64, tenantID string) any { return &Note{ID: id, TenantID: tenantID} }, func() any { return &[]Note{} }},
	{"Parent", func(id int64, tenantID string) any {
		return &Team{ID: id, TenantID: tenantID, Name: fmt.Sprint("t", id)}
	}, func() any { return &[]Team{} }},
	{"Tags", func(id int64, tenantID string) any {
		return &Tag{ID: id, TenantID: tenantID, Name: fmt.Sprint("g", id)}
	}, func() any { return &[]Tag{} }},
}

// associator makes a drawer of a call in association mode.
func associator(method string, all []relation, call func(a *gorm.Association, r relation, id int64, tenantID string) (any, error)) drawer {
	return func(t *rapid.T, w world) op {
		owner, foreign := w.key(t)
		id := w.own(t)
		r := rapid.SampledFrom(all).Draw(t, "relation")
		return op{text: fmt.Sprintf("Model(&Team{ID: %d}).Association(%q).%s(%d)", owner, r.name, method, id), foreign: foreign,
			run: func(db *gorm.DB, tenantID string) (any, int64, error) {
				a := db.Model(&Team{ID: owner, TenantID: tenantID}).Association(r.name)
				result, err := call(a, r, id, tenantID)
				return result, 0, err
			}}
	}
}

var readable = append([]relation{{"Badge", nil, func() any { return &[]Badge{} }}}, relations...)

var associations = map[string]drawer{
	"Association Find": associator("Find", readable, func(a *gorm.Association, r relation, _ int64, _ string) (any, error) {
		rows := r.find()
		return rows, a.Find(rows)
	}),
	"Association Count": associator("Count", readable, func(a *gorm.Association, _ relation, _ int64, _ string) (any, error) {
		return a.Count(), a.Error
	}),
	"Association Append": associator("Append", relations, func(a *gorm.Association, r relation, id int64, tenantID string) (any, error) {
		return nil, a.Append(r.row(id, tenantID))
	}),
	"Association Replace": associator("Replace", relations, func(a *gorm.Association, r relation, id int64, tenantID string) (any, error) {
		return nil, a.Replace(r.row(id, tenantID))
	}),
	"Association Delete": associator("Delete", relations, func(a *gorm.Association, r relation, id int64, tenantID string) (any, error) {
		return nil, a.Delete(r.row(id, tenantID))
	}),
	"Association Clear": associator("Clear", relations, func(a *gorm.Association, _ relation, _ int64, _ string) (any, error) {
		return nil, a.Clear()
	}),
	"Tags Delete": func(t *rapid.T, w world) op {
		owner, foreign := w.key(t)
		tag, foreignTag := w.key(t)
		return op{text: fmt.Sprintf(`Model(&Team{ID: %d}).Association("Tags").Delete(&Tag{ID: %d})`, owner, tag), foreign: foreign || foreignTag,
			run: func(db *gorm.DB, _ string) (any, int64, error) {
				return nil, 0, db.Model(&Team{ID: owner}).Association("Tags").Delete(&Tag{ID: tag})
			}}
	},
	"Delete with": func(t *rapid.T, w world) op {
		id, foreign := w.key(t)
		return writer(fmt.Sprintf("Select(clause.Associations).Delete(&Team{ID: %d})", id), foreign, func(db *gorm.DB, _ string) (any, *gorm.DB) {
			return nil, db.Select(clause.Associations).Delete(&Team{ID: id})
		})
	},
}
