package detect

import (
	"slices"
	"strings"
)

// Numbers of payment, banks, persons and companies. Each function follows the
// published definition of its number; the rules name the source.

// validators are the built-in matchers by the names that rules use.
var validators map[string]*validator

func init() {
	n := func(f func(*number) fit, digits ...int) *validator {
		return &validator{number: f, digits: digits, checked: true}
	}
	// weak numbers have a shape and no checksum
	w := func(f func(*number) fit, digits ...int) *validator { return &validator{number: f, digits: digits} }
	t := func(f func(string, int, int) (int, int, fit), kinds tokenKinds, minDigits, lo, hi int) *validator {
		return &validator{token: f, tokenKinds: kinds, tokenDigits: minDigits, tokenMin: lo, tokenMax: hi, checked: true}
	}
	wt := func(f func(string, int, int) (int, int, fit), kinds tokenKinds, minDigits, lo, hi int) *validator {
		return &validator{token: f, tokenKinds: kinds, tokenDigits: minDigits, tokenMin: lo, tokenMax: hi}
	}
	const (
		digits  = digitToken
		letter  = letterToken
		mixed   = mixedToken
		anyKind = digitToken | letterToken | mixedToken
	)
	validators = map[string]*validator{
		"card":             n(card, 12, 13, 14, 15, 16, 17, 18, 19),
		"aba":              n(aba, 9),
		"us_ssn":           n(ssn, 9),
		"us_itin":          n(itin, 9),
		"us_ssn_spaced":    n(ssnSpaced, 9),
		"ng_nin":           w(func(n *number) fit { return when(n.plain() && n.digits[0] != '0', weakFit) }, 11),
		"de_steuernummer":  w(deSteuernummer, 10, 11, 13),
		"kr_licence":       w(func(n *number) fit { return when(n.shape(2, 2, 6, 2) && n.sep == '-', weakFit) }, 12),
		"de_kvnr":          t(deKVNR, letter, 9, 10, 10),
		"it_licence":       wt(itLicence, letter, 2, 10, 10),
		"us_ein":           w(func(n *number) fit { return when(n.shape(2, 7), weakFit) }, 9),
		"us_npi":           n(npi, 10),
		"nhs":              n(nhs, 10),
		"uk_utr":           n(utr, 10),
		"sort_code":        w(sortCode, 6, 14),
		"account_number":   w(accountNumber, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17),
		"de_tax_id":        n(deTaxID, 11),
		"fr_nir":           n(frNIR, 15),
		"it_vat":           n(itVAT, 11),
		"nl_bsn":           n(nlBSN, 9),
		"pl_pesel":         n(plPESEL, 11),
		"pl_nip":           n(plNIP, 10),
		"be_national":      n(beNational, 11),
		"se_personnummer":  n(sePersonnummer, 10, 12),
		"dk_cpr":           w(dkCPR, 10),
		"no_fnr":           n(noFNR, 11),
		"pt_nif":           n(ptNIF, 9),
		"at_svnr":          n(atSVNR, 10),
		"ch_ahv":           n(chAHV, 13),
		"cz_rc":            n(czRC, 9, 10),
		"ro_cnp":           n(roCNP, 13),
		"bg_egn":           n(bgEGN, 10),
		"hr_oib":           n(func(n *number) fit { return when(n.plain() && mod1110(n.digits), weakFit) }, 11),
		"ee_lt_id":         n(eeltID, 11),
		"gr_afm":           n(grAFM, 9),
		"hu_taj":           n(huTAJ, 9),
		"si_emso":          n(siEMSO, 13),
		"tr_tckn":          n(trTCKN, 11),
		"za_id":            n(zaID, 13),
		"in_aadhaar":       n(inAadhaar, 12),
		"au_tfn":           n(auTFN, 8, 9),
		"au_acn":           n(auACN, 9),
		"au_abn":           n(auABN, 11),
		"au_medicare":      n(auMedicare, 10, 11),
		"ca_sin":           n(caSIN, 9),
		"nz_ird":           n(nzIRD, 8, 9),
		"br_cpf":           n(brCPF, 11),
		"br_cnpj":          n(brCNPJ, 14),
		"ar_cuit":          n(arCUIT, 11),
		"kr_rrn":           n(krRRN, 13),
		"kr_brn":           n(krBRN, 10),
		"jp_my_number":     n(jpMyNumber, 12),
		"il_id":            n(ilID, 9),
		"th_id":            n(thID, 13),
		"cn_id":            t(cnID, digits|mixed, 17, 18, 18),
		"es_dni":           t(esDNI, anyKind, 6, 7, 9),
		"it_cf":            t(itCF, letter, 1, 16, 16),
		"fi_hetu":          t(fiHETU, digits|mixed, 6, 6, 11),
		"ie_pps":           t(iePPS, mixed, 7, 8, 9),
		"uk_nino":          t(ukNINO, digits|letter, 1, 2, 9),
		"de_rvnr":          t(deRVNR, digits|mixed, 2, 2, 12),
		"iban":             t(iban, letter, 2, 4, 34),
		"sg_nric":          t(sgNRIC, letter, 7, 9, 9),
		"hk_id":            t(hkID, letter, 5, 7, 8),
		"tw_id":            t(twID, letter, 9, 10, 10),
		"cl_rut":           t(clRUT, digits, 1, 1, 8),
		"mx_curp":          t(mxCURP, letter, 7, 18, 18),
		"in_pan":           wt(inPAN, letter, 4, 10, 10),
		"in_gstin":         t(inGSTIN, mixed, 6, 15, 15),
		"in_voter":         wt(letters(3, 7), letter, 7, 10, 10),
		"us_dea":           t(usDEA, letter, 6, 9, 9),
		"us_mbi":           wt(usMBI, mixed, 2, 4, 11),
		"de_id_card":       t(dePassport, letter, 1, 9, 10),
		"kr_passport":      wt(krPassport, letter, 7, 9, 9),
		"icao_letters":     wt(passportShape, anyKind, 4, 7, 9),
		"passport_letters": wt(passportLetters, letter, 7, 9, 9),
		"it_id_card":       wt(itIDCard, anyKind, 5, 7, 9),
		"discord_token":    t(discordToken, letter, 1, 24, 26),
		"icd10_short":      wt(icd10Short, letter, 2, 3, 3),
		"icd10":            wt(icd10, letter, 1, 3, 3),
		"eu_vat":           t(euVAT, letter, 7, 4, 14),
		"uk_licence":       wt(ukLicence, letter, 6, 16, 18),
		"licence_shape":    wt(licenceShape, anyKind, 1, 2, 16),
		"code_shape":       wt(codeShape, anyKind, 1, 4, 20),
		"id_shape":         wt(idShape, anyKind, 1, 1, 20),
		"sg_uen":           t(sgUEN, letter|mixed, 6, 9, 10),
		"se_orgnr":         n(seOrgnr, 10),
		"mx_rfc":           wt(mxRFC, letter, 6, 12, 13),
		"crypto_address":   t(cryptoAddress, letter|mixed|digits, 1, 26, 62),
		"vin":              t(vin, letter|mixed, 1, 17, 17),
		"imei":             n(imei, 15),
		"swift":            {keyword: swiftNear, checked: true},
		"ipv4":             {run: ipv4, beside: ".", checked: true},
		"ipv6":             {run: ipv6, beside: ":", checked: true},
		"mac":              {run: mac, beside: ":-.", checked: true},
		"mac_near":         {keyword: macNear, checked: true},
		"phone":            {run: phone},
		"email":            {at: email, checked: true},
		"date_near":        {keyword: dateNear},
		"name_near":        {keyword: nameNear},
		"street_number":    {run: streetNumber, beside: " "},
		"address_suffix":   {keyword: addressSuffix},
		"address_prefix":   {keyword: addressPrefix},
		"address_compound": {keyword: addressCompound},
		"short_code":       {keyword: shortCode},
		"url_password":     {at: urlPassword, checked: true, judges: true},
		"assignment":       {keyword: assignment},
		"provider":         {keyword: provider},
		"prefixed_token":   {keyword: prefixedToken},
		"basic_auth":       {keyword: basicAuth},
		"password":         {keyword: password},
		"command_password": {keyword: commandPassword},
		"call_password":    {keyword: callPassword},
		"seed_phrase":      {keyword: seedPhrase, long: true},
		"jwt":              {keyword: jwt, checked: true},
		"private_key":      {keyword: privateKey, checked: true, long: true},
		"source_code":      {keyword: sourceCode, long: true},
		"username_near":    {keyword: usernameNear},
		"hashed":           {},
	}
}

// when is f if ok, else noFit.
func when(ok bool, f fit) fit {
	if ok {
		return f
	}
	return noFit
}

// issuerRanges are the first digits of payment cards and their lengths.
var issuerRanges = []struct {
	lo, hi  int // of the first six digits
	lengths []int
}{
	{400000, 499999, []int{13, 16, 18, 19}},                 // Visa
	{510000, 559999, []int{16}},                             // Mastercard
	{222100, 272099, []int{16}},                             // Mastercard
	{340000, 349999, []int{15}},                             // American Express
	{370000, 379999, []int{15}},                             // American Express
	{300000, 305999, []int{14, 16, 17, 18, 19}},             // Diners Club
	{309500, 309599, []int{14, 16}},                         // Diners Club
	{360000, 369999, []int{14, 15, 16, 17, 18, 19}},         // Diners Club
	{380000, 399999, []int{14, 16, 17, 18, 19}},             // Diners Club, Discover
	{352800, 358999, []int{16, 17, 18, 19}},                 // JCB
	{601100, 601199, []int{16, 17, 18, 19}},                 // Discover
	{622126, 622925, []int{16, 17, 18, 19}},                 // Discover, UnionPay
	{644000, 659999, []int{16, 17, 18, 19}},                 // Discover, RuPay
	{620000, 629999, []int{16, 17, 18, 19}},                 // UnionPay
	{810000, 817199, []int{16, 17, 18, 19}},                 // UnionPay
	{213100, 213199, []int{15}},                             // JCB, the older
	{180000, 180099, []int{15}},                             // JCB, the older
	{500000, 509999, []int{12, 13, 14, 15, 16, 17, 18, 19}}, // Maestro, Elo, Verve
	{560000, 589999, []int{12, 13, 14, 15, 16, 17, 18, 19}}, // Maestro
	{600000, 609999, []int{16, 17, 18, 19}},                 // RuPay, Hipercard
	{630000, 639999, []int{16, 17, 18, 19}},                 // Maestro, InstaPayment, Elo
	{670000, 679999, []int{12, 13, 14, 15, 16, 17, 18, 19}}, // Maestro
	{220000, 220499, []int{16, 17, 18, 19}},                 // Mir
	{979200, 979299, []int{16}},                             // Troy
}

// card is a payment card number: Luhn and a range that issuers have.
func card(n *number) fit {
	if !n.plain() {
		if n.mixed || n.sep == '/' {
			return noFit
		}
		for i, g := range n.groups {
			if g < 3 || g > 7 {
				if i < len(n.groups)-1 || g < 1 {
					return noFit
				}
			}
		}
		if len(n.groups) > 5 || n.groups[0] < 4 {
			return noFit
		}
	}
	d := n.digits
	if !luhn(d) || allSame(d[:len(d)-1]) {
		return noFit
	}
	bin := num(d[:6])
	for _, r := range issuerRanges {
		if bin >= r.lo && bin <= r.hi && slices.Contains(r.lengths, len(d)) {
			// without separators, lengths and ranges that few cards have are as
			// often something else
			if n.plain() && (len(d) != 15 && len(d) != 16 || d[0] == '5' && d[1] == '0' || d[0] < '3' && len(d) == 15) && d[0] != '3' {
				return weakFit
			}
			if len(d) == 12 { // as many as other numbers in groups of four
				return weakFit
			}
			return goodFit
		}
	}
	// ranges that are not published: behind a word for cards
	return when(d[0] >= '2' && d[0] <= '6', weakFit)
}

// aba is a routing number of US banks: a Federal Reserve prefix and a checksum.
func aba(n *number) fit {
	d := n.digits
	p := num(d[:2])
	if !(p <= 12 || p >= 21 && p <= 32 || p >= 61 && p <= 72 || p == 80) || allSame(d) {
		return noFit
	}
	if weighted(d, 3, 7, 1, 3, 7, 1, 3, 7, 1)%10 != 0 {
		return noFit
	}
	return when(n.plain() || n.shape(4, 4, 1), weakFit)
}

// ssn is a US social security number: no area 000, 666 or 9xx, no group 00, no
// serial 0000, and none of the numbers that are known from advertisements.
func ssn(n *number) fit {
	d := n.digits
	if d[:3] == "000" || d[:3] == "666" || d[0] == '9' || d[3:5] == "00" || d[5:] == "0000" {
		return noFit
	}
	switch d {
	case "078051120", "219099999", "123456789", "457555462":
		return noFit
	}
	if allSame(d) {
		return noFit
	}
	if n.shape(3, 2, 4) && n.sep == '-' {
		return goodFit
	}
	return when(n.plain(), weakFit)
}

// ssnSpaced is ssn with spaces or dots.
func ssnSpaced(n *number) fit {
	if !n.shape(3, 2, 4) || n.sep != ' ' && n.sep != '.' {
		return noFit
	}
	dashed := *n
	dashed.sep = '-'
	return ssn(&dashed)
}

// itin is a US individual taxpayer number: 9xx with a group that is given out.
func itin(n *number) fit {
	d := n.digits
	g := num(d[3:5])
	if d[0] != '9' || !(g >= 50 && g <= 65 || g >= 70 && g <= 88 || g >= 90 && g <= 92 || g >= 94) {
		return noFit
	}
	if n.shape(3, 2, 4) && n.sep == '-' {
		return goodFit
	}
	return when(n.plain() || n.shape(3, 2, 4) || n.shape(3, 6) || n.shape(5, 4), weakFit)
}

func npi(n *number) fit {
	return when(n.plain() && (n.digits[0] == '1' || n.digits[0] == '2') && luhn("80840"+n.digits), weakFit)
}

// nhs is a number of the NHS in England: modulus 11.
func nhs(n *number) fit {
	d := n.digits
	if allSame(d) {
		return noFit
	}
	c := 11 - weighted(d, 10, 9, 8, 7, 6, 5, 4, 3, 2)%11
	if c == 11 {
		c = 0
	}
	if c == 10 || c != digit(d[9]) {
		return noFit
	}
	if n.shape(3, 3, 4) && (n.sep == ' ' || n.sep == '-') {
		return goodFit
	}
	return when(n.plain(), weakFit)
}

func utr(n *number) fit {
	d := n.digits
	c := "21987654321"[weighted(d[1:], 6, 7, 8, 9, 10, 5, 4, 3, 2)%11]
	return when(c == d[0] && (n.plain() || n.shape(5, 5)), weakFit)
}

// sortCode is a UK sort code, with the account number behind it when that
// follows.
func sortCode(n *number) fit {
	if n.shape(2, 2, 2) && n.sep != '/' && n.sep != '.' {
		return weakFit
	}
	if len(n.digits) == 14 && len(n.groups) == 4 && n.groups[0] == 2 && n.groups[1] == 2 && n.groups[2] == 2 && n.groups[3] == 8 {
		return weakFit
	}
	return when(n.plain() && len(n.digits) == 6, weakFit)
}

func accountNumber(n *number) fit {
	if allSame(n.digits) || n.sep == '/' || n.sep == '.' || n.mixed {
		return noFit
	}
	return when(n.plain() || len(n.groups) <= 4, weakFit)
}

// deTaxID is the German Steuer-ID: ISO 7064 MOD 11,10 and, in the first ten
// digits, one digit twice or three times and all others at most once.
func deTaxID(n *number) fit {
	d := n.digits
	if d[0] == '0' || !mod1110(d) {
		return noFit
	}
	var c [10]int
	for i := range 10 {
		c[digit(d[i])]++
	}
	many := 0
	for _, k := range c {
		if k > 3 {
			return noFit
		}
		if k > 1 {
			many++
		}
	}
	if many != 1 {
		return noFit
	}
	if n.shape(2, 3, 3, 3) && n.sep == ' ' {
		return goodFit
	}
	return when(n.plain(), weakFit)
}

// frNIR is the French social security number: sex, year, month, department,
// municipality, order, and a key modulo 97.
func frNIR(n *number) fit {
	d := n.digits
	if d[0] != '1' && d[0] != '2' {
		return noFit
	}
	if m := num(d[3:5]); !(m >= 1 && m <= 12 || m >= 20 && m <= 42 || m >= 50) {
		return noFit
	}
	if mod97(d[:13])+num(d[13:]) != 97 {
		return noFit
	}
	return goodFit
}

func itVAT(n *number) fit {
	d := n.digits
	return when(n.plain() && luhn(d) && d[:7] != "0000000", weakFit)
}

func nlBSN(n *number) fit {
	d := n.digits
	if allSame(d) || (weighted(d, 9, 8, 7, 6, 5, 4, 3, 2)-digit(d[8]))%11 != 0 {
		return noFit
	}
	return when(n.plain() || n.shape(3, 3, 3) || n.shape(4, 2, 3), weakFit)
}

func plPESEL(n *number) fit {
	d := n.digits
	m := num(d[2:4]) % 20
	century := []int{1900, 2000, 2100, 2200, 1800}[num(d[2:4])/20]
	if !n.plain() || !date(century+num(d[:2]), m, num(d[4:6])) || weighted(d, 1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)%10 != 0 {
		return noFit
	}
	return goodFit
}

func plNIP(n *number) fit {
	d := n.digits
	return when(weighted(d, 6, 5, 7, 2, 3, 4, 5, 6, 7)%11 == digit(d[9]), weakFit)
}

// beNational is the Belgian national number: a date of birth, an order, and 97
// minus the number modulo 97, for births from 2000 with a 2 before it.
func beNational(n *number) fit {
	d := n.digits
	m, day := num(d[2:4]), num(d[4:6])
	if m > 12 {
		m = m % 20
	}
	if m > 12 || day > 31 || d[6:9] == "000" {
		return noFit
	}
	c := num(d[9:])
	if 97-mod97(d[:9]) != c && 97-mod97("2"+d[:9]) != c {
		return noFit
	}
	if lens := string(n.groups); lens != "\x02\x02\x02\x03\x02" && lens != "\x06\x03\x02" || m == 0 || day == 0 {
		return when(n.plain(), weakFit)
	}
	return goodFit
}

func sePersonnummer(n *number) fit {
	d := n.digits
	if len(d) == 12 {
		if c := d[:2]; c != "18" && c != "19" && c != "20" {
			return noFit
		}
		d = d[2:]
	}
	day := num(d[4:6])
	if day > 60 {
		day -= 60
	}
	if !date(0, num(d[2:4]), day) || !luhn(d) {
		return noFit
	}
	if len(n.groups) == 2 && n.sep == '-' && n.groups[1] == 4 {
		return goodFit
	}
	return when(n.plain(), weakFit)
}

func dkCPR(n *number) fit {
	if !ddmmyy(n.digits) {
		return noFit
	}
	return when(n.shape(6, 4) && n.sep == '-' || n.plain(), weakFit)
}

func noFNR(n *number) fit {
	d := n.digits
	day, m := num(d[:2]), num(d[2:4])
	if day > 40 {
		day -= 40
	}
	if m > 40 {
		m -= 40
	}
	if !date(0, m, day) {
		return noFit
	}
	if (weighted(d, 3, 7, 6, 1, 8, 9, 4, 5, 2)+digit(d[9]))%11 != 0 || (weighted(d, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)+digit(d[10]))%11 != 0 {
		return noFit
	}
	return when(n.plain() || n.shape(6, 5), goodFit)
}

func ptNIF(n *number) fit {
	d := n.digits
	if !strings.ContainsRune("1235689", rune(d[0])) && d[:2] != "45" && d[:2] != "70" && d[:2] != "71" && d[:2] != "72" && d[:2] != "77" && d[:2] != "79" {
		return noFit
	}
	c := 11 - weighted(d, 9, 8, 7, 6, 5, 4, 3, 2)%11
	if c > 9 {
		c = 0
	}
	return when(c == digit(d[8]) && (n.plain() || n.shape(3, 3, 3)), weakFit)
}

func atSVNR(n *number) fit {
	d := n.digits
	m := num(d[6:8])
	if d[0] == '0' || !(date(0, m, num(d[4:6])) || m > 12 && m < 16) {
		return noFit
	}
	c := (weighted(d, 3, 7, 9) + weighted(d[4:], 5, 8, 4, 2, 1, 6)) % 11
	if c != digit(d[3]) {
		return noFit
	}
	if n.shape(4, 6) {
		return goodFit
	}
	return when(n.plain(), weakFit)
}

func ean13(d string) bool {
	return (weighted(d, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3)+digit(d[12]))%10 == 0
}

func chAHV(n *number) fit {
	if n.digits[:3] != "756" || !ean13(n.digits) {
		return noFit
	}
	return goodFit
}

func czRC(n *number) fit {
	d := n.digits
	if n.sep != 0 && n.sep != '/' {
		return noFit
	}
	m := num(d[2:4])
	for _, off := range []int{70, 50, 20} {
		if m > off {
			m -= off
			break
		}
	}
	if !date(0, m, num(d[4:6])) {
		return noFit
	}
	if len(d) == 9 {
		return when(n.shape(6, 3) && num(d[:2]) < 54, weakFit)
	}
	if num(d[:9])%11%10 != digit(d[9]) {
		return noFit
	}
	if n.shape(6, 4) {
		return goodFit
	}
	return when(n.plain(), weakFit)
}

func roCNP(n *number) fit {
	d := n.digits
	if !n.plain() || d[0] == '0' || !yymmdd(d[1:7]) {
		return noFit
	}
	if j := num(d[7:9]); j < 1 || j > 52 {
		return noFit
	}
	c := weighted(d, 2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9) % 11
	if c == 10 {
		c = 1
	}
	return when(c == digit(d[12]), goodFit)
}

func bgEGN(n *number) fit {
	d := n.digits
	m := num(d[2:4])
	if m > 40 {
		m -= 40
	} else if m > 20 {
		m -= 20
	}
	if !n.plain() || !date(0, m, num(d[4:6])) {
		return noFit
	}
	return when(weighted(d, 2, 4, 8, 5, 10, 9, 7, 3, 6)%11%10 == digit(d[9]), weakFit)
}

func eeltID(n *number) fit {
	d := n.digits
	if !n.plain() || d[0] < '1' || d[0] > '6' || !yymmdd(d[1:7]) {
		return noFit
	}
	c := weighted(d, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1) % 11
	if c == 10 {
		if c = weighted(d, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3) % 11; c == 10 {
			c = 0
		}
	}
	return when(c == digit(d[10]), goodFit)
}

func grAFM(n *number) fit {
	d := n.digits
	return when(n.plain() && weighted(d, 256, 128, 64, 32, 16, 8, 4, 2)%11%10 == digit(d[8]) && !allSame(d), weakFit)
}

func huTAJ(n *number) fit {
	d := n.digits
	return when((n.plain() || n.shape(3, 3, 3)) && weighted(d, 3, 7, 3, 7, 3, 7, 3, 7)%10 == digit(d[8]) && !allSame(d), weakFit)
}

func siEMSO(n *number) fit {
	d := n.digits
	if !n.plain() || !date(0, num(d[2:4]), num(d[:2])) || d[4] != '9' && d[4] != '0' {
		return noFit
	}
	c := 11 - weighted(d, 7, 6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)%11
	if c > 9 {
		c = 0
	}
	return when(c == digit(d[12]), goodFit)
}

// trTCKN is the Turkish identity number: two check digits.
func trTCKN(n *number) fit {
	d := n.digits
	if !n.plain() || d[0] == '0' {
		return noFit
	}
	odd := digit(d[0]) + digit(d[2]) + digit(d[4]) + digit(d[6]) + digit(d[8])
	even := digit(d[1]) + digit(d[3]) + digit(d[5]) + digit(d[7])
	if ((odd*7-even)%10+10)%10 != digit(d[9]) || (odd+even+digit(d[9]))%10 != digit(d[10]) {
		return noFit
	}
	return goodFit
}

func zaID(n *number) fit {
	d := n.digits
	if !n.plain() && !n.shape(6, 4, 3) && !n.shape(6, 4, 2, 1) {
		return noFit
	}
	return when(yymmdd(d[:6]) && d[10] <= '2' && luhn(d), goodFit)
}

func inAadhaar(n *number) fit {
	d := n.digits
	if d[0] < '2' || !verhoeff(d) || d == reversed(d) {
		return noFit
	}
	if n.shape(4, 4, 4) && n.sep != '/' && n.sep != '.' {
		return goodFit
	}
	return when(n.plain(), weakFit)
}

func reversed(s string) string {
	b := []byte(s)
	slices.Reverse(b)
	return string(b)
}

func auTFN(n *number) fit {
	d := n.digits
	if !n.plain() && !n.shape(3, 3, 3) && !n.shape(3, 3, 2) {
		return noFit
	}
	if allSame(d) {
		return noFit
	}
	if len(d) == 8 {
		return when(weighted(d, 10, 7, 8, 4, 6, 3, 5, 1)%11 == 0, weakFit)
	}
	return when(weighted(d, 1, 4, 3, 7, 5, 8, 6, 9, 10)%11 == 0, weakFit)
}

func auACN(n *number) fit {
	d := n.digits
	if !n.plain() && !n.shape(3, 3, 3) {
		return noFit
	}
	return when((10-weighted(d, 8, 7, 6, 5, 4, 3, 2, 1)%10)%10 == digit(d[8]) && !allSame(d), weakFit)
}

func auABN(n *number) fit {
	d := n.digits
	if !n.plain() && !n.shape(2, 3, 3, 3) || d[0] == '0' {
		return noFit
	}
	if (weighted(d, 10, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19)-10)%89 != 0 {
		return noFit
	}
	if n.shape(2, 3, 3, 3) {
		return goodFit
	}
	return weakFit
}

func auMedicare(n *number) fit {
	d := n.digits
	if d[0] < '2' || d[0] > '6' || weighted(d, 1, 3, 7, 9, 1, 3, 7, 9)%10 != digit(d[8]) {
		return noFit
	}
	if n.shape(4, 5, 1) {
		return goodFit
	}
	return when(n.plain(), weakFit)
}

func caSIN(n *number) fit {
	d := n.digits
	if d[0] == '0' || d[0] == '8' || !luhn(d) || allSame(d) {
		return noFit
	}
	return when(n.plain() || n.shape(3, 3, 3), weakFit)
}

func nzIRD(n *number) fit {
	d, skip := n.digits, 9-len(n.digits) // one of eight digits has a 0 before it
	if v := num(d); v < 10000000 || v > 150000000 {
		return noFit
	}
	check := func(w ...int) int {
		r := weighted(d, w[skip:]...) % 11
		if r == 0 {
			return 0
		}
		return 11 - r
	}
	c := check(3, 2, 7, 6, 5, 4, 3, 2)
	if c == 10 {
		c = check(7, 4, 3, 2, 5, 2, 7, 6)
	}
	return when(c == digit(d[len(d)-1]), weakFit)
}

// mod11Pair is a Brazilian check digit.
func mod11Pair(d string, weights []int, want byte) bool {
	r := weighted(d, weights...) % 11
	c := 0
	if r >= 2 {
		c = 11 - r
	}
	return c == digit(want)
}

func brCPF(n *number) fit {
	d := n.digits
	if allSame(d) || !mod11Pair(d, []int{10, 9, 8, 7, 6, 5, 4, 3, 2}, d[9]) || !mod11Pair(d, []int{11, 10, 9, 8, 7, 6, 5, 4, 3, 2}, d[10]) {
		return noFit
	}
	if len(n.groups) == 4 {
		return goodFit
	}
	return when(n.plain(), weakFit)
}

func brCNPJ(n *number) fit {
	d := n.digits
	return when(!allSame(d) && mod11Pair(d, []int{5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2}, d[12]) &&
		mod11Pair(d, []int{6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2}, d[13]), goodFit)
}

func arCUIT(n *number) fit {
	d := n.digits
	switch d[:2] {
	case "20", "23", "24", "25", "26", "27", "30", "33", "34":
	default:
		return noFit
	}
	c := 11 - weighted(d, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)%11
	if c == 11 {
		c = 0
	} else if c == 10 {
		c = 9
	}
	if c != digit(d[10]) {
		return noFit
	}
	if n.shape(2, 8, 1) {
		return goodFit
	}
	return when(n.plain(), weakFit)
}

// krRRN is the Korean resident number. Those given since October 2020 have no
// check digit, so that the form with a hyphen counts without.
func krRRN(n *number) fit {
	d := n.digits
	if !yymmdd(d[:6]) || d[6] == '0' || d[6] > '8' {
		return noFit
	}
	ok := (11-weighted(d, 2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)%11)%10 == digit(d[12])
	switch {
	case n.shape(6, 7) && n.sep == '-':
		return goodFit
	case n.plain() && ok:
		return weakFit
	}
	return noFit
}

func krBRN(n *number) fit {
	d := n.digits
	last := digit(d[8]) * 5 // counts with its tens
	sum := weighted(d, 1, 3, 7, 1, 3, 7, 1, 3) + last + last/10
	return when((10-sum%10)%10 == digit(d[9]) && (n.shape(3, 2, 5) || n.plain()), weakFit)
}

func jpMyNumber(n *number) fit {
	d := n.digits
	r := weighted(d, 6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2) % 11
	c := 0
	if r > 1 {
		c = 11 - r
	}
	return when(c == digit(d[11]) && (n.plain() || n.shape(4, 4, 4)) && !allSame(d), weakFit)
}

func ilID(n *number) fit { return when(n.plain() && luhn(n.digits) && !allSame(n.digits), weakFit) }

func thID(n *number) fit {
	d := n.digits
	if d[0] == '0' || d[0] == '9' || (11-weighted(d, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2)%11)%10 != digit(d[12]) {
		return noFit
	}
	if n.shape(1, 4, 5, 2, 1) {
		return goodFit
	}
	return when(n.plain(), weakFit)
}

func imei(n *number) fit {
	return when(luhn(n.digits) && (n.plain() || n.shape(2, 6, 6, 1)), weakFit)
}

// allDigits says whether s is digits.
func allDigits(s string) bool {
	for i := range len(s) {
		if !isDigit(s[i]) {
			return false
		}
	}
	return s != ""
}

func allLetters(s string) bool {
	for i := range len(s) {
		if !isLetter(s[i]) {
			return false
		}
	}
	return s != ""
}

// sameCase says whether all letters are capitals, or all small.
func sameCase(s string) bool { return s == strings.ToUpper(s) || s == strings.ToLower(s) }

// cnID is the Chinese resident number: region, date of birth, order, ISO 7064
// MOD 11-2.
func cnID(t string, start, end int) (int, int, fit) {
	d := t[start:end]
	if !allDigits(d[:17]) || !isDigit(d[17]) && d[17]|0x20 != 'x' || d[0] == '0' || d[0] == '9' {
		return 0, 0, noFit
	}
	if y := num(d[6:10]); y < 1900 || y > 2099 || !date(y, num(d[10:12]), num(d[12:14])) {
		return 0, 0, noFit
	}
	c := "10X98765432"[weighted(d, 7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)%11]
	return start, end, when(c == d[17]&^0x20 || c == d[17], goodFit)
}

const dniLetters = "TRWAGMYFPDXBNJZSQVHLCKE"

// esDNI is the Spanish DNI, or the NIE of foreigners: a check letter.
func esDNI(t string, start, end int) (int, int, fit) {
	if start >= 2 && t[start-1] == '.' && isDigit(t[start-2]) {
		return 0, 0, noFit // a fraction of a second
	}
	// the letter may stand apart: 12345678-Z
	if (end-start == 8 || end-start == 7 && t[end-1] != '-') && end+1 < len(t) && (t[end] == '-' || t[end] == ' ') && isUpper(t[end+1]) && (end+2 == len(t) || !isAlnum(t[end+2])) {
		d := t[start:end]
		if allDigits(d) || strings.ContainsRune("XYZ", rune(d[0])) && allDigits(d[1:]) {
			return start, end + 2, dniFit(("0" + d)[len(d)-7:] + t[end+1:end+2])
		}
	}
	if end-start == 8 && start >= 2 && (t[start-1] == '-' || t[start-1] == ' ') && strings.ContainsRune("XYZ", rune(t[start-2])) && (start == 2 || !isAlnum(t[start-3])) {
		return start - 2, end, dniFit(t[start-2:start-1] + t[start:end])
	}
	if end-start != 9 && end-start != 8 {
		return 0, 0, noFit
	}
	d := t[start:end]
	if len(d) == 8 && allDigits(d[:7]) && isLetter(d[7]) {
		d = "0" + d
		if f := dniFit(d); f != noFit {
			return start, end, weakFit
		}
		return 0, 0, noFit
	}
	return start, end, dniFit(d)
}

func dniFit(d string) fit {
	if len(d) != 9 || !isLetter(d[8]) {
		return noFit
	}
	f := goodFit
	if isLower(d[8]) {
		f = weakFit // as often a number in base 16
	}
	d = strings.ToUpper(d)
	if i := strings.IndexByte("XYZ", d[0]); i >= 0 {
		d = string('0'+byte(i)) + d[1:]
	}
	if !allDigits(d[:8]) || d[:8] == "00000000" {
		return noFit
	}
	return when(dniLetters[num(d[:8])%23] == d[8], f)
}

// cfOdd are the values of characters in odd places of a codice fiscale.
var cfOdd = map[byte]int{
	'0': 1, '1': 0, '2': 5, '3': 7, '4': 9, '5': 13, '6': 15, '7': 17, '8': 19, '9': 21,
	'A': 1, 'B': 0, 'C': 5, 'D': 7, 'E': 9, 'F': 13, 'G': 15, 'H': 17, 'I': 19, 'J': 21, 'K': 2, 'L': 4, 'M': 18, 'N': 20,
	'O': 11, 'P': 3, 'Q': 6, 'R': 8, 'S': 12, 'T': 14, 'U': 16, 'V': 10, 'W': 22, 'X': 25, 'Y': 24, 'Z': 23,
}

// itCF is the Italian codice fiscale of a person: letters of the names, date of
// birth, municipality, check letter.
func itCF(t string, start, end int) (int, int, fit) {
	d := strings.ToUpper(t[start:end])
	const omocodia = "LMNPQRSTUV"
	for i := range len(d) {
		switch i {
		case 6, 7, 9, 10, 12, 13, 14:
			if !isDigit(d[i]) && strings.IndexByte(omocodia, d[i]) < 0 {
				return 0, 0, noFit
			}
		case 8:
			if strings.IndexByte("ABCDEHLMPRST", d[i]) < 0 {
				return 0, 0, noFit
			}
		default:
			if !isLetter(d[i]) {
				return 0, 0, noFit
			}
		}
	}
	sum := 0
	for i := range 15 {
		switch {
		case i%2 == 0:
			sum += cfOdd[d[i]]
		case isDigit(d[i]):
			sum += digit(d[i])
		default:
			sum += int(d[i] - 'A')
		}
	}
	return start, end, when(byte('A'+sum%26) == d[15], goodFit)
}

// fiHETU is the Finnish personal code: date, century sign, order, check
// character.
func fiHETU(t string, start, end int) (int, int, fit) {
	if end-start == 6 {
		if end+5 > len(t) || t[end] != '-' && t[end] != '+' {
			return 0, 0, noFit
		}
		end += 5
		if end < len(t) && isAlnum(t[end]) {
			return 0, 0, noFit
		}
	}
	if end-start != 11 {
		return 0, 0, noFit
	}
	d := strings.ToUpper(t[start:end])
	if !allDigits(d[:6]) || !allDigits(d[7:10]) || !ddmmyy(d[:6]) || strings.IndexByte("-+ABCDEFUVWXY", d[6]) < 0 {
		return 0, 0, noFit
	}
	if num(d[7:10]) < 2 {
		return 0, 0, noFit
	}
	c := "0123456789ABCDEFHJKLMNPRSTUVWXY"[num(d[:6]+d[7:10])%31]
	return start, end, when(c == d[10], goodFit)
}

// iePPS is the Irish PPS number: seven digits, a check letter, perhaps one more.
func iePPS(t string, start, end int) (int, int, fit) {
	d := strings.ToUpper(t[start:end])
	if !allDigits(d[:7]) || !allLetters(d[7:]) {
		return 0, 0, noFit
	}
	sum := weighted(d, 8, 7, 6, 5, 4, 3, 2)
	if len(d) == 9 && d[8] != 'W' {
		sum += 9 * int(d[8]-'A'+1)
	}
	return start, end, when("WABCDEFGHIJKLMNOPQRSTUV"[sum%23] == d[7], weakFit)
}

// maxSpread bounds how far the values of numbers and tokens reach, from where the
// token stands that made them be looked at.
const maxSpread = 128

// spread reads the letters and digits of a code that starts at a place into b, as
// many as it holds, skipping single spaces or hyphens, and returns where it ends.
func spread(b []byte, t string, start int) (end int, ok bool) {
	i := start
	for k := 0; k < len(b); i++ {
		if i >= len(t) {
			return 0, false
		}
		switch c := t[i]; {
		case isAlnum(c):
			b[k] = c
			k++
		case (c == ' ' || c == '-' || c == '.') && k > 0 && isAlnum(t[i-1]):
		default:
			return 0, false
		}
	}
	if i < len(t) && isAlnum(t[i]) {
		return 0, false
	}
	return i, true
}

// ukNINO is a UK national insurance number: a prefix that is given out, six
// digits, A to D.
func ukNINO(t string, start, end int) (int, int, fit) {
	// spaced: the prefix is a token without digits
	if end-start == 2 || end-start == 6 {
		if !allDigits(t[start:end]) || start < 3 || t[start-1] != ' ' && t[start-1] != '-' || !allLetters(t[start-3:start-1]) || start > 3 && isAlnum(t[start-4]) {
			return 0, 0, noFit
		}
		start -= 3
	} else if end-start != 9 && end-start != 8 && end-start != 4 {
		return 0, 0, noFit
	}
	var b [9]byte
	stop, ok := spread(b[:], t, start)
	if !ok || !sameCase(string(b[:])) {
		return 0, 0, noFit
	}
	d := strings.ToUpper(string(b[:]))
	if !allLetters(d[:2]) || !allDigits(d[2:8]) || d[8] < 'A' || d[8] > 'D' {
		return 0, 0, noFit
	}
	if strings.IndexByte("DFIQUV", d[0]) >= 0 || strings.IndexByte("DFIQUVO", d[1]) >= 0 {
		return 0, 0, noFit
	}
	switch d[:2] {
	case "BG", "GB", "NK", "KN", "TN", "NT", "ZZ":
		return 0, 0, noFit
	}
	return start, stop, goodFit
}

// deRVNR is the German pension insurance number: area, date of birth, letter of
// the name, order, check digit.
func deRVNR(t string, start, end int) (int, int, fit) {
	if end-start != 12 && end-start != 2 && end-start != 8 {
		return 0, 0, noFit
	}
	var b [12]byte
	stop, ok := spread(b[:], t, start)
	if !ok || !isUpper(b[8]) {
		return 0, 0, noFit
	}
	d := string(b[:])
	if !allDigits(d[:8]) || !allDigits(d[9:]) {
		return 0, 0, noFit
	}
	day := num(d[2:4])
	if day > 50 {
		day -= 50 // when the numbers of a day are used up
	}
	if !date(0, num(d[4:6]), day) || num(d[:2]) < 2 || num(d[:2]) > 89 {
		return 0, 0, noFit
	}
	letter := int(d[8]-'A') + 1
	e := d[:8] + string('0'+byte(letter/10)) + string('0'+byte(letter%10)) + d[9:11]
	sum := 0
	for i, w := range []int{2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1} {
		p := digit(e[i]) * w
		sum += p/10 + p%10
	}
	return start, stop, when(sum%10 == digit(d[11]), goodFit)
}

// deKVNR is a German health insurance number: a letter and a check digit over
// its place in the alphabet and the digits.
func deKVNR(t string, start, end int) (int, int, fit) {
	d := t[start:end]
	if !isUpper(d[0]) || !allDigits(d[1:]) {
		return 0, 0, noFit
	}
	k := int(d[0]-'A') + 1
	e := string('0'+byte(k/10)) + string('0'+byte(k%10)) + d[1:]
	sum := 0
	for i := range 10 {
		p := digit(e[i]) * (i%2 + 1)
		sum += p/10 + p%10
	}
	return start, end, when(sum%10 == digit(e[10]), weakFit)
}

// deSteuernummer is the German tax number of the regional offices.
func deSteuernummer(n *number) fit {
	return when(n.sep == '/' || n.plain() || n.sep == ' ', weakFit)
}

// itLicence is an Italian driving licence: two letters, seven digits and a
// letter, or U1 and eight characters.
func itLicence(t string, start, end int) (int, int, fit) {
	d := strings.ToUpper(t[start:end])
	return start, end, when(allLetters(d[:2]) && allDigits(d[2:9]) && isLetter(d[9]) || d[0] == 'U' && d[1] == '1', weakFit)
}

// ibanLengths are the lengths of IBANs by country (SWIFT's registry).
var ibanLengths = map[string]int{
	"AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27, "BR": 29, "BY": 28, "CH": 21,
	"CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18, "FK": 18, "FO": 18,
	"FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HN": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23,
	"IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27,
	"MD": 24, "ME": 22, "MK": 19, "MN": 20, "MR": 27, "MT": 31, "MU": 30, "NI": 28, "NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28,
	"PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24, "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24, "SM": 27,
	"SO": 23, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20, "YE": 30,
}

// iban is an international bank account number: the country's length and ISO
// 7064 MOD 97-10.
func iban(t string, start, end int) (int, int, fit) {
	if !isLetter(t[start]) || !isLetter(t[start+1]) || !isDigit(t[start+2]) || !isDigit(t[start+3]) {
		return 0, 0, noFit
	}
	var b [34]byte
	if n, ok := ibanLengths[strings.ToUpper(t[start:start+2])]; ok && end-start <= n {
		if stop, ok := spread(b[:n], t, start); ok && ibanChecks(b[:n]) {
			return start, stop, goodFit
		}
	}
	// of another country, or of a length that the country's don't have
	n, i := 0, start
	for i < len(t) && n < len(b) {
		from := i
		for i < len(t) && isAlnum(t[i]) && n < len(b) {
			b[n] = t[i]
			n++
			i++
		}
		if i-from != 4 || i+1 >= len(t) || t[i] != ' ' || !isAlnum(t[i+1]) {
			break
		}
		i++
	}
	if n < 14 || i < len(t) && isWordByte(t[i]) || !ibanChecks(b[:n]) {
		return 0, 0, noFit
	}
	return start, i, weakFit
}

// ibanChecks says whether the check digits of an IBAN are right.
func ibanChecks(b []byte) bool {
	r := 0
	for i := range b {
		c := b[(i+4)%len(b)]
		if isDigit(c) {
			r = (r*10 + digit(c)) % 97
		} else {
			r = (r*100 + int(c&^0x20-'A') + 10) % 97
		}
	}
	return r == 1
}

func sgNRIC(t string, start, end int) (int, int, fit) {
	d := strings.ToUpper(t[start:end])
	if !allDigits(d[1:8]) {
		return 0, 0, noFit
	}
	sum := weighted(d[1:], 2, 7, 6, 5, 4, 3, 2)
	letters := ""
	switch d[0] {
	case 'S':
		letters = "JZIHGFEDCBA"
	case 'T':
		letters, sum = "JZIHGFEDCBA", sum+4
	case 'F':
		letters = "XWUTRQPNMLK"
	case 'G':
		letters, sum = "XWUTRQPNMLK", sum+4
	case 'M':
		letters, sum = "KLJNPQRTUWX", sum+3
		sum = 10 - sum%11
	default:
		return 0, 0, noFit
	}
	return start, end, when(letters[sum%11] == d[8], goodFit)
}

// hkID is a Hong Kong identity card number: A123456(3).
func hkID(t string, start, end int) (int, int, fit) {
	stop := end
	d := strings.ToUpper(t[start:end])
	if end+2 < len(t) && t[end] == '(' && t[end+2] == ')' && (isDigit(t[end+1]) || t[end+1]|0x20 == 'a') {
		d += strings.ToUpper(t[end+1 : end+2])
		stop = end + 3
	}
	letters := len(d) - 7
	if letters < 1 || letters > 2 || !allLetters(d[:letters]) || !allDigits(d[letters:len(d)-1]) {
		return 0, 0, noFit
	}
	sum := 9 * 36
	if letters == 2 {
		sum = 9 * (int(d[0]-'A') + 10)
	}
	sum += 8 * (int(d[letters-1]-'A') + 10)
	sum += weighted(d[letters:], 7, 6, 5, 4, 3, 2)
	c := (11 - sum%11) % 11
	last := d[len(d)-1]
	if !(c == 10 && last == 'A' || c < 10 && isDigit(last) && digit(last) == c) {
		return 0, 0, noFit
	}
	if stop > end {
		return start, stop, goodFit
	}
	return start, stop, weakFit
}

func twID(t string, start, end int) (int, int, fit) {
	d := strings.ToUpper(t[start:end])
	if !isLetter(d[0]) || !allDigits(d[1:]) || d[1] != '1' && d[1] != '2' && d[1] != '8' && d[1] != '9' {
		return 0, 0, noFit
	}
	v := strings.IndexByte("ABCDEFGHJKLMNPQRSTUVXYWZIO", d[0]) + 10
	sum := v/10 + v%10*9 + weighted(d[1:], 8, 7, 6, 5, 4, 3, 2, 1, 1)
	return start, end, when(sum%10 == 0, goodFit)
}

// clRUT is a Chilean RUT: 12.345.678-5.
func clRUT(t string, start, end int) (int, int, fit) {
	if !allDigits(t[start:end]) || start > 0 && (t[start-1] == '.' || t[start-1] == '-') {
		return 0, 0, noFit
	}
	var d []byte
	i := start
	for i < len(t) && (isDigit(t[i]) || t[i] == '.') && i-start < 11 {
		if isDigit(t[i]) {
			d = append(d, t[i])
		}
		i++
	}
	if len(d) < 7 || len(d) > 8 || i+1 >= len(t) || t[i] != '-' || i+2 < len(t) && isAlnum(t[i+2]) {
		return 0, 0, noFit
	}
	sum := 0
	for j := range d {
		sum += digit(d[len(d)-1-j]) * (j%6 + 2)
	}
	c := "0K987654321"[sum%11]
	if c != t[i+1] && c != t[i+1]&^0x20 {
		return 0, 0, noFit
	}
	if end-start <= 2 {
		return start, i + 2, goodFit
	}
	return start, i + 2, weakFit
}

func mxCURP(t string, start, end int) (int, int, fit) {
	d := strings.ToUpper(t[start:end])
	if !allLetters(d[:4]) || !allDigits(d[4:10]) || !yymmdd(d[4:10]) || d[10] != 'H' && d[10] != 'M' && d[10] != 'X' || !allLetters(d[11:16]) || !isDigit(d[17]) {
		return 0, 0, noFit
	}
	const alphabet = "0123456789ABCDEFGHIJKLMN&OPQRSTUVWXYZ"
	sum := 0
	for i := range 17 {
		sum += strings.IndexByte(alphabet, d[i]) * (18 - i)
	}
	return start, end, when((10-sum%10)%10 == digit(d[17]), goodFit)
}

// inPAN is an Indian tax number: five letters, the fourth for the kind of
// holder, four digits, a letter.
func inPAN(t string, start, end int) (int, int, fit) {
	d := strings.ToUpper(t[start:end])
	if !allLetters(d[:5]) || !allDigits(d[5:9]) || !isLetter(d[9]) {
		return 0, 0, noFit
	}
	if strings.IndexByte("ABCFGHLJPTK", d[3]) < 0 || d != t[start:end] {
		return start, end, weakFit
	}
	return start, end, goodFit
}

func inGSTIN(t string, start, end int) (int, int, fit) {
	d := t[start:end]
	if !allDigits(d[:2]) || !allLetters(d[2:7]) || !allDigits(d[7:11]) || !isLetter(d[11]) || d[12] == '0' || d[13]&^0x20 != 'Z' {
		return 0, 0, noFit
	}
	s := num(d[:2])
	return start, end, when(s >= 1 && s <= 37 || s == 97 || s == 99, goodFit)
}

// letters is a code of n letters and then m digits.
func letters(n, m int) func(string, int, int) (int, int, fit) {
	return func(t string, start, end int) (int, int, fit) {
		d := t[start:end]
		return start, end, when(len(d) == n+m && allLetters(d[:n]) && sameCase(d) && allDigits(d[n:]), weakFit)
	}
}

// usDEA is a registration number of US prescribers.
func usDEA(t string, start, end int) (int, int, fit) {
	d := strings.ToUpper(t[start:end])
	if strings.IndexByte("ABCDEFGHJKLMNPRSTUXM", d[0]) < 0 || !isLetter(d[1]) && d[1] != '9' || !allDigits(d[2:]) {
		return 0, 0, noFit
	}
	c := (weighted(d[2:], 1, 0, 1, 0, 1) + 2*weighted(d[2:], 0, 1, 0, 1, 0, 1)) % 10
	return start, end, when(c == digit(d[8]), weakFit)
}

// usMBI is a Medicare beneficiary identifier: 1EG4-TE5-MK73.
func usMBI(t string, start, end int) (int, int, fit) {
	if end-start != 11 && end-start != 4 {
		return 0, 0, noFit
	}
	var b [11]byte
	stop, ok := spread(b[:], t, start)
	if !ok {
		return 0, 0, noFit
	}
	d := strings.ToUpper(string(b[:]))
	if strings.ContainsAny(d, "SLOIBZ") || d[0] == '0' {
		return 0, 0, noFit
	}
	for i, kind := range "9AX9AX9AA99" {
		switch kind {
		case '9':
			if !isDigit(d[i]) {
				return 0, 0, noFit
			}
		case 'A':
			if !isLetter(d[i]) {
				return 0, 0, noFit
			}
		}
	}
	if stop-start > 11 {
		return start, stop, goodFit
	}
	return start, stop, weakFit
}

// icaoCheck is the check digit of a field of a machine readable document.
func icaoCheck(d string) int {
	sum := 0
	for i := range len(d) {
		v := int(d[i] - '0')
		if isLetter(d[i]) {
			v = int(d[i]|0x20-'a') + 10
		}
		sum += v * []int{7, 3, 1}[i%3]
	}
	return sum % 10
}

// dePassport is the number of a German passport or identity card: a letter of
// the issuing office, then characters that can't be mistaken, perhaps with its
// check digit.
func dePassport(t string, start, end int) (int, int, fit) {
	d := strings.ToUpper(t[start:end])
	if strings.IndexByte("CFGHJKLMNPRTVWXYZ", d[0]) < 0 {
		return 0, 0, noFit
	}
	for i := 1; i < len(d); i++ {
		if !isDigit(d[i]) && strings.IndexByte("CFGHJKLMNPRTVWXYZ", d[i]) < 0 {
			return 0, 0, noFit
		}
	}
	if !isDigit(d[len(d)-1]) {
		return 0, 0, noFit
	}
	if len(d) == 10 {
		return start, end, when(icaoCheck(d[:9]) == digit(d[9]), weakFit)
	}
	return start, end, weakFit
}

// krPassport is M12345678, or since 2021 M123A4567.
func krPassport(t string, start, end int) (int, int, fit) {
	d := strings.ToUpper(t[start:end])
	if strings.IndexByte("MSRODG", d[0]) < 0 || !allDigits(d[1:4]) || !allDigits(d[5:]) {
		return 0, 0, noFit
	}
	return start, end, weakFit
}

// passportShape is what passports of most countries have: up to two letters
// and six to nine digits in seven to nine characters.
func passportShape(t string, start, end int) (int, int, fit) {
	d := t[start:end]
	k := 0
	for k < len(d) && isLetter(d[k]) {
		k++
	}
	if k <= 2 && len(d)-k >= 6 && allDigits(d[k:]) {
		return start, end, weakFit
	}
	// more letters, or others between: in capitals
	c := classesOf(d)
	return start, end, when(len(d) >= 8 && c.digits+c.upper == len(d) && c.upper <= 5, weakFit)
}

// passportLetters is one or two letters and then digits, nine in all, as
// British, Indian, Korean and many other passports have them.
func passportLetters(t string, start, end int) (int, int, fit) {
	d := t[start:end]
	return start, end, when(isLetter(d[0]) && (isLetter(d[1]) || isDigit(d[1])) && allDigits(d[2:]) && sameCase(d), weakFit)
}

func itIDCard(t string, start, end int) (int, int, fit) {
	d := t[start:end]
	if len(d) == 7 {
		// AA 1234567 with a space
		if start >= 3 && t[start-1] == ' ' && allDigits(d) && allLetters(t[start-3:start-1]) && (start == 3 || !isAlnum(t[start-4])) {
			return start - 3, end, weakFit
		}
		return 0, 0, noFit
	}
	if len(d) != 9 {
		return 0, 0, noFit
	}
	ok := allLetters(d[:2]) && (allDigits(d[2:]) || allDigits(d[2:7]) && allLetters(d[7:])) || allDigits(d[:7]) && allLetters(d[7:])
	return start, end, when(ok, weakFit)
}

// icd10 is a code of a diagnosis: E11.9, F32, S72.001A.
func icd10(t string, start, end int) (int, int, fit) {
	d := t[start:end]
	if len(d) != 3 || !isUpper(d[0]) || d[0] == 'U' || !isDigit(d[1]) || !isDigit(d[2]) && d[2] != 'A' && d[2] != 'B' {
		return 0, 0, noFit
	}
	if end+1 < len(t) && t[end] == '.' && (isDigit(t[end+1]) || isUpper(t[end+1])) {
		stop := end + 1
		for stop < len(t) && stop < end+5 && (isDigit(t[stop]) || isUpper(t[stop])) {
			stop++
		}
		if stop < len(t) && isAlnum(t[stop]) {
			return 0, 0, noFit
		}
		return start, stop, goodFit
	}
	return 0, 0, noFit
}

// icd10Short is a code of three characters, without the point.
func icd10Short(t string, start, end int) (int, int, fit) {
	if _, _, f := icd10(t, start, end); f != noFit || end-start != 3 || !isUpper(t[start]) || !allDigits(t[start+1:end]) {
		return 0, 0, noFit
	}
	return start, end, weakFit
}

// euVAT is a VAT number with its country: letters, then 8 to 12 characters, of
// countries whose checksum isn't looked at elsewhere.
func euVAT(t string, start, end int) (int, int, fit) {
	d := strings.ToUpper(t[start:end])
	if len(d) < 4 || !allLetters(d[:2]) {
		return 0, 0, noFit
	}
	b := d[2:]
	ok := false
	switch d[:2] {
	case "DE":
		ok = len(b) == 9 && allDigits(b) && mod1110(b)
	case "AT":
		ok = len(b) == 9 && b[0] == 'U' && allDigits(b[1:])
	case "BE":
		ok = len(b) == 10 && allDigits(b) && 97-mod97(b[:8]) == num(b[8:])
	case "FR":
		ok = len(b) == 11 && allDigits(b[2:]) && luhn(b[2:])
	case "IT":
		ok = len(b) == 11 && allDigits(b) && luhn(b)
	case "NL":
		ok = len(b) == 12 && allDigits(b[:9]) && b[9] == 'B' && allDigits(b[10:])
	case "PL":
		ok = len(b) == 10 && allDigits(b) && weighted(b, 6, 5, 7, 2, 3, 4, 5, 6, 7)%11 == digit(b[9])
	case "ES":
		ok = len(b) == 9 && (dniFit(b) != noFit || isLetter(b[0]) && allDigits(b[1:8]))
	}
	return start, end, when(ok, weakFit)
}

// ukLicence is a number of a British driving licence: five characters of the
// name, date of birth, initials.
func ukLicence(t string, start, end int) (int, int, fit) {
	d := strings.ToUpper(t[start:end])
	if len(d) < 16 {
		return 0, 0, noFit
	}
	i := 0
	for i < 5 && isLetter(d[i]) {
		i++
	}
	for j := i; j < 5; j++ {
		if d[j] != '9' {
			return 0, 0, noFit
		}
	}
	if i == 0 || !allDigits(d[5:11]) {
		return 0, 0, noFit
	}
	m := num(d[6:8])
	if m > 50 {
		m -= 50
	}
	if m < 1 || m > 12 || num(d[8:10]) > 31 || !isLetter(d[11]) && d[11] != '9' {
		return 0, 0, noFit
	}
	return start, end, goodFit
}

// licenceShape is what driving licences have: at most four letters, then
// digits, perhaps with hyphens.
func licenceShape(t string, start, end int) (int, int, fit) {
	if start > 0 && (t[start-1] == '-' || t[start-1] == '.') {
		return 0, 0, noFit
	}
	stop := end
	for stop+1 < len(t) && (t[stop] == '-' || t[stop] == ' ' && spacedGroup(t, stop+1)) && isDigit(t[stop+1]) && stop-start < 20 {
		stop++
		for stop < len(t) && isAlnum(t[stop]) && stop-start < 24 {
			stop++
		}
	}
	d := t[start:stop]
	k, n := 0, 0
	for i := range len(d) {
		switch {
		case isDigit(d[i]):
			n++
		case isLetter(d[i]):
			k++
		}
	}
	ok := n >= 5 && k <= 5 && len(d) >= 6 && len(d) <= 20
	// a year, or a date
	if ok && k == 0 && stop > end && len(d) == 10 && num(t[start:end]) > 1899 && num(t[start:end]) < 2100 {
		ok = false
	}
	return start, stop, when(ok, weakFit)
}

// spacedGroup says whether three to five digits stand at a place, a group of a number
// that is written with spaces.
func spacedGroup(t string, i int) bool {
	j := i
	for j < len(t) && isDigit(t[j]) && j-i < 6 {
		j++
	}
	return j-i >= 3 && j-i <= 5 && (j == len(t) || !isWordByte(t[j]))
}

// Bounds of a number of a person that counts only with the word before it.
const (
	minIDDigits, maxIDDigits = 6, 18
	maxIDLetters             = 5
	maxIDBytes               = 26
)

// idShape is a number by which an authority knows a person, of a form that no other
// validator knows: digits, perhaps with a few letters and signs between their groups.
func idShape(t string, start, end int) (int, int, fit) {
	from := start
	if start > 0 {
		switch c := t[start-1]; {
		case isWordByte(c), c == '$', c == '#', c == '+', c == '@':
			return 0, 0, noFit
		case c == '-' && start > 1 && isUpper(t[start-2]) && (start == 2 || !isWordByte(t[start-3])):
			from = start - 2 // V-12345678
		case (c == '-' || c == '.' || c == '/') && start > 1 && isAlnum(t[start-2]):
			return 0, 0, noFit // the middle of another
		case c == ' ' && start > 1 && isDigit(t[start-2]):
			return 0, 0, noFit
		}
	}
	stop, groups, dots := end, 1, 0
	var sizes [8]int
	sizes[0] = end - start
	for stop+1 < len(t) && stop-from < maxIDBytes && groups < len(sizes) {
		i := stop + 1
		switch t[stop] {
		case '-', '/', '.':
			if t[i] == ' ' && i+1 < len(t) {
				i++ // 202/ 106/ 08312
			}
		case ' ':
		default:
			i = len(t)
		}
		j := i
		for j < len(t) && isAlnum(t[j]) && j-i <= maxIDBytes {
			j++
		}
		if c := classesOf(t[min(i, len(t)):j]); j == i || c.digits == 0 && (j-i > 1 || t[stop] == ' ') || t[stop] == ' ' && (c.lower > 0 || j-i < 2) {
			break
		}
		if t[stop] == '.' {
			dots++
		}
		sizes[groups] = j - i
		groups++
		stop = j
	}
	c := classesOf(t[from:stop])
	switch {
	case c.digits < minIDDigits, c.digits > maxIDDigits, c.lower+c.upper > maxIDLetters, c.lower > 2, stop < len(t) && (isWordByte(t[stop]) || t[stop] == '%' || t[stop] == ':'),
		groups == 4 && dots == 3, // an address of the network
		groups == 3 && sizes[0] == 3 && sizes[1] == 2 && sizes[2] == 4,                                                      // us_ssn knows better
		groups == 3 && (sizes[0] == 4 && sizes[1] <= 2 && sizes[2] <= 2 || sizes[2] == 4 && sizes[0] <= 2 && sizes[1] <= 2), // a date
		groups == 1 && allSame(t[from:stop]):
		return 0, 0, noFit
	}
	return from, stop, weakFit
}

// sgUEN is the number of an entity in Singapore, of one of three kinds, with its
// check letter.
func sgUEN(t string, start, end int) (int, int, fit) {
	d := t[start:end]
	if start > 0 && t[start-1] == '.' {
		return 0, 0, noFit // a fraction
	}
	switch {
	case len(d) == 9 && allDigits(d[:8]):
		return start, end, when("XMKECAWLJDB"[weighted(d, 10, 4, 9, 3, 8, 2, 7, 1)%11] == d[8], goodFit)
	case len(d) == 10 && allDigits(d[:9]):
		return start, end, when(d[:2] >= "18" && d[:2] <= "20" && "ZKCMDNERGWH"[weighted(d, 10, 8, 6, 4, 9, 7, 5, 3, 1)%11] == d[9], goodFit)
	case len(d) == 10 && strings.IndexByte("TSR", d[0]) >= 0 && allDigits(d[1:3]) && isLetter(d[3]) && allDigits(d[5:9]):
		const alphabet = "ABCDEFGHJKLMNPQRSTUVWX0123456789"
		sum := -5
		for i, w := range [...]int{4, 3, 5, 3, 10, 2, 2, 5, 7} {
			v := strings.IndexByte(alphabet, d[i])
			if v < 0 {
				return 0, 0, noFit
			}
			sum += v * w
		}
		return start, end, when(alphabet[(sum%11+11)%11] == d[9], goodFit)
	}
	return 0, 0, noFit
}

// mxRFC is the number of a Mexican taxpayer: letters of the name, a date, and what
// tells those apart that share them.
func mxRFC(t string, start, end int) (int, int, fit) {
	d := t[start:end]
	name := len(d) - 9
	return start, end, when(classesOf(d).lower == 0 && allLetters(d[:name]) && allDigits(d[name:name+6]) && yymmdd(d[name:name+6]), weakFit)
}

// seOrgnr is the number of a Swedish organisation: Luhn, and a third digit that no
// month has.
func seOrgnr(n *number) fit {
	d := n.digits
	if d[0] == '0' || d[0] == '4' || d[2] < '2' || !luhn(d) {
		return noFit
	}
	if n.shape(6, 4) && n.sep == '-' {
		return goodFit
	}
	return when(n.plain(), weakFit)
}

// codeShape is a code that counts only with the word before it: letters and
// digits, perhaps with hyphens.
func codeShape(t string, start, end int) (int, int, fit) {
	from := start
	// a prefix of letters with a hyphen
	if start >= 3 && t[start-1] == '-' && isUpper(t[start-2]) {
		from = start - 1
		for from > 0 && isUpper(t[from-1]) && start-from < 8 {
			from--
		}
	}
	if from > 0 && (isAlnum(t[from-1]) || t[from-1] == '.' || t[from-1] == '-') {
		return 0, 0, noFit
	}
	stop := end
	for stop+1 < len(t) && t[stop] == '-' && isAlnum(t[stop+1]) && stop-from < 24 {
		stop++
		for stop < len(t) && isAlnum(t[stop]) && stop-from < 32 {
			stop++
		}
	}
	return from, stop, when(stop-from >= 5 && stop-from <= 24 && !isDateLike(t[from:stop]), weakFit)
}

// isDateLike says whether d is digits and hyphens like 2024-01-31.
func isDateLike(d string) bool {
	return len(d) == 10 && (d[4] == '-' && d[7] == '-' || d[2] == '-' && d[5] == '-')
}

// cryptoAddress is an address of Bitcoin or Ethereum.
func cryptoAddress(t string, start, end int) (int, int, fit) {
	d := t[start:end]
	switch {
	case d[0] == '1' || d[0] == '3':
		return start, end, when(len(d) >= 26 && len(d) <= 35 && base58Check(d), goodFit)
	case strings.HasPrefix(d, "bc1"):
		return start, end, when(len(d) >= 26 && d == strings.ToLower(d) && !strings.ContainsAny(d[3:], "1bio"), goodFit)
	}
	return 0, 0, noFit
}

const vinValues = "0123456789.ABCDEFGH..JKLMN.P.R..STUVWXYZ"

// vin is the number of a vehicle with the check digit of North America.
func vin(t string, start, end int) (int, int, fit) {
	d := strings.ToUpper(t[start:end])
	if strings.ContainsAny(d, "IOQ") || allDigits(d) {
		return 0, 0, noFit
	}
	sum := 0
	for i, w := range []int{8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2} {
		sum += strings.IndexByte(vinValues, d[i]) % 10 * w
	}
	return start, end, when("0123456789X"[sum%11] == d[8], weakFit)
}
