package tests

import (
	"context"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// joining is a path through the builder of a generic join.
func joining(path string, build func(j gorm.JoinBuilder)) matrixCase {
	return generic("JoinBuilder."+path, filtered, func(ctx context.Context, g gorm.Interface[Room]) ([]Room, error) {
		return g.Joins(clause.LeftJoin.Association("Head"), func(j gorm.JoinBuilder, _, _ clause.Table) error {
			build(j)
			return nil
		}).Find(ctx)
	})
}

// preloading is a path through the builder of a generic preload.
func preloading(path string, build func(p gorm.PreloadBuilder)) matrixCase {
	return generic("PreloadBuilder."+path, filtered, func(ctx context.Context, g gorm.Interface[Room]) ([]Room, error) {
		return g.Preload("Desks", func(p gorm.PreloadBuilder) error {
			build(p)
			return nil
		}).Find(ctx)
	})
}

var matrixBuilders = []matrixCase{
	joining("Select", func(j gorm.JoinBuilder) { j.Select("id", "name") }),
	joining("Omit", func(j gorm.JoinBuilder) { j.Omit("name") }),
	joining("Where", func(j gorm.JoinBuilder) { j.Where("1=0 OR 1=1") }),
	joining("Not", func(j gorm.JoinBuilder) { j.Not("1=0") }),
	joining("Or", func(j gorm.JoinBuilder) { j.Where("1=0").Or("1=1") }),
	preloading("Select", func(p gorm.PreloadBuilder) { p.Select("id", "room_id", "name") }),
	preloading("Omit", func(p gorm.PreloadBuilder) { p.Omit("name") }),
	preloading("Where", func(p gorm.PreloadBuilder) { p.Where("1=0 OR 1=1") }),
	preloading("Not", func(p gorm.PreloadBuilder) { p.Not("1=0") }),
	preloading("Or", func(p gorm.PreloadBuilder) { p.Where("room_id > 0").Or("room_id < 0") }),
	preloading("Limit", func(p gorm.PreloadBuilder) { p.Limit(5) }),
	preloading("Offset", func(p gorm.PreloadBuilder) { p.Offset(0) }),
	preloading("Order", func(p gorm.PreloadBuilder) { p.Order("name") }),
	preloading("LimitPerRecord", func(p gorm.PreloadBuilder) { p.LimitPerRecord(1) }),
}
