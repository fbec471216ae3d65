package tests

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/logger"
)

var silent = logger.Discard

var matrixGroups = []matrixGroup{
	{"Reads", matrixReads},
	{"Writes and SQL by hand", matrixWrites},
	{"Sessions, transactions and the rest", matrixSessions},
	{"Associations", matrixAssociations},
	{"Generics", matrixGenerics},
	{"Builders of generic joins and preloads", matrixBuilders},
}

// TestMatrixHasEveryMethod fails where GORM has a method that no path begins with.
func TestMatrixHasEveryMethod(t *testing.T) {
	t.Parallel()
	onDB := slices.Concat(matrixReads, matrixWrites, matrixSessions)
	onGenerics := slices.Concat(matrixGenerics, matrixBuilders)
	exec := reflect.TypeFor[gorm.ExecInterface[Room]]()
	for _, api := range []struct {
		prefix   string
		kind     reflect.Type
		embedded reflect.Type // whose methods have paths of their own
		cases    []matrixCase
	}{
		{"", reflect.TypeFor[*gorm.DB](), nil, onDB},
		{"", reflect.TypeFor[*gorm.Association](), nil, matrixAssociations},
		{"Interface.", reflect.TypeFor[gorm.Interface[Room]](), reflect.TypeFor[gorm.CreateInterface[Room]](), onGenerics},
		{"CreateInterface.", reflect.TypeFor[gorm.CreateInterface[Room]](), exec, onGenerics},
		{"ChainInterface.", reflect.TypeFor[gorm.ChainInterface[Room]](), exec, onGenerics},
		{"ExecInterface.", exec, nil, onGenerics},
		{"SetUpdateOnlyInterface.", reflect.TypeFor[gorm.SetUpdateOnlyInterface[Room]](), nil, onGenerics},
		{"SetCreateOrUpdateInterface.", reflect.TypeFor[gorm.SetCreateOrUpdateInterface[Room]](), nil, onGenerics},
		{"JoinBuilder.", reflect.TypeFor[gorm.JoinBuilder](), nil, onGenerics},
		{"PreloadBuilder.", reflect.TypeFor[gorm.PreloadBuilder](), nil, onGenerics},
	} {
		for i := range api.kind.NumMethod() {
			method := api.kind.Method(i)
			if api.embedded != nil {
				if _, ok := api.embedded.MethodByName(method.Name); ok {
					continue
				}
			}
			if !slices.ContainsFunc(api.cases, func(tc matrixCase) bool {
				name, _, _ := strings.Cut(tc.path, ":")
				return name == api.prefix+method.Name
			}) {
				t.Errorf("%s has a method %s that no path of the matrix begins with", api.kind, method.Name)
			}
		}
	}
}
