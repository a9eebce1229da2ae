package dlp

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"github.com/claudeaudit/claudeaudit/internal/detect"
)

// presidioEntities are the types of data of Presidio's entities (version 2.2).
// Empty: an entity that is no sensitive data by itself, or a word that every
// prompt has, and is not counted.
var presidioEntities = map[string]string{
	"CREDIT_CARD":        "credit_card",
	"IBAN_CODE":          "iban",
	"ABA_ROUTING_NUMBER": "bank_routing",
	"US_BANK_NUMBER":     "bank_account",
	"CRYPTO":             "crypto_address",

	"EMAIL_ADDRESS":       "email",
	"PHONE_NUMBER":        "phone",
	"ZA_MOBILE_NUMBER":    "phone",
	"ZA_TELEPHONE_NUMBER": "phone",
	"IP_ADDRESS":          "ip_address",
	"MAC_ADDRESS":         "mac_address",
	"PERSON":              "person",

	"US_SSN":                     "us_ssn",
	"US_ITIN":                    "national_id",
	"UK_NINO":                    "national_id",
	"SG_NRIC_FIN":                "national_id",
	"AU_ABN":                     "company_id",
	"AU_ACN":                     "company_id",
	"AU_TFN":                     "national_id",
	"CA_SIN":                     "national_id",
	"DE_ID_CARD":                 "national_id",
	"DE_SOCIAL_SECURITY":         "national_id",
	"DE_TAX_ID":                  "national_id",
	"DE_TAX_NUMBER":              "national_id",
	"DE_VAT_ID":                  "company_id",
	"DE_HANDELSREGISTER":         "company_id",
	"ES_NIE":                     "national_id",
	"ES_NIF":                     "national_id",
	"FI_PERSONAL_IDENTITY_CODE":  "national_id",
	"IN_AADHAAR":                 "national_id",
	"IN_PAN":                     "national_id",
	"IN_VOTER":                   "national_id",
	"IN_GSTIN":                   "national_id",
	"IT_FISCAL_CODE":             "national_id",
	"IT_IDENTITY_CARD":           "national_id",
	"IT_VAT_CODE":                "company_id",
	"KR_RRN":                     "national_id",
	"KR_FRN":                     "national_id",
	"KR_BRN":                     "company_id",
	"NG_NIN":                     "national_id",
	"PH_TIN":                     "national_id",
	"PH_UMID":                    "national_id",
	"PL_PESEL":                   "national_id",
	"SE_PERSONNUMMER":            "national_id",
	"SE_ORGANISATIONSNUMMER":     "company_id",
	"SG_UEN":                     "company_id",
	"TH_TNIN":                    "national_id",
	"TR_NATIONAL_ID":             "national_id",
	"ZA_ID_NUMBER":               "national_id",
	"ZA_INCOME_TAX_NUMBER":       "national_id",
	"ZA_TRAFFIC_REGISTER_NUMBER": "national_id",
	"ZA_COMPANY_REGISTRATION":    "company_id",
	"ZA_VAT_NUMBER":              "company_id",

	"US_PASSPORT": "passport",
	"UK_PASSPORT": "passport",
	"DE_PASSPORT": "passport",
	"ES_PASSPORT": "passport",
	"IN_PASSPORT": "passport",
	"IT_PASSPORT": "passport",
	"KR_PASSPORT": "passport",
	"PH_PASSPORT": "passport",
	"ZA_PASSPORT": "passport",

	"US_DRIVER_LICENSE":  "driver_license",
	"UK_DRIVING_LICENCE": "driver_license",
	"DE_FUEHRERSCHEIN":   "driver_license",
	"IT_DRIVER_LICENSE":  "driver_license",
	"KR_DRIVER_LICENSE":  "driver_license",
	"ZA_DRIVER_LICENSE":  "driver_license",

	"UK_NHS":                        "nhs_number",
	"US_MBI":                        "health_insurance",
	"US_HEALTH_INSURANCE_MEMBER_ID": "health_insurance",
	"AU_MEDICARE":                   "health_insurance",
	"DE_HEALTH_INSURANCE":           "health_insurance",
	"MEDICAL_LICENSE":               "medical_license",
	"US_NPI":                        "provider_id",
	"DE_LANR":                       "provider_id",
	"DE_BSNR":                       "provider_id",
	"US_CLAIM_NUMBER":               "medical_record",
	"US_PRESCRIPTION_NUMBER":        "medical_record",
	"US_PRIOR_AUTHORIZATION_NUMBER": "medical_record",
	"US_REFERRAL_NUMBER":            "medical_record",
	"US_PROVIDER_TAX_ID":            "company_id",

	"UK_VEHICLE_REGISTRATION": "vehicle_id",
	"IN_VEHICLE_REGISTRATION": "vehicle_id",
	"NG_VEHICLE_REGISTRATION": "vehicle_id",
	"TR_LICENSE_PLATE":        "vehicle_id",
	"ZA_LICENSE_PLATE":        "vehicle_id",
	"DE_KFZ":                  "vehicle_id",

	"DATE_TIME":      "",
	"LOCATION":       "",
	"NRP":            "",
	"ORGANIZATION":   "",
	"URL":            "",
	"UUID":           "",
	"UK_POSTCODE":    "",
	"CA_POSTAL_CODE": "",
	"DE_PLZ":         "",
}

// PresidioEntities returns the built-in table of Presidio's entities and the types
// of data that they are; empty: not counted.
func PresidioEntities() map[string]string { return maps.Clone(presidioEntities) }

type presidioRequest struct {
	Text           string  `json:"text"`
	Language       string  `json:"language"`
	ScoreThreshold float64 `json:"score_threshold"`
}

type presidioFinding struct {
	EntityType string  `json:"entity_type"`
	Start      *int    `json:"start"`
	End        *int    `json:"end"`
	Score      float64 `json:"score"`
}

func (c *Client) presidioBody(p piece) any {
	return presidioRequest{Text: p.text, Language: c.cfg.Language, ScoreThreshold: c.cfg.MinScore}
}

// readPresidio reads the answer to a piece.
func (c *Client) readPresidio(body []byte, p piece) (answer, error) {
	var found []presidioFinding
	if err := decode(body, &found); err != nil {
		return answer{}, err
	}
	if len(found) > maxFindings {
		return answer{}, fmt.Errorf("%w: more than %d findings", errAnswer, maxFindings)
	}
	var a answer
	at := offsets(p.text)
	for _, f := range found {
		if !isName(f.EntityType) {
			return answer{}, fmt.Errorf("%w: an entity_type that is no name", errAnswer)
		}
		if f.Start == nil || f.End == nil || f.Score < 0 || f.Score > 1 {
			return answer{}, fmt.Errorf("%w: a finding without start, end or score", errAnswer)
		}
		start, ok := at.bytes(*f.Start, *f.End)
		if !ok {
			return answer{}, fmt.Errorf("%w: a finding outside of the text", errAnswer)
		}
		typ := c.typeOf(f.EntityType)
		if f.Score < c.cfg.MinScore || typ == "" || start < p.from || start >= p.to {
			continue
		}
		if err := a.add(detect.Detection{Type: typ, Rule: ruleName(f.EntityType), Confidence: confidenceOf(f.Score).String(), Count: 1}); err != nil {
			return answer{}, err
		}
	}
	return a, nil
}

// typeOf is the type of data of a service's name, "" if it isn't counted.
func (c *Client) typeOf(name string) string {
	if t, ok := c.cfg.Types[name]; ok {
		return t
	}
	if c.cfg.Protocol == ProtocolPresidio {
		if t, ok := presidioEntities[name]; ok {
			return t
		}
	}
	return strings.ToLower(name)
}

// ruleName is the rule id of what a service found.
func ruleName(name string) string { return "external." + strings.ToLower(name) }

// confidenceOf is what a score of Presidio means here: a validated value or a
// pattern with a word near it that says what it is has 0.85 and more, a pattern
// of its own form 0.4 to 0.7.
func confidenceOf(score float64) detect.Confidence {
	switch {
	case score >= 0.85:
		return detect.High
	case score >= 0.4:
		return detect.Medium
	}
	return detect.Low
}

// decode reads one JSON value and nothing after it. Its errors quote nothing.
func decode(body []byte, v any) error {
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("%w: not the JSON that was asked for", errAnswer)
	}
	return nil
}

// runeOffsets finds the byte of a code point.
type runeOffsets struct {
	ascii bool
	of    []int32 // by code point, one more than there are
	size  int
}

func offsets(text string) runeOffsets {
	o := runeOffsets{ascii: true, size: len(text)}
	for i := 0; i < len(text); i++ {
		if text[i] >= 0x80 {
			o.ascii = false
			break
		}
	}
	if o.ascii {
		return o
	}
	for i := range text {
		o.of = append(o.of, int32(i))
	}
	o.of = append(o.of, int32(len(text)))
	return o
}

// bytes is the byte of start, and whether start and end are a stretch of the text.
func (o runeOffsets) bytes(start, end int) (int, bool) {
	n := o.size
	if !o.ascii {
		n = len(o.of) - 1
	}
	if start < 0 || end < start || end > n {
		return 0, false
	}
	if o.ascii {
		return start, true
	}
	return int(o.of[start]), true
}
