package audit

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
)

// markdown writes the page of types.
func markdown(types []*eventType) string {
	var page strings.Builder
	page.WriteString("# Audit events\n\n| event | version | resource | description |\n|---|---|---|---|\n")
	for _, t := range types {
		fmt.Fprintf(&page, "| [`%s`](#%s) | %d | %s | %s |\n", t.Action, anchor(t), t.Version, code(t.ResourceType), prose(t.Description))
	}
	for _, t := range types {
		writeSection(&page, t)
	}
	return page.String()
}

// anchor is of our own, for each program makes other ones of a heading.
func anchor(t *eventType) string { return fmt.Sprintf("%s-v%d", t.Action, t.Version) }

func writeSection(page *strings.Builder, t *eventType) {
	fmt.Fprintf(page, "\n<a id=\"%s\"></a>\n\n## `%s`, version %d\n\n", anchor(t), t.Action, t.Version)
	if t.Description != "" {
		fmt.Fprintf(page, "%s\n\n", prose(t.Description))
	}
	fmt.Fprintf(page, "Resource type: %s.\n\n", code(t.ResourceType))
	rows := fieldRows("", published(t.schema.Schema()))
	if len(rows) == 0 {
		page.WriteString("It has no data.\n")
		return
	}
	page.WriteString("| field | type | required | description |\n|---|---|---|---|\n" + strings.Join(rows, ""))
}

// fieldRows returns the rows of a schema's fields, and of those within them.
func fieldRows(path string, schema *jsonschema.Schema) (rows []string) {
	for _, name := range schema.PropertyOrder {
		field := schema.Properties[name]
		if field == nil {
			continue // not recorded
		}
		kind, required := describe(field), "no"
		if field.Extra[redactedKey] != nil {
			kind += "; redacted"
		}
		if slices.Contains(schema.Required, name) {
			required = "yes"
		}
		rows = append(rows, fmt.Sprintf("| %s | %s | %s | %s |\n", code(path+name), kind, required, prose(field.Description)))
		if field.Extra[redactedKey] == nil {
			rows = append(rows, fieldRows(path+name+".", field)...)
		}
	}
	if schema.Items != nil {
		rows = append(rows, fieldRows(strings.TrimSuffix(path, ".")+"[].", schema.Items)...)
	}
	if isMap(schema) {
		rows = append(rows, fieldRows(path+"*.", schema.AdditionalProperties)...)
	}
	return rows
}

// code and prose keep a text within its line and its cell of a table, and from
// being taken for more than a text.
func code(text string) string { return "`" + strings.ReplaceAll(cell(text), "`", "'") + "`" }

func prose(text string) string { return strings.ReplaceAll(cell(text), "<", "&lt;") }

func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "\r", " ", "\n", " ").Replace(text)
}
