package gateway

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/claudeaudit/claudeaudit/internal/conversation"
	"github.com/claudeaudit/claudeaudit/internal/genai"
	"github.com/claudeaudit/claudeaudit/internal/jcs"
)

// maxFormParts bounds the parts of an upload; the API takes one file.
const maxFormParts = 16

var (
	errMultipart = &apiError{http.StatusBadRequest, "invalid_request_error", "the upload is not valid multipart/form-data", 0}
	errNoForm    = &apiError{http.StatusUnsupportedMediaType, "invalid_request_error", "content-type must be multipart/form-data", 0}
)

// parseFile reads an upload to a conversation of one message, so that a file is hashed,
// classified, encrypted and kept as what is said in a prompt is: its name, then its text, or its
// bytes when it is none.
func (c *call) parseFile() *apiError {
	media, params, err := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	if err != nil || media != "multipart/form-data" || params["boundary"] == "" {
		return errNoForm
	}
	parts, err := readForm(c.body, params["boundary"])
	if err != nil {
		c.completeness = genai.ContentUnparsed
		c.unparsed = append(c.unparsed, unparsed("request", c.body, jcs.ErrInvalid))
		return errMultipart
	}
	c.conv.Messages = []conversation.Message{{Role: "user", Parts: parts}}
	c.conv.Normalize()
	c.completeness = genai.ContentFull
	return nil
}

var errForm = errors.New("invalid multipart/form-data")

func readForm(body []byte, boundary string) ([]conversation.Part, error) {
	form := multipart.NewReader(bytes.NewReader(body), boundary)
	var out []conversation.Part
	for n := 0; ; n++ {
		// Raw: an encoding of the part's would be read by upstream in a way of its own.
		p, err := form.NextRawPart()
		if errors.Is(err, io.EOF) {
			if n == 0 {
				return nil, errForm
			}
			return out, nil
		}
		if err != nil || n == maxFormParts {
			return nil, errForm
		}
		if e := p.Header.Get("Content-Transfer-Encoding"); e != "" && !strings.EqualFold(e, "binary") && !strings.EqualFold(e, "8bit") && !strings.EqualFold(e, "7bit") {
			return nil, errForm
		}
		data, err := io.ReadAll(p)
		if err != nil {
			return nil, errForm
		}
		_, disposition, err := mime.ParseMediaType(p.Header.Get("Content-Disposition"))
		if err != nil {
			return nil, errForm
		}
		out = append(out, conversation.Part{Type: conversation.PartOther, Kind: "form", Value: jcs.Object([]jcs.Member{
			{Key: "filename", Value: jcs.String(strings.ToValidUTF8(disposition["filename"], "\uFFFD"))},
			{Key: "name", Value: jcs.String(strings.ToValidUTF8(disposition["name"], "\uFFFD"))},
			{Key: "size", Value: jcs.String(strconv.Itoa(len(data)))},
		})})
		switch {
		case len(data) == 0:
		case utf8.Valid(data) && bytes.IndexByte(data, 0) < 0:
			out = append(out, conversation.Text(string(data)))
		default:
			media, _, err := mime.ParseMediaType(p.Header.Get("Content-Type"))
			if err != nil {
				media = "application/octet-stream"
			}
			out = append(out, conversation.Part{Type: conversation.PartBlob, MimeType: media, Data: base64.StdEncoding.EncodeToString(data)})
		}
	}
}
