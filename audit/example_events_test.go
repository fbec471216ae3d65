package audit_test

import (
	"fmt"

	"github.com/courtroll/courtroll/audit"
)

// Export is the data of report.export.
type Export struct {
	Format string   `json:"format" jsonschema:"csv or pdf"`
	Rows   uint32   `json:"rows" jsonschema:"how many left the app"`
	SentTo []string `json:"sent_to,omitempty" jsonschema:"by mail" audit:"redact"`
}

// ReportExport is a variable of the package that records it:
//
//	err := ReportExport.Record(ctx, db, Export{Format: "csv", Rows: 12}, audit.Occurrence{ResourceID: "r_1"})
var ReportExport = audit.Define[Export](audit.Definition{
	Action: "report.export", ResourceType: "reports", Description: "Somebody took a report out of the app.",
})

func ExampleCatalog_Markdown() {
	page, err := audit.Catalog{ReportExport}.Markdown()
	if err != nil {
		fmt.Println(err)
	}
	fmt.Printf("%s", page)
	// Output:
	// # Audit events
	//
	// | event | version | resource | description |
	// |---|---|---|---|
	// | [`report.export`](#report.export-v1) | 1 | `reports` | Somebody took a report out of the app. |
	//
	// <a id="report.export-v1"></a>
	//
	// ## `report.export`, version 1
	//
	// Somebody took a report out of the app.
	//
	// Resource type: `reports`.
	//
	// | field | type | required | description |
	// |---|---|---|---|
	// | `format` | string | yes | csv or pdf |
	// | `rows` | integer from 0 to 4294967295 | yes | how many left the app |
	// | `sent_to` | array of string, or null; redacted | no | by mail |
}
