package detect

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// secretRules are the rules that find a secret in a text.
func secretRules(e *Engine, text string) (ids []string) {
	for _, d := range e.Scan([]Segment{{Text: text}}, Scope{}, Options{Once: true}).Detections {
		if e.Rule(d.Rule).Category == CategorySecret && d.Confidence != "low" {
			ids = append(ids, d.Rule)
		}
	}
	return ids
}

// What tells a key from a name is how it is made, whoever gave it out.
func TestSecretsWithoutAKnownFormat(t *testing.T) {
	e := newEngine(t, Config{NoInjection: true})
	for name, tc := range map[string]struct {
		text string
		want bool
	}{
		"letters of both cases, few digits":      {`censys_key: "roLtT01S6znCRhgoSwNNKY8O7AELn8e4"`, true},
		"letters only":                           {`billing_token = "yvxpthLIcYpZweFpPOVeCOtt"`, true},
		"groups of a UUID, not hexadecimal":      {`heron_api_key: "faiiahli-goke-db0r-oxli-s20dgab9a0iv"`, true},
		"short, behind a sign and in quotes":     {`token = 'xM98lZh20vZs'`, true},
		"short, without quotes":                  {`token = xM98lZh20vZs`, false},
		"short, of words":                        {`token = "v1beta1abcd"`, false},
		"words and a date":                       {`AnthropicBeta = "token-counting-2024-11-01"`, false},
		"words and a number":                     {`"id": "to-delete-a-secret-1523996905092"`, false},
		"a resource's name":                      {`"ARN": "aws:secretsmanager:us-west-2:123456789012:secret:MyTestDatabaseSecret-a1b2c3"`, false},
		"camel case with numbers":                {`tokenEncoder := "utf8StringToBase64Encoder"`, false},
		"a service's name":                       {`airbrake = 'qwmnerBv56zxpocvkjqr78afvYUx90Op'`, true},
		"a service's name in another":            {`bannerBearToken := "yvxp7hLIcYpZweF2pOVeCOtt"`, true},
		"a service's name in an import":          {`import "github.com/algolia/9f3b7c1d5e2a8406b7d9c3f1e5a2048b6d7c9f1e"`, false},
		"a service's name in an address":         {`https://eu.airbrake.io/projects/9f3b7c1d5e2a8406b7d9c3f1e5a2048b`, false},
		"a service's name before a commit":       {`cloudflare at commit 9f3b7c1d5e2a8406b7d9c3f1e5a2048b6d7c9f1e`, false},
		"a prefix of words":                      {`heron-sk-live-9fK2mQx7Lw0ZtR5vB8nC3d`, true},
		"a prefix of words, for publication":     {`heron_pk_live_9fK2mQx7Lw0ZtR5vB8nC3d`, false},
		"a prefix of words before words":         {`test_api_responseSerializerFactoryName`, false},
		"a key with a prefix, glued to the next": {`npm_a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p6q7r8npm_a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p6q7r8`, true},
		"name and password in base64":            {`Authorization: Basic c3ZjOktmODJtelFw`, true},
		"no name and password in base64":         {`Authorization: Basic c29tZXRoaW5nIGVsc2U=`, false},
		"documentation's name and password":      {`Authorization: Basic dXNlcm5hbWU6cGFzc3dvcmQ=`, false},
		"behind the escape of a line's end":      {`{"out":"ok\nAKIAUJZDEGXDNCF32EPF\n"}`, true},
		"behind an escaped quote":                {`x=\u0022AKIAUJZDEGXDNCF32EPF`, true},
		"behind a percent escape":                {`k%3DAKIAUJZDEGXDNCF32EPF`, true},
		"behind a terminal's colour":             {"\x1b[1;31mAKIAUJZDEGXDNCF32EPF", true},
		"in a longer word":                       {`mAKIAUJZDEGXDNCF32EPF`, false},
		"a framework's key with signs":           {`SECRET_KEY = 'q#q^l8*fec9=y6_el+4n8!+uu4om5!1!y+*9mz-gn%&&t&'`, true},
		"code in quotes":                         {`key = 'function(a, b) { return a[0] + b[12]; } // 3 of 7'`, false},
		"a record's key":                         {`key: 550e8400-e29b-41d4-a716-446655440000`, false},
		"a public key":                           {`public_key = "04a34b99f22c790c4e36b2b3c2c35a36db06226e41c692fc"`, false},
		"small letters in no word's order":       {`"secret":"mbxwhpqsxwkvujzc"`, true},
		"small letters of words":                 {`"secret":"databasecredentials"`, false},
		"a password's name with its type":        {`password: str = "x7Kp2mQv"`, true},
		"an escaped password":                    {`{"body":"{\"password\": \"x7Kp2mQv\"}"}`, true},
		"a password in an attribute":             {`<property name="db.password" value="x7Kp2mQv"/>`, true},
		"an attribute that names a password":     {`<input name="password" type="password2"/>`, false},
		"a password of a documented host":        {`postgres://bob:tangerine88Fox@db.example.com/app`, true},
	} {
		t.Run(name, func(t *testing.T) {
			got := secretRules(e, tc.text)
			require.Equal(t, tc.want, len(got) > 0, "%s: %v", tc.text, got)
		})
	}
}
