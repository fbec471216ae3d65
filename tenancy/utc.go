package tenancy

import (
	"time"

	"gorm.io/gorm/clause"

	"github.com/courtroll/courtroll/models"
)

// The timestamps of tenants are written in UTC: where another program made
// them without a time zone, they mean UTC, and a local time would be off.

func utcValues(table string, values clause.Values) clause.Values {
	if table != models.TenantsTable {
		return values
	}
	rows := make([][]any, len(values.Values))
	for i, row := range values.Values {
		rows[i] = make([]any, len(row))
		for j, value := range row {
			rows[i][j] = utc(value)
		}
	}
	return clause.Values{Columns: values.Columns, Values: rows}
}

func utcSet(table string, set clause.Set) clause.Set {
	if table != models.TenantsTable {
		return set
	}
	out := make(clause.Set, len(set))
	for i, a := range set {
		out[i] = clause.Assignment{Column: a.Column, Value: utc(a.Value)}
	}
	return out
}

func utc(value any) any {
	switch v := value.(type) {
	case time.Time:
		return v.UTC()
	case *time.Time:
		if v != nil {
			return v.UTC()
		}
	}
	return value
}
