package detect

// digit is the value of an ASCII digit.
func digit(c byte) int { return int(c - '0') }

// luhn says whether the digits have a valid Luhn check digit.
func luhn(d string) bool {
	sum := 0
	for i := range len(d) {
		v := digit(d[len(d)-1-i])
		if i%2 == 1 {
			if v *= 2; v > 9 {
				v -= 9
			}
		}
		sum += v
	}
	return len(d) > 1 && sum%10 == 0
}

// weighted is the sum of the first digits by their weights.
func weighted(d string, weights ...int) int {
	sum := 0
	for i, w := range weights {
		sum += digit(d[i]) * w
	}
	return sum
}

// mod97 is the decimal number d modulo 97.
func mod97(d string) int {
	r := 0
	for i := range len(d) {
		r = (r*10 + digit(d[i])) % 97
	}
	return r
}

// mod1110 says whether the last digit is the check digit of ISO 7064 MOD 11,10.
func mod1110(d string) bool {
	p := 10
	for i := range len(d) - 1 {
		s := (p + digit(d[i])) % 10
		if s == 0 {
			s = 10
		}
		p = s * 2 % 11
	}
	return (11-p)%10 == digit(d[len(d)-1])
}

var verhoeffD = [10][10]uint8{
	{0, 1, 2, 3, 4, 5, 6, 7, 8, 9},
	{1, 2, 3, 4, 0, 6, 7, 8, 9, 5},
	{2, 3, 4, 0, 1, 7, 8, 9, 5, 6},
	{3, 4, 0, 1, 2, 8, 9, 5, 6, 7},
	{4, 0, 1, 2, 3, 9, 5, 6, 7, 8},
	{5, 9, 8, 7, 6, 0, 4, 3, 2, 1},
	{6, 5, 9, 8, 7, 1, 0, 4, 3, 2},
	{7, 6, 5, 9, 8, 2, 1, 0, 4, 3},
	{8, 7, 6, 5, 9, 3, 2, 1, 0, 4},
	{9, 8, 7, 6, 5, 4, 3, 2, 1, 0},
}

var verhoeffP = [8][10]uint8{
	{0, 1, 2, 3, 4, 5, 6, 7, 8, 9},
	{1, 5, 7, 6, 2, 8, 3, 0, 9, 4},
	{5, 8, 0, 3, 7, 9, 6, 1, 4, 2},
	{8, 9, 1, 6, 0, 4, 3, 5, 2, 7},
	{9, 4, 5, 3, 1, 2, 6, 8, 7, 0},
	{4, 2, 8, 6, 5, 7, 3, 9, 0, 1},
	{2, 7, 9, 3, 8, 0, 6, 4, 1, 5},
	{7, 0, 4, 6, 9, 1, 3, 2, 5, 8},
}

// verhoeff says whether the digits have a valid Verhoeff check digit.
func verhoeff(d string) bool {
	c := uint8(0)
	for i := range len(d) {
		c = verhoeffD[c][verhoeffP[i%8][digit(d[len(d)-1-i])]]
	}
	return c == 0
}

// allSame says whether all bytes are the same.
func allSame(d string) bool {
	for i := 1; i < len(d); i++ {
		if d[i] != d[0] {
			return false
		}
	}
	return true
}

// sequential says whether each digit is the one before plus one, or minus one.
func sequential(d string) bool {
	up, down := true, true
	for i := 1; i < len(d); i++ {
		up = up && d[i] == '0'+(d[i-1]-'0'+1)%10
		down = down && d[i] == '0'+(d[i-1]-'0'+9)%10
	}
	return up || down
}

func num(d string) int {
	n := 0
	for i := range len(d) {
		n = n*10 + digit(d[i])
	}
	return n
}

// date says whether there is such a day. A year of 0 stands for one that isn't
// known: February may have 29 days.
func date(year, month, day int) bool {
	if month < 1 || month > 12 || day < 1 || day > 31 {
		return false
	}
	if month == 2 && day == 29 {
		return year%4 == 0 && (year%100 != 0 || year%400 == 0)
	}
	return day <= int(daysOf[month])
}

// daysOf are the days of months, without leap days.
var daysOf = [...]uint8{1: 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}

// yymmdd says whether six digits are a date of some century.
func yymmdd(d string) bool {
	y, m, day := num(d[:2]), num(d[2:4]), num(d[4:6])
	return date(1900+y, m, day) || date(2000+y, m, day)
}

// ddmmyy is yymmdd in the other order.
func ddmmyy(d string) bool { return yymmdd(d[4:6] + d[2:4] + d[:2]) }
