package detect

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/nyaruka/phonenumbers"
	"github.com/stretchr/testify/require"
)

// A validator's numbers stand in the groups that are said of it and in no others,
// or they would be overlooked.
func TestGroupings(t *testing.T) {
	const separators = " -./"
	for name, list := range groupings {
		v := validators[name]
		require.NotNil(t, v, name)
		require.NotNil(t, v.number, name)
		known := map[grouping]bool{}
		for _, s := range list {
			known[parseGrouping(s)] = true
		}
		for _, digits := range v.digits {
			fits := 0
			for _, d := range numbersThatFit(v, list, digits) {
				for cuts := range uint(1) << (digits - 1) {
					n, g := grouped(d, cuts)
					if len(n.groups) > maxGroups {
						continue
					}
					for i := range len(separators) {
						if len(n.groups) > 1 {
							n.sep = separators[i]
						}
						if v.number(&n) == noFit {
							continue
						}
						fits++
						require.True(t, n.plain() || known[g], "%s: %s in groups of %v", name, d, n.groups)
					}
				}
			}
			require.Positive(t, fits, "%s: %d digits", name, digits)
		}
	}
}

// numbersThatFit are a few numbers of random digits.
func numbersThatFit(v *validator, list []string, digits int) (found []string) {
	r := rand.New(rand.NewPCG(1, uint64(digits)))
	b := make([]byte, digits)
	for tries := 0; tries < 1<<20 && len(found) < 3; tries++ {
		for i := range b {
			b[i] = byte('0' + r.IntN(10))
		}
		d := string(b)
		plain, _ := grouped(d, 0)
		fits := v.number(&plain) != noFit
		for _, s := range list {
			cuts, at := uint(0), 0
			for i := range len(s) - 1 {
				at += digit(s[i])
				cuts |= 1 << (at - 1)
			}
			if at+digit(s[len(s)-1]) != digits {
				continue
			}
			for _, sep := range []byte(" -/") {
				n, _ := grouped(d, cuts)
				n.sep = sep
				fits = fits || v.number(&n) != noFit
			}
		}
		if fits {
			found = append(found, d)
		}
	}
	return found
}

// grouped is a number that is cut after the digits whose bits are set.
func grouped(d string, cuts uint) (n number, g grouping) {
	n = number{text: d, end: len(d), digits: d}
	size := uint8(0)
	for i := range len(d) {
		size++
		if cuts>>i&1 != 0 || i == len(d)-1 {
			if len(n.groups) < maxGroups {
				g = g.with(len(n.groups), int(size))
			}
			n.groups = append(n.groups, size)
			size = 0
		}
	}
	return n, g
}

func TestDate(t *testing.T) {
	for day := time.Date(1896, 1, 1, 0, 0, 0, 0, time.UTC); day.Year() < 2110; day = day.AddDate(0, 0, 1) {
		next := day.AddDate(0, 0, 1)
		require.True(t, date(day.Year(), int(day.Month()), day.Day()), day)
		require.Equal(t, next.Day() != 1, date(day.Year(), int(day.Month()), day.Day()+1), day)
	}
	require.True(t, date(0, 2, 29), "of a year that isn't known")
	for _, no := range [][3]int{{2000, 0, 1}, {2000, 13, 1}, {2000, 1, 0}, {2000, 1, 32}, {2000, 2, 30}, {0, 2, 30}} {
		require.False(t, date(no[0], no[1], no[2]), no)
	}
}

// A mobile number as it is dialled at home is found without spaces and without a
// word that says what it is, where its first digits are those of little else; with
// such a word everywhere.
func TestMobileNumbersWithoutSpaces(t *testing.T) {
	e := newEngine(t, Config{NoInjection: true})
	national := func(region string) string {
		n := phonenumbers.GetExampleNumberForType(region, phonenumbers.MOBILE)
		return strings.NewReplacer(" ", "", "-", "", "/", "").Replace(phonenumbers.Format(n, phonenumbers.NATIONAL))
	}
	for _, region := range mobilePlans {
		require.Equal(t, []string{"phone"}, typesOf(e, "Merci, Danke: "+national(region)+" !"), region)
	}
	require.Equal(t, []string{"phone"}, typesOf(e, "chiamami al "+national("IT")))
	for _, no := range []string{"ISBN 0672328798", "id=0612345678", "0612345678-01", "v0612345678", "0000123456", "a total of " + national("IT")} {
		require.Empty(t, typesOf(e, no), no)
	}
}
