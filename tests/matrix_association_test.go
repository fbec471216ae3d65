package tests

import "gorm.io/gorm"

// associated is a path through the association mode of a room.
func associated(path, want string, room int64, name string, do func(a *gorm.Association) error) matrixCase {
	return matrixCase{path: path, want: want, run: func(db *gorm.DB) (any, error) {
		return nil, do(db.Model(&Room{ID: room}).Association(name))
	}}
}

// related is a path that reads a room's associated rows.
func related[T any](path string, name string) matrixCase {
	return matrixCase{path: path, want: filtered, run: func(db *gorm.DB) (any, error) {
		var found []T
		err := db.Model(&Room{ID: matrixAcme}).Association(name).Find(&found)
		return found, err
	}}
}

func counted(path, name string) matrixCase {
	return matrixCase{path: path, want: filtered, run: func(db *gorm.DB) (any, error) {
		a := db.Model(&Room{ID: matrixAcme}).Association(name)
		n := a.Count()
		return n, a.Error
	}}
}

// appendTo and its like take a value for each run, for GORM fills in what it is given.
func appendTo[T any](value T) func(*gorm.Association) error {
	return func(a *gorm.Association) error { v := value; return a.Append(&v) }
}

func replaceBy[T any](value T) func(*gorm.Association) error {
	return func(a *gorm.Association) error { v := value; return a.Replace(&v) }
}

func remove[T any](value T) func(*gorm.Association) error {
	return func(a *gorm.Association) error { v := value; return a.Delete(&v) }
}

func empty(a *gorm.Association) error { return a.Clear() }

func destroy(a *gorm.Association) error { return a.Unscoped().Clear() }

var matrixAssociations = []matrixCase{
	related[Badge]("Find: has one of a foreign room", "Badge"),
	related[Desk]("Find: has many of a foreign room", "Desks"),
	related[Tag]("Find: many to many of a foreign room", "Tags"),
	related[Note]("Find: polymorphic of a foreign room", "Notes"),
	{path: "Find: belongs to a foreign person", want: filtered, run: func(db *gorm.DB) (any, error) {
		var found []Person
		err := db.Model(&Room{ID: matrixHal, HeadID: idRef(matrixAcme)}).Association("Head").Find(&found)
		return found, err
	}},
	counted("Count: has one", "Badge"),
	counted("Count: has many", "Desks"),
	counted("Count: many to many", "Tags"),
	counted("Count: polymorphic", "Notes"),
	associated("Append: new has one", both, matrixHal, "Badge", appendTo(Badge{Name: "n"})),
	associated("Append: new has many", stamped, matrixHal, "Desks", appendTo(Desk{Name: "n"})),
	associated("Append: new many to many", stamped, matrixHal, "Tags", appendTo(Tag{Name: "n"})),
	associated("Append: new polymorphic", stamped, matrixHal, "Notes", appendTo(Note{Name: "n"})),
	associated("Append: new belongs to", both, matrixHal, "Head", appendTo(Person{Name: "n"})),
	associated("Append: foreign has one", duplicated, matrixHal, "Badge", appendTo(Badge{ID: matrixAcme})),
	associated("Append: foreign has many", duplicated, matrixHal, "Desks", appendTo(Desk{ID: matrixAcme})),
	associated("Append: foreign polymorphic", duplicated, matrixHal, "Notes", appendTo(Note{ID: matrixAcme})),
	associated("Append: foreign many to many", keys, matrixHal, "Tags", appendTo(Tag{ID: matrixAcme})),
	associated("Append: foreign belongs to", keys, matrixHal, "Head", appendTo(Person{ID: matrixAcme})),
	associated("Append: foreign tenant", cross, matrixHal, "Desks", appendTo(Desk{ID: matrixAcme, TenantID: "acme"})),
	associated("Append: to a foreign room", keys, matrixAcme, "Desks", appendTo(Desk{Name: "n"})),
	associated("Replace: has one", both, matrixHal, "Badge", replaceBy(Badge{Name: "n"})),
	associated("Replace: has many", both, matrixHal, "Desks", replaceBy(Desk{Name: "n"})),
	associated("Replace: many to many", both, matrixHal, "Tags", replaceBy(Tag{Name: "n"})),
	associated("Replace: polymorphic", both, matrixHal, "Notes", replaceBy(Note{Name: "n"})),
	associated("Replace: belongs to", both, matrixHal, "Head", replaceBy(Person{Name: "n"})),
	associated("Replace: by a foreign row", duplicated, matrixHal, "Desks", replaceBy(Desk{ID: matrixAcme})),
	associated("Delete: has one of a foreign room", filtered, matrixAcme, "Badge", remove(Badge{ID: matrixAcme})),
	associated("Delete: has many of a foreign room", filtered, matrixAcme, "Desks", remove(Desk{ID: matrixAcme})),
	associated("Delete: many to many of a foreign room", filtered, matrixAcme, "Tags", remove(Tag{ID: matrixAcme})),
	associated("Delete: polymorphic of a foreign room", filtered, matrixAcme, "Notes", remove(Note{ID: matrixAcme})),
	associated("Clear: has one of a foreign room", filtered, matrixAcme, "Badge", empty),
	associated("Clear: has many of a foreign room", filtered, matrixAcme, "Desks", empty),
	associated("Clear: many to many of a foreign room", filtered, matrixAcme, "Tags", empty),
	associated("Clear: polymorphic of a foreign room", filtered, matrixAcme, "Notes", empty),
	associated("Clear: belongs to of a foreign room", filtered, matrixAcme, "Head", empty),
	associated("Unscoped: has many of a foreign room", filtered, matrixAcme, "Desks", destroy),
	associated("Unscoped: polymorphic of a foreign room", filtered, matrixAcme, "Notes", destroy),
}
