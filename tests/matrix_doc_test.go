package tests

import (
	"fmt"
	"slices"
	"strings"
)

const matrixHead = `# What stops each path

Written by ` + "`go test ./tests -run Matrix -update`" + `, from what happened when each path was run beside the rows of another tenant: with the tenancy plugin alone, and once more behind all three walls, on tables that migrate.Protect made, with tenancy.Postgres and Config.RowLevelSecurity. Do not edit it by hand: the test fails where it is not current, and where a method of GORM has no path.

- *filtered*: each mention of a tenant's table in what was sent had the predicate of the context's tenant. Result and rows were those of a database without another tenant.
- *stamped*: each row that came has the context's tenant.
- *refused*: the run failed with this error and no row changed. Errors of this library came before a statement on a tenant's table was sent.
- *needs*: the plugin does not see it. The wall named, which migrate.Protect makes, stopped the same run.
- None of them: nothing was sent that reaches a tenant's table.
- *all walls*: behind all three it *runs*, with the result of a database without another tenant, or fails with this error. SQL by hand is one that then runs.

In each, the rows of the other tenant stayed as they were and none was read, except in paths that need a further wall. Behind all three walls there is no exception.
`

func matrixDocument(outcomes map[string]matrixOutcome) string {
	var b strings.Builder
	b.WriteString(matrixHead)
	for _, group := range matrixGroups {
		fmt.Fprintf(&b, "\n## %s\n\n| path | filtered | stamped | refused | needs | all walls |\n|---|---|---|---|---|---|\n", group.title)
		for _, tc := range group.cases {
			cells := slices.Repeat([]string{" "}, 5)
			got := outcomes[group.title+"/"+tc.path]
			for part := range strings.SplitSeq(got.alone, ", ") {
				name, isRefused := strings.CutPrefix(part, "refused: ")
				switch {
				case part == filtered:
					cells[0] = " ✓ "
				case part == stamped:
					cells[1] = " ✓ "
				case isRefused:
					cells[2] = " `" + name + "` "
				case part == policies, part == keys:
					cells[3] = " " + part + " "
				}
			}
			cells[4] = " " + got.walled + " "
			if name, isRefused := strings.CutPrefix(got.walled, "refused: "); isRefused {
				cells[4] = " `" + name + "` "
			}
			fmt.Fprintf(&b, "| %s |%s|\n", strings.ReplaceAll(tc.path, "|", "\\|"), strings.Join(cells, "|"))
		}
	}
	return b.String()
}
