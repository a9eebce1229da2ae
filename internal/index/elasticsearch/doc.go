// Package elasticsearch keeps the index in Elasticsearch: one document per
// call, in one index per UTC day.
//
// # Documents
//
// The document of a call holds the record, the merge of the call's entries,
// under the record's own names. _log, _seq, _prev and _hash are the place and
// the leaf hash of the entry merged last. The object "index" is what the index
// needs for itself: the time to order by, the streams and events the entries
// are of, and, where the record alone doesn't say them, the entries. A
// document's id is its event_id, and it lies in the index of the day of its
// timestamp.
//
// # Why the order of writes does not matter
//
// A document is a pure function of the set of its entries. Taking an entry adds
// it to the set; nothing but DropStream and Prune removes any. A write replaces
// the document whose version was read, and no other (if_seq_no and
// if_primary_term, or create where there was none); a writer whose document was
// changed meanwhile reads it again. So the entries of a document only grow,
// whoever writes them in which order, and adding one twice changes nothing. The
// cursor is written after the documents: what a crash leaves half done is done
// again.
//
// # Twins
//
// Events that two writers made of one call, known by a common id of its response or
// request, are one document: the primary's, with the entries of all. The others are
// parked in an index of their own, which searches don't see, with a pointer to
// it. Two writers find each other's documents by search, which sees only what
// was refreshed. Each writes its documents, refreshes, and then looks: of two
// that do so at once at least one sees both documents, because whoever looks
// last looks after both have refreshed. Joining computes what all documents around
// an id should be from the union of their entries, and repeats until nothing is
// left to change. A writer that is alone needs none of this; it
// registers its streams before it writes and reads who else has after it wrote.
//
// The same way two documents of one event are found that two writers made because
// they know of times that lie days apart. Both are looked for on all days, and once:
// when a stream first tells of the event, and when the day or an id of its document
// changes. Whoever writes later finds what was written before.
//
// An event whose observations lie on several days moves to the day of its
// merge: it is written there first and removed from the other day then. What
// a crash between leaves is found by the days of its entries. A document that is
// right where it is is written again before others are removed for it. So of two
// writers that disagree about the place, each of which would remove what the other
// keeps, one finds that the document has changed.
package elasticsearch
