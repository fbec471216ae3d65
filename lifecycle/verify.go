package lifecycle

import (
	"context"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/tenancy"
)

// Verify finds what would keep [Export] and [Delete] from reaching all of a tenant's
// rows, without touching any: it is for a test of the app's, which then fails when a
// new model is forgotten. It takes the models that are not in the plugin's
// Config.Models. ctx needs no tenant and no system scope. Errors are [ErrForgotten],
// [ErrNoTable], [ErrView], [ErrChild], [ErrCycle] and, of a key that cascades, [ErrRegisterKey], in
// a [TablesError].
func Verify(ctx context.Context, db *gorm.DB, models ...any) error {
	plugin, ok := db.Plugins[tenancy.PluginName].(*tenancy.Plugin)
	if !ok {
		return tenancy.ErrNotInstalled
	}
	v, err := take(ctx, db, plugin, models)
	if err == nil {
		_, _, err = v.cuts()
	}
	return while("comparing models and tables", err)
}
