package tenancy

import (
	"cmp"
	"strings"

	"github.com/courtroll/courtroll/internal/sqllex"
	"github.com/courtroll/courtroll/models"
)

// settingPrefix begins the names of the settings that the policies read.
var settingPrefix, _, _ = strings.Cut(models.TenantSetting, ".")

// isConfined reports whether row-level security keeps a text that has no
// predicate of ours to the tenant's rows: every table that it reaches is proven,
// or open to all anyway, and it does not change what the policies read. One that
// would mean something else than to GORM alone is no better for being confined.
//
// This stops mistakes. SQL that means harm, which gets at the settings through a
// string that it builds, only the database's own logins can stop.
func (v verifier) isConfined(s *sqllex.Statement, query string, args []any) bool {
	if !v.plugin.config.RowLevelSecurity || v.scope.inherited || cmp.Or(checkSettings(s), checkVerb(s), checkNumbers(s, args)) != nil {
		return false
	}
	text := strings.ToLower(query)
	if strings.Contains(text, settingPrefix+".") || strings.Contains(text, "set_config") || makesTable(s.Tokens) {
		return false
	}
	for _, ref := range s.Refs {
		table, known := v.plugin.registry.LookupIn(ref.Schema, ref.Name)
		if !known && !ref.Write && (s.IsCTE(ref) || isCatalog(ref)) {
			continue
		}
		if v.plugin.admit(table, v.scope) != nil || table.HasTenant() && !v.plugin.isProven(ref) {
			return false
		}
	}
	return true
}

func (p *Plugin) isProven(ref sqllex.Ref) bool {
	name := ref.Name
	if ref.Schema != "" {
		name = ref.Schema + "." + name
	}
	_, ok := p.proven.Load(name)
	return ok
}

// makesTable reports whether SELECT INTO makes a table. A temporary one would
// stand before the proven one of its name.
func makesTable(tokens []sqllex.Token) bool {
	for i, t := range tokens {
		if t.Is("into") && (i == 0 || !tokens[i-1].Is("insert") && !tokens[i-1].Is("merge")) {
			return true
		}
	}
	return false
}
