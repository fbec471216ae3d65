package tenancy

import (
	"github.com/courtroll/courtroll/internal/plan"
	"github.com/courtroll/courtroll/internal/sqllex"
)

// proof is what the check of a text rested on, kept with the text so that it is
// checked once and not at each run. The check reads of the arguments only
// which of them are ours, always in favour of the statement, and of some that
// they hold the context's tenant: where all that is so again, and the tables
// are still known to be the same, the text is confined again.
type proof struct {
	generation uint64 // of the registry
	args       int
	ours       []int // the arguments that are ours
	owned      []owned
}

// owned is an argument that has to hold the context's tenant as the table has it.
type owned struct {
	arg   int
	table plan.Table
}

func (p *proof) seal(args []any) {
	for i, arg := range args {
		if _, ours := arg.(bound); ours {
			p.ours = append(p.ours, i)
		}
	}
}

// isProven reports whether an earlier check of the text holds for these arguments.
func (v verifier) isProven(s *sqllex.Statement, args []any) bool {
	p, _ := s.Conclusion.Load().(*proof)
	if p == nil || p.args != len(args) || p.generation != v.plugin.registry.Generation() {
		return false
	}
	for _, i := range p.ours {
		if _, ours := args[i].(bound); !ours {
			return false
		}
	}
	for _, o := range p.owned {
		if own, err := v.scope.own(o.table); err != nil || args[o.arg] != own {
			return false
		}
	}
	return true
}
