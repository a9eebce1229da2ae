package bucket

import (
	"slices"
	"strings"
)

// sortVersions sorts by key, and within a key the newest first.
func sortVersions(v []s3Version) {
	slices.SortStableFunc(v, func(a, b s3Version) int {
		if c := strings.Compare(a.key, b.key); c != 0 {
			return c
		}
		return b.at.Compare(a.at)
	})
}
