package tenancy

import (
	"context"
	"fmt"
	"reflect"

	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/courtroll/courtroll/internal/plan"
)

// A query of gorm.G loses its context where it is a sub-query: GORM builds it
// with context.Background(). So it takes the tenant of the statement around it,
// which it cannot see: the predicate is written with a place for the tenant's
// id, and the verifier of the statement that is sent fills it.

// inherit marks a sub-query of gorm.G. A *gorm.DB without a tenant is none: it
// could have been given one, and stays refused.
func inherit(stmt *gorm.Statement) {
	isSubQuery := stmt.DryRun && stmt.Logger == logger.Discard
	isGeneric := stmt.Context == context.Background() && reflect.ValueOf(stmt.Model).Kind() == reflect.Struct
	if isSubQuery && isGeneric {
		stmt.Context = context.WithValue(stmt.Context, contextKey{}, scope{inherited: true})
	}
}

// inherited is the place of the tenant's id in a predicate of a sub-query.
type inherited struct{ table plan.Table }

// settle fills the places that sub-queries left among the arguments. In system
// scope it cannot: there the sub-query would have to have no predicate.
func (s scope) settle(args []any) error {
	for i, arg := range args {
		b, _ := arg.(bound)
		place, ok := b.value.(inherited)
		if !ok {
			continue
		}
		if s.system != nil {
			return refuse(place.table.Name, fmt.Errorf("in system scope write a sub-query with a *gorm.DB, for gorm.G drops its context: %w", ErrNoTenant))
		}
		if err := s.check(); err != nil {
			return refuse(place.table.Name, err)
		}
		own, err := s.own(place.table)
		if err != nil {
			return refuse(place.table.Name, err)
		}
		args[i] = own
	}
	return nil
}
