package audittest_test

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"gorm.io/datatypes"
	"gorm.io/driver/postgres"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/audit/audittest"
	"github.com/courtroll/courtroll/models"
	"github.com/courtroll/courtroll/tenancy"
)

// secret has all that is escaped somewhere.
const secret = `Canary "<7>" é/`

// TestNoSecrets hides a secret in each place and form, one at a time.
func TestNoSecrets(t *testing.T) {
	t.Parallel()
	b := setup(t)
	quoted := func(text string) string {
		out, err := json.Marshal(text)
		must(t, err)
		return string(out)
	}
	inner := quoted(secret)
	for name, c := range map[string]struct {
		event audit.Event
		actor string
		want  []string
	}{
		"Value":        {event: audit.Event{Data: map[string]any{"note": "<" + secret + ">"}}, want: []string{"metadata.data.note, as it is"}},
		"Deep":         {event: audit.Event{Data: map[string]any{"a": []any{1, map[string]any{"b": secret}}}}, want: []string{"metadata.data.a[1].b, as it is"}},
		"Key":          {event: audit.Event{Data: map[string]any{"x" + secret: []any{1}}}, want: []string{"metadata.data, as a name, as it is"}},
		"BelowItself":  {event: audit.Event{Data: map[string]any{secret: secret}}, want: []string{"metadata.data.[a secret], as it is"}},
		"LowerCase":    {event: audit.Event{Data: map[string]any{"note": strings.ToLower(secret)}}, want: []string{"in another case"}},
		"UpperCase":    {event: audit.Event{Data: map[string]any{"note": strings.ToUpper(secret)}}, want: []string{"in another case"}},
		"JSON":         {event: audit.Event{Data: map[string]any{"note": `{"a":` + `"Canary \"<7>\" é/"` + `}`}}, want: []string{"escaped as JSON"}},
		"JSONForHTML":  {event: audit.Event{Data: map[string]any{"note": `{"a":` + inner + `}`}}, want: []string{"escaped as JSON"}},
		"JSONTwice":    {event: audit.Event{Data: map[string]any{"note": `{"a":"{\"b\":\"Canary \\\"<7>\\\" é/\"}"}`}}, want: []string{"escaped as JSON twice"}},
		"Query":        {event: audit.Event{Data: map[string]any{"note": "?q=" + url.QueryEscape(secret)}}, want: []string{"escaped as a URL"}},
		"Path":         {event: audit.Event{Data: map[string]any{"note": "/" + url.PathEscape(secret)}}, want: []string{"escaped as a URL"}},
		"Hex":          {event: audit.Event{Data: map[string]any{"note": `\x00` + hex.EncodeToString([]byte(secret))}}, want: []string{"in hex"}},
		"HexUpper":     {event: audit.Event{Data: map[string]any{"note": strings.ToUpper(hex.EncodeToString([]byte(secret)))}}, want: []string{"in hex"}},
		"HexOfUpper":   {event: audit.Event{Data: map[string]any{"note": hex.EncodeToString([]byte(strings.ToUpper(secret)))}}, want: []string{"in hex"}},
		"Base64":       {event: audit.Event{Data: map[string]any{"note": base64.StdEncoding.EncodeToString([]byte(secret))}}, want: []string{"in base64"}},
		"Base64At1":    {event: audit.Event{Data: map[string]any{"note": base64.StdEncoding.EncodeToString([]byte("a" + secret + "zz"))}}, want: []string{"in base64"}},
		"Base64At2":    {event: audit.Event{Data: map[string]any{"note": base64.StdEncoding.EncodeToString([]byte("ab" + secret + "z"))}}, want: []string{"in base64"}},
		"Base64At3":    {event: audit.Event{Data: map[string]any{"note": base64.RawURLEncoding.EncodeToString([]byte("abc" + secret))}}, want: []string{"in base64"}},
		"Base64URL":    {event: audit.Event{Data: map[string]any{"note": base64.URLEncoding.EncodeToString([]byte("ab\xff" + secret))}}, want: []string{"in base64"}},
		"Base64Lower":  {event: audit.Event{Data: map[string]any{"note": base64.StdEncoding.EncodeToString([]byte(strings.ToLower(secret)))}}, want: []string{"in base64"}},
		"Bytes":        {event: audit.Event{Data: map[string]any{"note": []byte(secret)}}, want: []string{"in base64"}},
		"Actor":        {actor: secret, want: []string{"actor_id, as it is"}},
		"Action":       {event: audit.Event{Action: "user." + secret}, want: []string{"([a secret] users), action, as it is"}},
		"ResourceType": {event: audit.Event{ResourceType: secret}, want: []string{"(user.login [a secret]), resource_type, as it is"}},
		"ResourceID":   {event: audit.Event{ResourceID: "1" + secret}, want: []string{"(user.login users), resource_id, as it is"}},

		"JSONInASCII":      {event: audit.Event{Data: map[string]any{"note": `{"a":"Canary \"<7>\" \u00e9\/"}`}}, want: []string{"escaped as JSON"}},
		"JSONInDigits":     {event: audit.Event{Data: map[string]any{"note": digits(secret, `\u%04X`)}}, want: []string{"escaped as JSON"}},
		"JSONThrice":       {event: audit.Event{Data: map[string]any{"note": quoted(quoted(inner))}}, want: []string{"escaped as JSON"}},
		"ScriptText":       {event: audit.Event{Data: map[string]any{"note": strings.ReplaceAll(digits(url.PathEscape(secret), `\x%02x`), " ", "")}}, want: []string{"escaped as JSON, escaped as a URL"}},
		"Component":        {event: audit.Event{Data: map[string]any{"note": "?q=Canary%20%22%3C7%3E%22%20%C3%A9/"}}, want: []string{"escaped as a URL"}},
		"PercentAll":       {event: audit.Event{Data: map[string]any{"note": percent(secret)}}, want: []string{"escaped as a URL"}},
		"URLTwice":         {event: audit.Event{Data: map[string]any{"note": url.QueryEscape("/?q=" + url.QueryEscape(secret))}}, want: []string{"escaped as a URL twice"}},
		"HTML":             {event: audit.Event{Data: map[string]any{"note": html.EscapeString(secret)}}, want: []string{"escaped as HTML"}},
		"HTMLNames":        {event: audit.Event{Data: map[string]any{"note": "<b>Canary &quot;&lt;7&gt;&quot; &eacute;&sol;</b>"}}, want: []string{"escaped as HTML"}},
		"Base64InLines":    {event: audit.Event{Data: map[string]any{"note": lines(base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", 50)+secret+strings.Repeat("y", 40))), 76, "\n")}}, want: []string{"in base64"}},
		"Base64InPEM":      {event: audit.Event{Data: map[string]any{"note": "-----BEGIN X-----\r\n" + lines(base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", 40)+secret)), 64, "\r\n")}}, want: []string{"in base64"}},
		"Base64AfterWord":  {event: audit.Event{Data: map[string]any{"note": "Basic " + base64.StdEncoding.EncodeToString([]byte("ann:"+inner))}}, want: []string{"in base64, escaped as JSON"}},
		"Base64OfJSON":     {event: audit.Event{Data: map[string]any{"note": base64.StdEncoding.EncodeToString([]byte(`{"a":` + inner + `}`))}}, want: []string{"in base64, escaped as JSON"}},
		"Base64URLOfJSON":  {event: audit.Event{Data: map[string]any{"note": base64.RawURLEncoding.EncodeToString([]byte("\xff\xfe" + inner))}}, want: []string{"in base64, escaped as JSON"}},
		"Base64InJSON":     {event: audit.Event{Data: map[string]any{"note": strings.ReplaceAll(base64.StdEncoding.EncodeToString([]byte("\xff\xff\xff"+inner)), "/", `\/`)}}, want: []string{"in base64, escaped as JSON"}},
		"Base64InBytes":    {event: audit.Event{Data: map[string]any{"note": base64.StdEncoding.EncodeToString([]byte(noise(500) + strings.ToUpper(secret) + noise(50)))}}, want: []string{"in base64"}},
		"Base64AfterBytes": {event: audit.Event{Data: map[string]any{"note": base64.StdEncoding.EncodeToString([]byte(noise(520) + `{"a":` + inner + `}`))}}, want: []string{"in base64, escaped as JSON"}},
		"Base64Twice":      {event: audit.Event{Data: map[string]any{"note": base64.StdEncoding.EncodeToString([]byte(base64.StdEncoding.EncodeToString([]byte("ab" + secret))))}}, want: []string{"in base64, in base64"}},
		"HexOfJSON":        {event: audit.Event{Data: map[string]any{"note": `\x` + hex.EncodeToString([]byte(inner))}}, want: []string{"in hex, escaped as JSON"}},
		"HexInPairs":       {event: audit.Event{Data: map[string]any{"note": strings.TrimSpace(fmt.Sprintf("% X", secret))}}, want: []string{"in hex"}},
		"OtherLines":       {event: audit.Event{Data: map[string]any{"note": "Canary\r\n\"<7>\"\té/"}}, want: []string{"with other white space"}},
		"Base64OfURL":      {event: audit.Event{Data: map[string]any{"note": base64.StdEncoding.EncodeToString([]byte(url.PathEscape(html.EscapeString(secret))))}}, want: []string{"in base64, escaped as a URL, escaped as HTML"}},

		"Noise":     {event: audit.Event{Data: map[string]any{"note": strings.Repeat(`Canary/birds+sing%20of &lt;7 \u0041, `, 400)}}},
		"Elsewhere": {event: audit.Event{Data: map[string]any{"note": "Canary", "api_token": secret}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := tenancy.WithTenant(t.Context(), strings.ToLower(name))
			ctx = audit.WithActor(ctx, audit.Actor{ID: c.actor, IP: netip.MustParseAddr("192.0.2.7")})
			if c.event.Action == "" {
				c.event.Action = "user.login"
			}
			if c.event.ResourceType == "" {
				c.event.ResourceType = "users"
			}
			b.record(t, ctx, c.event)
			check(t, func(r *recorder) {
				audittest.NoSecrets(r, b.with(ctx), "nowhere", secret)
				for _, message := range r.failures {
					silent(t, message)
				}
			}, c.want...)
		})
	}
}

// digits writes each character of a text as an escape.
func digits(text, format string) (escaped string) {
	for _, r := range text {
		escaped += fmt.Sprintf(format, r)
	}
	return escaped
}

func percent(text string) (escaped string) {
	for _, b := range []byte(text) {
		escaped += fmt.Sprintf("%%%02x", b)
	}
	return escaped
}

// lines breaks a text as MIME, PEM and PostgreSQL's encode do.
func lines(text string, length int, end string) (broken string) {
	for len(text) > length {
		broken += text[:length] + end
		text = text[length:]
	}
	return broken + text
}

// noise are bytes that are no text.
func noise(n int) string {
	source, b := rand.New(rand.NewPCG(1, 2)), make([]byte, n)
	for i := range b {
		b[i] = byte(source.Uint32())
	}
	return string(b)
}

// silent demands that a message gives nothing of the secret away.
func silent(t *testing.T, message string) {
	t.Helper()
	for _, part := range []string{"canary", hex.EncodeToString([]byte("anar")), "Q2FuYXJ5"} {
		if strings.Contains(strings.ToLower(message), strings.ToLower(part)) {
			t.Errorf("%q stands in the message:\n%s", part, message)
		}
	}
}

// A row's values in all columns, and each secret by its position.
func TestNoSecrets_Changes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	invoice := b.invoice(t)
	audittest.NoSecrets(t, b.acme, "canary-one", "canary-two", "ann@example.com")
	must(t, b.acme.Model(invoice).Updates(map[string]any{"note": "x canary-one", "status": "CANARY-TWO", "avatar": []byte("canary-three")}).Error)
	must(t, b.acme.Create(&Reading{Host: "192.0.2.7", Raw: []byte("…canary-four"), Doc: datatypes.JSON(`{"n": 78236491}`)}).Error)
	id := audittest.Expect(t, b.acme).One("readings", "create").AuditLog().ID.String()
	var found string
	check(t, func(r *recorder) {
		audittest.NoSecrets(r, b.acme, "canary-one", "canary-two", "canary-three", "canary-four", "78236491")
		found = strings.Join(r.failures, "\n")
	}, "secret 1 in entry ", "(update invoices), metadata.changes.note.new, as it is", "(update invoices), metadata.changes.status.new, in another case",
		"secret 4 in entry "+id+" (create readings), metadata.changes.raw.new, in hex", "secret 5 in entry "+id+" (create readings), metadata.changes.doc.new.n, as it is")
	if n := strings.Count(found, "\n\tsecret "); n != 4 || strings.Contains(found, "secret 3") {
		t.Errorf("%d places, want 4:\n%s", n, found)
	}
	silent(t, found)
	audittest.NoSecrets(t, b.acme, "canary-three")
}

// A check that looks at nothing is none.
func TestNoSecrets_Mistakes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.invoice(t)
	ip := "canary-ip"
	must(t, b.super().Create(&models.NewAuditLog{Action: "page.view", ResourceType: "pages", TenantID: pointerTo("hal"), IPAddress: &ip}).Error)
	for name, c := range map[string]struct {
		do   func(r *recorder)
		want []string
	}{
		"None":  {func(r *recorder) { audittest.NoSecrets(r, b.acme) }, []string{"no secret"}},
		"Blank": {func(r *recorder) { audittest.NoSecrets(r, b.acme, "canary-one", "      ") }, []string{"secret 2 has less than 4 bytes"}},
		"Short": {func(r *recorder) { audittest.NoSecrets(r, b.acme, "abc") }, []string{"secret 1 has less than 4 bytes"}},
		"EmptyTrail": {func(r *recorder) {
			audittest.NoSecrets(r, b.with(tenancy.WithTenant(t.Context(), "void")), "canary-one")
		}, []string{"is empty"}},
		"NoTenant":    {func(r *recorder) { audittest.NoSecrets(r, b.app, "canary-one") }, []string{"tenancy.WithTenant"}},
		"NoHandle":    {func(r *recorder) { audittest.NoSecrets(r, nil, "canary-one") }, []string{"nil"}},
		"OtherTenant": {func(r *recorder) { audittest.NoSecrets(r, b.hal, "acme") }, nil},
		"TenantID":    {func(r *recorder) { audittest.NoSecrets(r, b.acme, "acme") }, []string{"tenant_id, as it is"}},
		"Address":     {func(r *recorder) { audittest.NoSecrets(r, b.system, "canary-ip") }, []string{"(page.view pages), ip_address, as it is"}},
		"Scope": {func(r *recorder) {
			audittest.NoSecrets(r, b.with(tenancy.AsSystem(t.Context(), "for canary-scope")), "canary-scope")
		}, []string{"(system_scope.open system_scope), metadata.system_reason"}},
	} {
		t.Run(name, func(t *testing.T) { check(t, c.do, c.want...) })
	}
}

// In an empty database a system scope sees only that it was opened.
func TestNoSecrets_OnlyScopes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	check(t, func(r *recorder) { audittest.NoSecrets(r, b.system, "canary-one") }, "is empty")
}

// record writes an event, also one that only another program writes.
func (b *bundle) record(t *testing.T, ctx context.Context, event audit.Event) {
	t.Helper()
	err := audit.Record(ctx, b.app, event)
	if errors.Is(err, audit.ErrEvent) {
		tenant, _ := tenancy.FromContext(ctx)
		err = b.Open(postgres.Open(b.SuperDSN), nil).Create(&models.NewAuditLog{TenantID: &tenant, Action: event.Action, ResourceType: event.ResourceType}).Error
	}
	must(t, err)
}
