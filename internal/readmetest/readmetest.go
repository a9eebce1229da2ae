// Package readmetest takes the examples out of a README, for tests that run each of them.
package readmetest

import (
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
)

// Text is the text of a document.
func Text(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(b)
}

var yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")

// YAML is the text of each YAML example of a document, of which there is one at least.
func YAML(t testing.TB, path string) []string {
	t.Helper()
	var examples []string
	for _, block := range yamlBlock.FindAllStringSubmatch(Text(t, path), -1) {
		examples = append(examples, block[1])
	}
	require.NotEmpty(t, examples, "%s has examples", path)
	return examples
}

// Configs is what an example of a collector's configuration, which may be a part of one, says of a factory's component in its
// section, such as exporters: valid, and of one instance at least. A variable of the environment has to be set.
func Configs(t testing.TB, example, section string, f component.Factory) []component.Config {
	t.Helper()
	text := os.Expand(example, func(name string) string {
		value, ok := os.LookupEnv(name[len("env:"):])
		require.True(t, ok, "%s has a value here", name)
		return value
	})
	doc, err := confmap.NewRetrievedFromYAML([]byte(text))
	require.NoError(t, err, example)
	all, err := doc.AsConf()
	require.NoError(t, err, example)
	components, err := all.Sub(section)
	require.NoError(t, err, example)
	var configs []component.Config
	for name := range components.ToStringMap() {
		var id component.ID
		require.NoError(t, id.UnmarshalText([]byte(name)), example)
		if id.Type() != f.Type() {
			continue
		}
		sub, err := components.Sub(name)
		require.NoError(t, err, example)
		cfg := f.CreateDefaultConfig()
		require.NoError(t, sub.Unmarshal(cfg), example)
		require.NoError(t, confmap.Validate(cfg), example)
		configs = append(configs, cfg)
	}
	require.NotEmpty(t, configs, "an example shows the component where it stands:\n%s", example)
	return configs
}
