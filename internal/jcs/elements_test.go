package jcs

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func elements(s string, lim Limits) (texts []string, err error) {
	var p Parser
	err = p.Elements(s, "list", lim, func(text string, v Value) error {
		again, err := ParseStrict(text, lim)
		if err != nil {
			return err
		}
		if string(again.Append(nil)) != string(v.Append(nil)) {
			return ErrInvalid
		}
		texts = append(texts, text)
		return nil
	})
	return texts, err
}

func TestElements(t *testing.T) {
	for text, want := range map[string][]string{
		`{"list":[1, {"a":[2]} ,"x"]}`:            {`1`, `{"a":[2]}`, `"x"`},
		` { "a" : [3] , "list" : [ ] , "b":{} } `: nil,
		`{"l\u0069st":[null],"z":0}`:              {`null`},
		`{"list":{"list":[1]}}`:                   nil,
		`{}`:                                      nil,
	} {
		got, err := elements(text, Limits{})
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{
		``, `[]`, `{`, `{"list"`, `{"list":`, `{"list":[`, `{"list":[1`, `{"list":[1,`, `{"list":[1,]}`, `{"list":[1]`, `{"list":[1]}x`, `{"list":[1] "a":2}`,
		`{"list":[],"list":[]}`, `{"a":1,"a":2}`, `{"list":[{"a":1,"a":2}]}`, `{"list":[1}]`, `{"list":[1 2]}`, `{,}`, `{"list":["` + "\xff" + `"]}`,
	} {
		_, err := elements(text, Limits{})
		require.Error(t, err, text)
	}
	// The limit of values is one element's.
	_, err := elements(`{"list":[`+strings.Repeat(`[1,2],`, 100)+`[1,2]]}`, Limits{MaxNodes: 10})
	require.NoError(t, err)
	_, err = elements(`{"list":[[1,2,3,4,5,6,7,8,9,10]]}`, Limits{MaxNodes: 10})
	require.ErrorIs(t, err, ErrTooLarge)
	_, err = elements(`{"list":[`+strings.Repeat("[", 20)+strings.Repeat("]", 20)+`]}`, Limits{MaxDepth: 10})
	require.ErrorIs(t, err, ErrTooDeep)
}

// What is taken is what ParseStrict takes, with the same elements.
func FuzzElements(f *testing.F) {
	f.Add(`{"list":[1, {"a":[2]} ,"x"],"b":null}`)
	f.Add(`{"list":[[[]]],"list":0}`)
	f.Fuzz(func(t *testing.T, s string) {
		got, err := elements(s, Limits{})
		v, strict := ParseStrict(s, Limits{})
		if strict != nil || v.Kind() != KindObject {
			require.Error(t, err)
			return
		}
		require.NoError(t, err)
		if list := v.Get("list"); list.Kind() == KindArray {
			require.Len(t, got, list.Len())
		} else {
			require.Empty(t, got)
		}
	})
}
