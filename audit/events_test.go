package audit_test

import (
	"encoding/json"
	"errors"
	"math/big"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/courtroll/courtroll/audit"
)

// order has a field of every form that package json knows.
type order struct {
	ID       uuid.UUID         `json:"id" jsonschema:"the order's own"`
	At       time.Time         `json:"at"`
	From     *netip.Addr       `json:"from"`
	Total    big.Int           `json:"total"`
	Weight   json.Number       `json:"weight"`
	Express  bool              `json:"express,omitempty" jsonschema:"a | in <b>"`
	Priority uint8             `json:"priority"`
	Factor   float32           `json:"factor"`
	Items    []orderItem       `json:"items"`
	Labels   map[string]string `json:"labels"`
	Prices   map[string]price  `json:"prices,omitempty"`
	Receipt  []byte            `json:"receipt"`
	Position [2]int32          `json:"position"`
	Extra    any               `json:"extra"`
	Raw      json.RawMessage   `json:"raw"`
	Customer *customer         `json:"customer"`
	Internal string            `json:"internal" audit:"-"`
	Ignored  string            `json:"-" audit:"hash"`
	priced
}

type orderItem struct {
	Article string `json:"article" jsonschema:"its number"`
	Note    string `json:"note" audit:"-"`
}

type price struct {
	Cents int
	Code  string `audit:"redact"`
}

type customer struct {
	Name     string            `json:"name"`
	Email    string            `json:"email" audit:"redact" jsonschema:"where it is confirmed to"`
	Password string            `json:"password"`
	Address  map[string]string `json:"address" audit:"redact"`
}

type priced struct {
	Currency string `json:"currency"`
}

type login struct {
	Method string `json:"method" jsonschema:"how: password or passkey"`
}

type login2 struct {
	login
	Device string `json:"device,omitempty"`
}

func catalog() audit.Catalog {
	return audit.Catalog{
		audit.Define[login2](audit.Definition{Action: "user.login", Version: 2, ResourceType: "users", Description: "Somebody logged in, or tried to."}),
		audit.Define[order](audit.Definition{Action: "order.placed", ResourceType: "orders", Description: "A customer\nordered <something> for a | b."}),
		audit.Define[login](audit.Definition{Action: "user.login", ResourceType: "users"}),
		audit.Define[struct{}](audit.Definition{Action: "cache.flush", ResourceType: "caches"}),
	}
}

// TestCatalog_Pages shows both pages; testdata holds them.
func TestCatalog_Pages(t *testing.T) {
	t.Parallel()
	for name, page := range map[string]func(audit.Catalog) ([]byte, error){"events.json": audit.Catalog.JSON, "events.md": audit.Catalog.Markdown} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := page(catalog())
			if err != nil {
				t.Fatal(err)
			}
			compare(t, filepath.Join("testdata", name), string(got))
			empty, err := page(nil)
			if err != nil || len(empty) == 0 {
				t.Errorf("of no events: %q, %v", empty, err)
			}
		})
	}
}

// TestCatalog_MarkdownIsText: no description is Markdown, as a paragraph or in a cell.
func TestCatalog_MarkdownIsText(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"Somebody logged in, or tried to: a log-in.": "Somebody logged in, or tried to: a log-in.",
		"```":                        "\\`\\`\\`",
		"~~~":                        `\~\~\~`,
		"# x":                        `\# x`,
		"[x](javascript:alert(1))":   `\[x\]\(javascript\:alert\(1\)\)`,
		"![i](http://evil.example)":  `\!\[i\]\(http\:\/\/evil\.example\)`,
		"<b>&lt;":                    `\<b\>\&lt;`,
		"[ref]: http://evil.example": `\[ref\]\: http\:\/\/evil\.example`,
		`a\|b`:                       `a\\\|b`,
		"*a* _b_ a_b":                `\*a\* \_b\_ a\_b`,
		"1. x":                       `1\. x`,
		"1) x":                       `1\) x`,
		"- x":                        `\- x`,
		"---":                        `\-\-\-`,
		"> x":                        `\> x`,
		"www.evil.example":           `www\.evil\.example`,
		"    code":                   "code",
		"a\n\n# x\r\u2028- x\u0085y": `a \# x \- x y`,
		"größer – 5 €":               "größer – 5 €",
	} {
		page, err := audit.Catalog{audit.Define[struct{}](audit.Definition{Action: "a.b", ResourceType: "x", Description: text})}.Markdown()
		if err != nil {
			t.Fatal(err)
		}
		for _, place := range []string{"| `x` | " + want + " |\n", "version 1\n\n" + want + "\n\nResource"} {
			if !strings.Contains(string(page), place) {
				t.Errorf("%q: want %q in\n%s", text, place, page)
			}
		}
	}
	page, _ := audit.Catalog{audit.Define[struct{}](audit.Definition{Action: "a.b", ResourceType: "x`|\ny"})}.Markdown()
	for _, want := range []string{"| `x'\\| y` |", "Resource type: `x'| y`."} {
		if !strings.Contains(string(page), want) {
			t.Errorf("want %q in\n%s", want, page)
		}
	}
}

type (
	cyclic   struct{ Next *cyclic }
	Shout    string
	shouting struct{ Shout }
	pointing struct{ *login }
	named    struct {
		login `json:"login"`
	}
	tagged struct {
		login `audit:"-"`
	}
	timed struct{ time.Time }
	twice struct {
		A string
		B string `json:"A"`
	}
	quoted struct {
		N int `json:",string"`
	}
	hashed struct {
		N []struct {
			Email string `audit:"hash"`
		}
	}
	described struct {
		N int `jsonschema:"minimum=1"`
	}
	endless []endless
)

// What no event of theirs could be recorded of: package json writes other fields
// than Go has.
type (
	firstName  struct{ Name string }
	secondName struct {
		Name string `json:"second"`
	}
	ambiguous struct {
		firstName
		secondName
	}
	shadowed struct {
		secondName
		Name string
	}
	hiding struct {
		secondName
		Name string `json:"-"`
	}
	misnamed struct {
		N int `json:"it's"` //nolint:staticcheck // the fault is what is tested
	}
)

// Types that write themselves, with tags that their methods know nothing of.
type (
	card struct {
		Number string `audit:"redact"`
	}
	cards  []card
	wallet struct{ Cards map[string][]*card }
	key    struct {
		Number string `audit:"-"`
	}
	coin struct{ Cents int }
	note struct{ Cents int }
)

func (card) MarshalJSON() ([]byte, error)   { return []byte(`{"number":"4111"}`), nil }
func (cards) MarshalText() ([]byte, error)  { return []byte("4111"), nil }
func (wallet) MarshalText() ([]byte, error) { return []byte("4111"), nil }
func (key) MarshalText() ([]byte, error)    { return []byte("4111"), nil }
func (*coin) MarshalJSON() ([]byte, error)  { return []byte("1"), nil }
func (*note) MarshalText() ([]byte, error)  { return []byte("1"), nil }

// TestDefine_OwnForms: a type that writes itself stands where its method is called,
// and has no tags within it unless all of it is withheld.
func TestDefine_OwnForms(t *testing.T) {
	t.Parallel()
	for name, event := range map[string]audit.DefinedEvent{
		"withheld": fine[struct {
			Card card    `audit:"redact"`
			All  cards   `json:"all" audit:"-"`
			Old  *wallet `audit:"redact"`
		}](),
		"addressed": fine[struct {
			Coin  coin
			Two   [2]note
			Many  []coin
			Named map[string]*note
			Lists map[string][]struct{ Coin coin }
		}](),
	} {
		if _, err := (audit.Catalog{event}).JSON(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func fine[T any]() audit.DefinedEvent {
	return audit.Define[T](audit.Definition{Action: "a.b", ResourceType: "c"})
}

func TestDefine_Faults(t *testing.T) {
	t.Parallel()
	for name, event := range map[string]audit.DefinedEvent{
		"no action":        audit.Define[login](audit.Definition{ResourceType: "users"}),
		"a change's":       audit.Define[login](audit.Definition{Action: "update", ResourceType: "users"}),
		"ours":             audit.Define[login](audit.Definition{Action: "system_scope.open", ResourceType: "users"}),
		"no resource":      audit.Define[login](audit.Definition{Action: "user.login", ResourceType: " "}),
		"negative version": audit.Define[login](audit.Definition{Action: "user.login", ResourceType: "users", Version: -1}),
		"no struct":        fine[string](),
		"pointer":          fine[*login](),
		"interface":        fine[any](),
		"text":             fine[time.Time](),
		"cycle":            fine[cyclic](),
		"function":         fine[struct{ F func() }](),
		"embedded text":    fine[shouting](),
		"embedded pointer": fine[pointing](),
		"embedded name":    fine[named](),
		"embedded tag":     fine[tagged](),
		"embedded time":    fine[timed](),
		"one name twice":   fine[twice](),
		"option string":    fine[quoted](),
		"unknown tag":      fine[hashed](),
		"description":      fine[described](),
		"endless":          fine[struct{ E endless }](),
		"one name in Go":   fine[ambiguous](),
		"shadowed":         fine[shadowed](),
		"hidden":           fine[hiding](),
		"name of no JSON":  fine[misnamed](),
		"own JSON":         fine[struct{ Card card }](),
		"own text":         fine[struct{ Cards cards }](),
		"own, deep":        fine[struct{ Wallet *wallet }](),
		"own, in a slice":  fine[struct{ List [][1]*card }](),
		"own, in a map":    fine[struct{ Map map[string]card }](),
		"own, as a key":    fine[struct{ Map map[key]int }](),
		"own, embedded":    fine[struct{ Sub struct{ card } }](),
		"JSON in a map":    fine[struct{ Map map[string]coin }](),
		"text in a map":    fine[struct{ Map map[string][1]note }](),
		"big in a map": fine[struct {
			Map map[string]struct{ N big.Int }
		}](),
		"nil":       nil,
		"typed nil": (*audit.EventType[login])(nil),
		"zero":      &audit.EventType[login]{},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for page, write := range map[string]func(audit.Catalog) ([]byte, error){"JSON": audit.Catalog.JSON, "Markdown": audit.Catalog.Markdown} {
				if _, err := write(audit.Catalog{event}); !errors.Is(err, audit.ErrDefinition) {
					t.Errorf("%s: %v, want ErrDefinition", page, err)
				}
			}
		})
	}
	for name, events := range map[string]audit.Catalog{"version 2": {catalog()[0], catalog()[2], catalog()[0]}, "version 1": {fine[login](), fine[order]()}} {
		if _, err := events.JSON(); !errors.Is(err, audit.ErrDefinition) || !strings.Contains(err.Error(), " of "+name+" is in the catalogue twice") || !strings.Contains(err.Error(), `fault: "`) {
			t.Errorf("%s: %v, want ErrDefinition", name, err)
		}
	}
}

func TestEventType_Definition(t *testing.T) {
	t.Parallel()
	if got, want := fine[login]().Definition(), (audit.Definition{Action: "a.b", Version: 1, ResourceType: "c"}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := (*audit.EventType[login])(nil).Definition(); got != (audit.Definition{}) {
		t.Errorf("of nil: %+v", got)
	}
}
