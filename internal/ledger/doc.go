// Package ledger is the append-only, hash-chained, signed log of audit entries:
// its writer, reader, verifier and proofs (format claudeaudit.ledger/1).
//
// # Streams and entries
//
// A stream is one writer's log. Its name, the origin, is "<base>/<epoch>"; an
// epoch ends when the writer's key changes or its state is lost. Entries are
// numbered from 0 without gaps. An entry is one line of canonical JSON:
//
//	{"_log":"<origin>","_prev":"<64 hex>","_seq":N,…}
//
// Its leaf hash is SHA-256(0x00 || line), as in RFC 6962, and _prev of the next
// line is that hash. _prev of entry 0 is SHA-256("origin\n" + origin + "\n" +
// verifier key). The stored bytes are the truth: nothing is re-encoded to verify.
//
// # Folder
//
//	lock                            held by the writer (flock)
//	wal/<first seq>.wal             write-ahead file of one future segment
//	wal/durable                     how many entries are synced, for readers
//	wal/cut-….bin                   bytes cut off a torn tail, kept for inspection
//	store/…                         the write-once objects of the default store
//
// # Objects
//
// Every object is written once and never changed. <seq> and <size> have 16 digits.
//
//	v1/_claims/<origin>.note                                         the stream's key, and the head it follows
//	v1/<origin>/seg/dt=YYYY-MM-DD/hh=HH/<first seq>-<count>-<root>.ndjson.zst
//	v1/<origin>/cnt/<class>/dt=YYYY-MM-DD/hh=HH/<first seq>-<hash>.cnt
//	v1/<origin>/cp/dt=YYYY-MM-DD/<size>.note                         checkpoint
//	v1/<origin>/wit/dt=YYYY-MM-DD/<size>-<key hash>.note             checkpoint with a witness's cosignature
//	v1/<origin>/tsr/dt=YYYY-MM-DD/<size>.tsr                        RFC 3161 time stamp of a checkpoint's text without signatures
//	v1/<origin>/pruned/<size>.note                                   what stays of entries that were removed
//	v1/_probe/…                                                      what a probe of the store left, see internal/bucket
//
// The date and hour are those of the segment's first write (UTC) and never go
// back within a stream. <root> is the first 16 hex digits of the RFC 6962 root
// over the segment's own lines, <hash> those of the container's index.
//
// A segment is a sequence of zstd frames of at most 1 MiB of whole lines, each
// decodable alone, then skippable zstd frames: leaf hashes, content references,
// frame index and a trailer of fixed length. So "zstd -dc" prints its lines.
//
// # Order of writing
//
// An entry is acknowledged when its write-ahead file is synced. A full
// write-ahead file becomes content containers, then a segment; both are read
// back and compared; then a checkpoint that covers them is stored and given to
// every witness; only then the write-ahead file is deleted. So whatever lies
// below the oldest write-ahead file is sealed, checkpointed and witnessed, and
// the verifier holds the ledger to that.
//
// # Removed entries
//
// At the end of their retention the first entries of a stream may be removed, in
// whole segments and up to a size that a checkpoint signs. What stays is a note,
// signed with the key of the log of holds and erasures:
//
//	claudeaudit.pruned/1
//	origin <origin>
//	size <how many were removed>
//	root <base64, RFC 6962 root over them>
//	last <base64, leaf hash of the last of them>
//	hour <YYYY-MM-DDTHH:00:00Z, of its segment>
//	node <base64>
//	…
//
// The nodes are what tlog-tiles goes on from: of each level of tiles above the lowest the
// hashes of the last tile, the highest level first, and then the roots of the perfect
// subtrees that the size modulo 256 is made of, the largest first. So the tiles that
// C2SP asks of a log that is pruned there can be written, and no hash of a single
// removed entry is kept but the last one's.
//
// It is written in this order: an entry in the log of holds and erasures, whose
// details name stream, size, root and the SHA-256 of the note's text; the note;
// then the objects go, content first. So it can end at any point and be taken up
// again. The verifier begins at the greatest size of which such an entry, verified,
// backs the note, and holds the note's root against the checkpoint of that size.
// Without all of that, entries that are not there are missing. Checkpoints,
// cosignatures and time stamps of removed entries stay. Of those alone that are
// smaller than the size it can't be told any more what they signed.
//
// # Loss window
//
// A writer's own host can cut or change what was written since the last
// checkpoint given to a witness without being noticed: SegmentAge at most while
// the store answers.
package ledger
