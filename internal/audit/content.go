package audit

import "github.com/google/uuid"

// Content is sealed in two containers, prompt and response apart. The plaintext
// of a prompt's is the canonical {"messages":[…],"system":[…]}, that of a
// response's the canonical array of output messages, both in stored form.

// PromptAAD is the additional data that a record's prompt is sealed with: it
// can be opened only as the prompt of that call.
func PromptAAD(eventID uuid.UUID) []byte { return []byte("prompt/" + eventID.String()) }

// ResponseAAD is the additional data that a record's response is sealed with.
func ResponseAAD(eventID uuid.UUID) []byte { return []byte("response/" + eventID.String()) }
