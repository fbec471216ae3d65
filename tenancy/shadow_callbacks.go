package tenancy

import (
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/internal/hooks"
)

// registerShadow registers what shadow mode does instead of the strict mode's guards.
func (p *Plugin) registerShadow(db *gorm.DB) error {
	cb := db.Callback()
	set := func(kind string, statement func(*gorm.DB)) hooks.Set {
		return hooks.Set{Guard: p.guardShadow(kind), Open: p.openShadow(kind, statement), Close: p.closeShadow}
	}
	return hooks.Plugin{
		Name:   "tenancy",
		Create: set("create", cb.Create().Get("gorm:create")),
		Query:  set("query", cb.Query().Get("gorm:query")),
		Update: set("update", cb.Update().Get("gorm:update")),
		Delete: set("delete", cb.Delete().Get("gorm:delete")),
		Row:    set("row", cb.Row().Get("gorm:row")),
		Raw:    set("raw", cb.Raw().Get("gorm:raw")),
	}.Register(db)
}
