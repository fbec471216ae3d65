package tenancy

import (
	"github.com/courtroll/courtroll/internal/plan"
	"github.com/courtroll/courtroll/internal/sqllex"
)

// proof is what the check of a text rested on, kept with the text so that it is
// checked once and not at each run: that some of its arguments hold the
// context's tenant, and what the registry knew of its tables. A further argument
// of ours can only have narrowed what the text reaches.
type proof struct {
	generation uint64 // of the registry
	args       int
	owned      []owned
	tenant     bool // that a context has a tenant to whom row-level security confines it
}

// owned is an argument that has to hold the context's tenant as the table has it.
type owned struct {
	arg   int
	table plan.Table
}

// isProven reports whether an earlier check of the text holds for these arguments.
func (v verifier) isProven(s *sqllex.Statement, args []any) bool {
	p, _ := s.Conclusion.Load().(*proof)
	if p == nil || p.args != len(args) || p.generation != v.plugin.registry.Generation() || p.tenant && v.scope.check() != nil {
		return false
	}
	for _, o := range p.owned {
		if own, err := v.scope.own(o.table); err != nil || args[o.arg] != own {
			return false
		}
	}
	return true
}
