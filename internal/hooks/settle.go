package hooks

import (
	"reflect"
	"slices"

	"gorm.io/gorm"
	"gorm.io/gorm/callbacks"
)

// settled returns a callback that ends GORM's default transaction where it
// panics, as GORM does not: it would stay open, with its locks.
func settled(callback func(*gorm.DB)) func(*gorm.DB) {
	return func(db *gorm.DB) {
		returned := false
		defer func() {
			if !returned {
				_ = db.AddError(errPanic)
				callbacks.CommitOrRollbackTransaction(db)
			}
		}()
		callback(db)
		returned = true
	}
}

// unsettled are the callbacks that begin and end that transaction.
var unsettled = []string{"gorm:begin_transaction", "gorm:commit_or_rollback_transaction"}

// settleAll settles the callbacks of a processor while GORM puts its chain
// together: those of other plugins too, whenever they are registered, for which
// GORM has no way but to reach into its list. ours holds the code of callbacks
// that are left as they are.
func settleAll(processor any, ours ...uintptr) {
	ours = append(ours, codeOf(settled(nil)))
	list := reflect.ValueOf(processor).Elem().FieldByName("callbacks")
	for i := range list.Len() {
		callback := list.Index(i).Elem()
		handler := (*func(*gorm.DB))(callback.FieldByName("handler").Addr().UnsafePointer())
		if *handler != nil && !slices.Contains(ours, codeOf(*handler)) && !slices.Contains(unsettled, callback.FieldByName("name").String()) {
			*handler = settled(*handler)
		}
	}
}

// canSettle reports whether GORM's list is as settleAll expects it.
func canSettle(processor any) bool {
	list := reflect.ValueOf(processor).Elem().FieldByName("callbacks")
	if !list.IsValid() || list.Kind() != reflect.Slice || list.Type().Elem().Kind() != reflect.Pointer {
		return false
	}
	callback := list.Type().Elem().Elem()
	handler, hasHandler := callback.FieldByName("handler")
	name, hasName := callback.FieldByName("name")
	return hasHandler && handler.Type == reflect.TypeFor[func(*gorm.DB)]() && hasName && name.Type.Kind() == reflect.String
}
