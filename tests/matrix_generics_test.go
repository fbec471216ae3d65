package tests

import (
	"context"
	"fmt"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// chain is what the start and the middle of a generic chain have in common.
type chain interface { //nolint:interfacebloat // GORM's, which has no name for it
	Scopes(scopes ...func(db *gorm.Statement)) gorm.ChainInterface[Room]
	Where(query any, args ...any) gorm.ChainInterface[Room]
	Not(query any, args ...any) gorm.ChainInterface[Room]
	Or(query any, args ...any) gorm.ChainInterface[Room]
	Limit(offset int) gorm.ChainInterface[Room]
	Offset(offset int) gorm.ChainInterface[Room]
	Joins(query clause.JoinTarget, on func(gorm.JoinBuilder, clause.Table, clause.Table) error) gorm.ChainInterface[Room]
	Preload(association string, query func(db gorm.PreloadBuilder) error) gorm.ChainInterface[Room]
	MapColumns(m map[string]string) gorm.ChainInterface[Room]
	Distinct(args ...any) gorm.ChainInterface[Room]
	Group(name string) gorm.ChainInterface[Room]
	Having(query any, args ...any) gorm.ChainInterface[Room]
	Order(value any) gorm.ChainInterface[Room]
	Build(builder clause.Builder)
	Delete(ctx context.Context) (int, error)
	Update(ctx context.Context, name string, value any) (int, error)
	Updates(ctx context.Context, r Room) (int, error)
	Count(ctx context.Context, column string) (int64, error)
}

type finder = gorm.ExecInterface[Room]

// generic is a path through the generics API, which takes its context last.
func generic[R any](path, want string, do func(ctx context.Context, g gorm.Interface[Room]) (R, error)) matrixCase {
	return matrixCase{path: path, want: want, run: func(db *gorm.DB) (any, error) { return do(db.Statement.Context, gorm.G[Room](db)) }}
}

// chained is a path from the start or the middle of a chain that ends in finding rooms.
func chained(path string, start func(gorm.Interface[Room]) chain, do func(c chain) finder) matrixCase {
	return generic(path, filtered, func(ctx context.Context, g gorm.Interface[Room]) ([]Room, error) { return do(start(g)).Find(ctx) })
}

// acting is such a path that ends by itself.
func acting(path string, start func(gorm.Interface[Room]) chain, do func(ctx context.Context, c chain) (int, error)) matrixCase {
	return generic(path, filtered, func(ctx context.Context, g gorm.Interface[Room]) (int, error) { return do(ctx, start(g)) })
}

var (
	atStart  = func(g gorm.Interface[Room]) chain { return g }
	inMiddle = func(g gorm.Interface[Room]) chain { return g.Where("1=1") }
)

func chainCases(in string, start func(gorm.Interface[Room]) chain) []matrixCase {
	return []matrixCase{
		chained(in+".Scopes", start, func(c chain) finder { return c.Scopes(func(*gorm.Statement) {}) }),
		chained(in+".Where", start, func(c chain) finder { return c.Where("1=0 OR 1=1") }),
		chained(in+".Not", start, func(c chain) finder { return c.Not("size = 9") }),
		chained(in+".Or", start, func(c chain) finder { return c.Or("1=1") }),
		chained(in+".Limit", start, func(c chain) finder { return c.Limit(3) }),
		chained(in+".Offset", start, func(c chain) finder { return c.Offset(1) }),
		chained(in+".Joins", start, func(c chain) finder { return c.Joins(clause.LeftJoin.Association("Head"), nil) }),
		chained(in+".Joins: inner", start, func(c chain) finder { return c.Joins(clause.InnerJoin.Association("Head"), nil) }),
		chained(in+".Preload", start, func(c chain) finder { return c.Preload("Desks", nil) }),
		chained(in+".Preload: many to many", start, func(c chain) finder { return c.Preload("Tags", nil) }),
		chained(in+".MapColumns", start, func(c chain) finder { return c.MapColumns(map[string]string{"name": "name"}) }),
		chained(in+".Distinct", start, func(c chain) finder { return c.Distinct("name") }),
		chained(in+".Group", start, func(c chain) finder { return c.Group("id") }),
		chained(in+".Having", start, func(c chain) finder { return c.Group("id").Having("1=0 OR 1=1") }),
		chained(in+".Order", start, func(c chain) finder { return c.Order("name") }),
		acting(in+".Update", start, func(ctx context.Context, c chain) (int, error) { return c.Where("1=1").Update(ctx, "size", 5) }),
		acting(in+".Updates", start, func(ctx context.Context, c chain) (int, error) { return c.Where("1=1").Updates(ctx, Room{Size: 5}) }),
		acting(in+".Delete", start, func(ctx context.Context, c chain) (int, error) { return c.Where("id = ?", matrixAcme+1).Delete(ctx) }),
		acting(in+".Count", start, func(ctx context.Context, c chain) (int, error) {
			n, err := c.Count(ctx, "name")
			return int(n), err
		}),
		{path: in + ".Build", want: nothing, run: func(db *gorm.DB) (any, error) {
			stmt := &gorm.Statement{DB: db, Clauses: map[string]clause.Clause{}}
			start(gorm.G[Room](db)).Build(stmt)
			return stmt.SQL.Len(), stmt.Error
		}},
	}
}

var matrixGenerics = append(append(chainCases("CreateInterface", atStart), chainCases("ChainInterface", inMiddle)...), []matrixCase{
	generic("Interface.Raw", opaque, func(ctx context.Context, g gorm.Interface[Room]) ([]Room, error) {
		return g.Raw("SELECT * FROM rooms").Find(ctx)
	}),
	generic("Interface.Exec", opaque, func(ctx context.Context, g gorm.Interface[Room]) (any, error) {
		return nil, g.Exec(ctx, "DELETE FROM notes")
	}),
	generic("CreateInterface.Select", filtered, func(ctx context.Context, g gorm.Interface[Room]) ([]Room, error) { return g.Select("name").Find(ctx) }),
	generic("CreateInterface.Omit", filtered, func(ctx context.Context, g gorm.Interface[Room]) ([]Room, error) { return g.Omit("size").Find(ctx) }),
	generic("CreateInterface.Table", filtered, func(ctx context.Context, g gorm.Interface[Room]) ([]Room, error) { return g.Table("rooms").Find(ctx) }),
	generic("CreateInterface.Create", stamped, func(ctx context.Context, g gorm.Interface[Room]) (any, error) {
		return nil, g.Create(ctx, &Room{Name: "n"})
	}),
	generic("CreateInterface.Create: foreign tenant", cross, func(ctx context.Context, g gorm.Interface[Room]) (any, error) {
		return nil, g.Create(ctx, &Room{TenantID: "acme"})
	}),
	generic("CreateInterface.CreateInBatches", stamped, func(ctx context.Context, g gorm.Interface[Room]) (any, error) {
		return nil, g.CreateInBatches(ctx, &[]Room{{}, {}, {}}, 2)
	}),
	generic("CreateInterface.Set", stamped, func(ctx context.Context, g gorm.Interface[Room]) (any, error) { return nil, g.Set(sized).Create(ctx) }),
	generic("SetCreateOrUpdateInterface.Create", stamped, func(ctx context.Context, g gorm.Interface[Room]) (any, error) { return nil, g.Set(sized).Create(ctx) }),
	generic("SetCreateOrUpdateInterface.Update", filtered, func(ctx context.Context, g gorm.Interface[Room]) (int, error) {
		return g.Table("rooms").Where("1=1").Set(sized).Update(ctx)
	}),
	generic("ChainInterface.Select", filtered, func(ctx context.Context, g gorm.Interface[Room]) ([]Room, error) {
		return g.Where("1=1").Select("name").Find(ctx)
	}),
	generic("ChainInterface.Omit", filtered, func(ctx context.Context, g gorm.Interface[Room]) ([]Room, error) {
		return g.Where("1=1").Omit("size").Find(ctx)
	}),
	generic("ChainInterface.Table", filtered, func(ctx context.Context, g gorm.Interface[Room]) ([]Room, error) {
		return g.Where("1=1").Table("rooms").Find(ctx)
	}),
	generic("ChainInterface.Set", filtered, func(ctx context.Context, g gorm.Interface[Room]) (int, error) {
		return g.Where("1=1").Set(sized).Update(ctx)
	}),
	generic("SetUpdateOnlyInterface.Update", filtered, func(ctx context.Context, g gorm.Interface[Room]) (int, error) {
		return g.Where("1=0").Or("1=1").Set(sized).Update(ctx)
	}),
	generic("ExecInterface.Scan", filtered, func(ctx context.Context, g gorm.Interface[Room]) (names []string, err error) {
		return names, g.Select("name").Scan(ctx, &names)
	}),
	generic("ExecInterface.First", filtered, func(ctx context.Context, g gorm.Interface[Room]) (Room, error) { return g.First(ctx) }),
	generic("ExecInterface.Last", filtered, func(ctx context.Context, g gorm.Interface[Room]) (Room, error) { return g.Order("id > 100").Last(ctx) }),
	generic("ExecInterface.Take", filtered, func(ctx context.Context, g gorm.Interface[Room]) (Room, error) { return g.Order("id").Take(ctx) }),
	generic("ExecInterface.Find", filtered, func(ctx context.Context, g gorm.Interface[Room]) ([]Room, error) { return g.Find(ctx) }),
	generic("ExecInterface.FindInBatches", filtered, func(ctx context.Context, g gorm.Interface[Room]) (found []Room, err error) {
		err = g.FindInBatches(ctx, 1, func(batch []Room, _ int) error { found = append(found, batch...); return nil })
		return found, err
	}),
	generic("ExecInterface.Row", filtered, func(ctx context.Context, g gorm.Interface[Room]) (name string, err error) {
		err = g.Select("string_agg(name, ',')").Row(ctx).Scan(&name)
		return name, err
	}),
	generic("ExecInterface.Rows", filtered, func(ctx context.Context, g gorm.Interface[Room]) (names []string, err error) {
		rows, err := g.Select("name").Rows(ctx)
		if err != nil {
			return nil, err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var name string
			if err := rows.Scan(&name); err != nil {
				return nil, fmt.Errorf("scanning: %w", err)
			}
			names = append(names, name)
		}
		return names, rows.Err()
	}),
}...)

var sized = clause.Assignment{Column: clause.Column{Name: "size"}, Value: 5}
