#!/usr/bin/env python3
"""A second verifier of claudeaudit.ledger/1, written apart from the first.

    verify.py STORE --key checkpoint.pub [--checkpoints FILE] [--cosigner witness.pub] [--contents STORE]
              [--admin STORE --admin-key admin.pub]

STORE is a folder with the objects of a ledger (the folder that has v1 in it): a
copy of the bucket, or ledger/store. It needs Python 3.8, the package
"cryptography" for Ed25519, and the program zstd (or Python 3.14, which has it).

It checks: each stream's claim and its signature; that segments follow each
other without gap or overlap; their names, counts and roots; every byte of them
by CRC32C; that each line follows the one before; the RFC 6962 tree against every
signed checkpoint, those of --checkpoints, and with --cosigner those that the
witness cosigned; and every content that a line names. It lists the times of which
a ledger that says when it ran does not say so. It does not look at
write-ahead files: what is not sealed is not there for it.

The first entries of a stream may be missing when the log of holds and erasures
(--admin) verifies and says that they were removed, and what the note about them
says is what the stream's checkpoint of that size signs.

It prints a JSON report. Exit status: 0 intact, 1 bad, 2 not checked.
"""
import argparse
import base64
import calendar
import hashlib
import json
import os
import re
import struct
import subprocess
import sys
import time

try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
except ImportError:
    sys.exit("verify.py: the package cryptography is not installed")

try:
    from compression import zstd  # Python 3.14
except ImportError:
    zstd = None


class Bad(Exception):
    pass


def sha(data):
    return hashlib.sha256(data).digest()


def leaf_hash(line):
    return sha(b"\x00" + line)


def node_hash(left, right):
    return sha(b"\x01" + left + right)


class Tree:
    """An RFC 6962 tree of which only the roots of its perfect subtrees are kept."""

    def __init__(self):
        self.size = 0
        self.peaks = []  # (height, hash)

    @classmethod
    def of(cls, size, hashes):
        """The tree of a size with the hashes of the last tile of each level of tiles
        above the lowest, the highest level first, and the roots of the perfect
        subtrees below."""
        tree = cls()
        tree.size = size
        hashes = iter(hashes)
        for level in reversed(range(1, size.bit_length() // 8 + 1)):
            part = cls()
            for _ in range(size >> 8 * level & 255):
                part.add(next(hashes))
            tree.peaks += [(8 * level + height, h) for height, h in part.peaks]
        heights = [i for i in reversed(range(8)) if size >> i & 1]
        tree.peaks += [(i, next(hashes)) for i in heights]
        return tree

    @staticmethod
    def nodes(size):
        """How many hashes that takes."""
        return sum(size >> 8 * level & 255 for level in range(1, size.bit_length() // 8 + 1)) + bin(size & 255).count("1")

    def add(self, leaf):
        height, h = 0, leaf
        while self.peaks and self.peaks[-1][0] == height:
            h = node_hash(self.peaks.pop()[1], h)
            height += 1
        self.peaks.append((height, h))
        self.size += 1

    def root(self):
        if not self.peaks:
            return sha(b"")
        h = self.peaks[-1][1]
        for _, left in reversed(self.peaks[:-1]):
            h = node_hash(left, h)
        return h


CRC_TABLE = []
for n in range(256):
    c = n
    for _ in range(8):
        c = (c >> 1) ^ 0x82F63B78 if c & 1 else c >> 1
    CRC_TABLE.append(c)


def crc32c(data):
    c, table = 0xFFFFFFFF, CRC_TABLE
    for b in data:
        c = table[(c ^ b) & 0xFF] ^ (c >> 8)
    return c ^ 0xFFFFFFFF


def unpack64(text):
    """Decodes base64 in its only spelling."""
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        raise Bad("malformed base64")
    if base64.b64encode(raw).decode() != text:
        raise Bad("base64 in another spelling")
    return raw


class Key:
    """A verifier key, name+hash+base64: algorithm 1 signs notes, 4 cosigns them."""

    def __init__(self, text):
        self.text = text.strip()
        parts = self.text.split("+", 2)
        if len(parts) != 3:
            raise Bad("a key must be name+hash+base64")
        self.name, raw = parts[0], unpack64(parts[2])
        self.algorithm, pub = raw[0], raw[1:]
        self.hash = sha(self.name.encode() + b"\n" + raw)[:4]
        if len(pub) != 32 or self.algorithm not in (1, 4) or self.hash.hex() != parts[1]:
            raise Bad("the key's hash does not match")
        self.pub = Ed25519PublicKey.from_public_bytes(pub)

    def signed(self, text, signature):
        message = text.encode()
        if self.algorithm == 4:
            if len(signature) != 72:
                return False
            (at,) = struct.unpack(">Q", signature[:8])
            message = b"cosignature/v1\ntime %d\n" % at + message
            signature = signature[8:]
        try:
            self.pub.verify(signature, message)
            return True
        except (InvalidSignature, ValueError):
            return False


def open_note(raw, keys):
    """Returns a note's text and the keys that signed it."""
    try:
        note = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise Bad("not UTF-8")
    at = note.rfind("\n\n")
    if at < 0 or not note.endswith("\n"):
        raise Bad("malformed note")
    text, lines = note[: at + 1], note[at + 2 :].split("\n")[:-1]
    by, seen = [], set()
    if not lines:
        raise Bad("no signature")
    for line in lines:
        m = re.fullmatch("\u2014 ([^ +]+) ([A-Za-z0-9+/=]+)", line)
        if not m or line in seen:
            raise Bad("malformed or repeated signature line")
        seen.add(line)
        raw_sig = unpack64(m.group(2))
        for key in keys:
            if key.name == m.group(1) and key.hash == raw_sig[:4]:
                if not key.signed(text, raw_sig[4:]):
                    raise Bad("a signature does not match")
                by.append(key)
    return text, by


def parse_checkpoint(text):
    lines = text.split("\n")
    if len(lines) < 4 or not re.fullmatch(r"0|[1-9]\d{0,15}", lines[1]):
        raise Bad("malformed checkpoint")
    root = unpack64(lines[2])
    if len(root) != 32:
        raise Bad("malformed root")
    return lines[0], int(lines[1]), root


def decompress(frames):
    if zstd is not None:
        try:
            return zstd.decompress(frames)
        except zstd.ZstdError:
            raise Bad("zstd: damaged")
    p = subprocess.run(["zstd", "-dcq"], input=frames, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if p.returncode:
        raise Bad("zstd: damaged")
    return p.stdout


SKIP = 0x184D2A50
TRAILER = 8 + 8 + 8 + 4 + 8 + 24 + 32 + 4 + 4


class Segment:
    """What a segment file says of itself: see internal/ledger/segment.go."""

    def __init__(self, data):
        if len(data) < TRAILER:
            raise Bad("too short")
        end = len(data) - TRAILER
        tail = data[end:]
        if struct.unpack("<II", tail[:8]) != (SKIP + 3, TRAILER - 8) or tail[8:16] != b"CASEG1\r\n":
            raise Bad("no trailer")
        self.first, self.count, hour, leaves, content, index = struct.unpack("<QIqQQQ", tail[16:60])
        self.prev = tail[60:92]
        data_crc, own_crc = struct.unpack("<II", tail[92:100])
        if crc32c(tail[:96]) != own_crc or crc32c(data[:end]) != data_crc:
            raise Bad("checksum")
        self.hour = hour
        if not 0 <= leaves <= content <= index <= end or content - leaves != 8 + 32 * self.count:
            raise Bad("layout")
        if struct.unpack("<II", data[leaves : leaves + 8]) != (SKIP, 32 * self.count):
            raise Bad("no leaf hashes")
        self.leaves = [data[leaves + 8 + 32 * i : leaves + 40 + 32 * i] for i in range(self.count)]
        self.containers = self.parse_content(data[content + 8 : index])
        text = decompress(data[:leaves])
        if not text.endswith(b"\n"):
            raise Bad("the last line is not whole")
        self.lines = text[:-1].split(b"\n")
        if len(self.lines) != self.count:
            raise Bad("holds %d lines instead of %d" % (len(self.lines), self.count))

    @staticmethod
    def parse_content(p):
        out, (n,), at = [], struct.unpack("<H", p[:2]), 2
        for _ in range(n):
            k = p[at]
            name = p[at + 1 : at + 1 + k].decode()
            items, size = struct.unpack("<IQ", p[at + 1 + k : at + 13 + k])
            out.append((name, items, size, p[at + 13 + k : at + 45 + k]))
            at += 45 + k
        return out


def parse_time(text):
    """Nanoseconds since 1970 of a record's timestamp."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    seconds = calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S"))
    return seconds * 10**9 + int((fraction + "000000000")[:9])


def parse_duration(text):
    """Nanoseconds of a duration such as 1m30s, 0 of anything else."""
    if not re.fullmatch(r"([0-9.]+(h|m|s|ms))+", text):
        return 0
    unit = {"h": 3600 * 10**9, "m": 60 * 10**9, "s": 10**9, "ms": 10**6}
    return sum(int(float(n) * unit[u]) for n, u in re.findall(r"([0-9.]+)(ms|h|m|s)", text))


class Gaps:
    """The times of which a stream does not say that its writer ran."""

    def __init__(self, longest):
        self.longest, self.found, self.streams = longest, [], {}

    def entry(self, stream, seq, line):
        if b'"operation":"ledger.' not in line:
            return
        record = json.loads(line)
        operation = record.get("operation")
        if record.get("kind") != "system" or operation not in ("ledger.start", "ledger.alive", "ledger.stop"):
            return
        at = parse_time(record["timestamp"])
        state = self.streams.get(stream)
        if state is None:
            state = self.streams[stream] = {"until": at, "interval": 0, "stopped": False}
        kind = "silent" if operation != "ledger.start" else "stopped" if state["stopped"] else "killed"
        longest = max(self.longest, 2 * min(state["interval"], 3600 * 10**9))
        if at - state["until"] < -longest:
            kind = "back"
        if abs(at - state["until"]) > longest:
            self.found.append({"kind": kind, "stream": stream, "seq": seq})
        if "interval" in record.get("details", {}):
            state["interval"] = parse_duration(record["details"]["interval"])
        state["until"], state["stopped"] = at, operation == "ledger.stop"


class Verifier:
    def __init__(self, store, contents, keys, cosigners, witness_files, longest_gap, removals=()):
        self.gaps = Gaps(longest_gap)
        self.store, self.contents, self.keys = store, contents, keys
        self.removals, self.details = removals, []
        self.cosigners, self.witness_files = cosigners, witness_files
        self.problems, self.streams, self.read = [], [], 0

    def problem(self, kind, where, detail):
        self.problems.append({"kind": kind, "where": where, "detail": str(detail)})

    def get(self, root, key):
        with open(os.path.join(root, *key.split("/")), "rb") as f:
            data = f.read()
        self.read += len(data)
        return data

    def list(self, root, prefix):
        top = os.path.join(root, *prefix.split("/"))
        keys = []
        for folder, folders, files in os.walk(top):
            for name in files:
                rel = os.path.relpath(os.path.join(folder, name), root)
                keys.append(rel.replace(os.sep, "/"))
        return sorted(keys)

    def run(self):
        origins, heads = {}, []
        known = re.compile(r"v1/(?:_claims/(.+)\.note|(?:_probe/.+)|(.+?)/(?:seg|cnt|cp|wit|tsr|pruned)/.+)")
        roots = [self.store] + ([self.contents] if self.contents != self.store else [])
        for root in roots:
            for key in self.list(root, "v1"):
                m = known.fullmatch(key)
                if not m:
                    self.problem("foreign-object", key, "no object of a ledger has such a name")
                elif m.group(1) or m.group(2):
                    origins.setdefault(m.group(1) or m.group(2))
        if not origins:
            raise SystemExit("verify.py: no ledger here")
        for origin in sorted(origins):
            origins[origin] = self.claim(origin, heads)
        for origin, size, root in heads:
            if origin not in origins:
                self.problem("missing-stream", origin, "another stream follows it")
        marks = self.witnessed(origins)
        for origin in sorted(origins):
            if origins[origin]:
                self.stream(origin, origins[origin], [h[1:] for h in heads if h[0] == origin], marks.get(origin, []))

    def claim(self, origin, heads):
        where = "v1/_claims/%s.note" % origin
        try:
            raw = self.get(self.store, where)
            fields = dict(l.split(" ", 1) for l in raw.decode("utf-8", "replace").split("\n")[1:6])
            key = Key(fields["key"])
            text, by = open_note(raw, [key])
            expected = "claudeaudit.claim/1\norigin %s\nkey %s\ninstance %s\ncreated %s\nprevious %s\n" % (
                origin, key.text, fields["instance"], fields["created"], fields["previous"])
            if not by or text != expected:
                raise Bad("is not the signed claim of this stream")
            if fields["previous"] != "none":
                heads.append(parse_checkpoint(fields["previous"].replace(" ", "\n") + "\n"))
            if self.keys and key.text not in [k.text for k in self.keys]:
                self.problem("unknown-key", where, "the stream is signed with another key")
                return None
            return key
        except (OSError, Bad, ValueError, KeyError) as e:
            self.problem("claim", where, e)
            return None

    def witnessed(self, origins):
        marks = {}
        for path in self.witness_files:
            with open(path, "rb") as f:
                notes = f.read().split(b"\n\n")
            # A note is its text, an empty line, its signatures and another empty line.
            last = {}
            for text, sigs in zip(notes[0::2], notes[1::2]):
                raw = text + b"\n\n" + sigs + b"\n"
                try:
                    origin, size, root = parse_checkpoint(text.decode() + "\n")
                    if origin not in origins:
                        raise Bad("nothing of its stream %s is there" % origin)
                    if size <= last.get(origin, -1):
                        raise Bad("an old checkpoint after a newer one")
                    last[origin] = size
                    if origins[origin] and not open_note(raw, [origins[origin]])[1]:
                        raise Bad("not signed by the stream's key")
                    marks.setdefault(origin, []).append((size, root, path))
                except (Bad, ValueError) as e:
                    self.problem("witness", path, e)
        return marks

    def checkpoints(self, origin, key):
        """Returns what is signed: (size, root, object)."""
        marks, last = [], (0, "")
        for kind, pattern in (("cp", r"(dt=\d{4}-\d\d-\d\d)/(\d{16})\.note"), ("wit", r"(dt=\d{4}-\d\d-\d\d)/(\d{16})-([0-9a-f]{8})\.note")):
            previous = -1
            for name in self.list(self.store, "v1/%s/%s" % (origin, kind)):
                m = re.fullmatch(pattern, name.split("/%s/" % kind, 1)[1])
                try:
                    if not m:
                        raise Bad("no object of a ledger has such a name")
                    text, by = open_note(self.get(self.store, name), [key] + self.cosigners)
                    who, size, root = parse_checkpoint(text)
                    if key not in by:
                        raise Bad("not signed by the stream's key")
                    if who != origin or size != int(m.group(2)):
                        raise Bad("is of size %d of %s" % (size, who))
                    if size < previous or kind == "cp" and size == previous:
                        raise Bad("has a later date than a greater one")
                    previous = size
                    marks.append((size, root, name))
                    if kind == "cp":
                        last = max(last, (size, m.group(1)))
                    elif any(c in by for c in self.cosigners):
                        self.cosigned = max(self.cosigned, size)
                except Bad as e:
                    self.problem("checkpoint", name, e)
        return marks, last[0]

    def stream(self, origin, key, heads, witnessed):
        self.cosigned = 0
        marks, newest = self.checkpoints(origin, key)
        marks += [(size, root, "the claim of the next stream") for size, root in heads if size]
        marks += witnessed
        by_size = {}
        for size, root, name in marks:
            by_size.setdefault(size, []).append((root, name))
        stored = {size for size, _, name in marks if "/cp/" in name}
        for size, _, name in witnessed:
            if size not in stored:
                self.problem("missing-checkpoint", name, "the store lacks the checkpoint of %d" % size)
        tree, prev, day, begin = self.begin(origin, key)
        named = set()
        if begin:
            try:
                if begin not in by_size:
                    raise Bad("no checkpoint of its size is there")
                self.compare(by_size, tree)
            except Bad as e:
                self.problem("pruned", "the first %d entries" % begin, e)
        prefix = ('{"_log":"%s","_prev":"' % origin).encode()
        folder = "v1/%s/seg/" % origin
        broken = False
        for name in self.list(self.store, folder.rstrip("/")):
            m = re.fullmatch(r"(dt=\d{4}-\d\d-\d\d/hh=\d\d)/(\d{16})-([1-9]\d*)-([0-9a-f]{16})\.ndjson\.zst", name[len(folder):])
            try:
                if not m:
                    raise Bad("no object of a ledger has such a name")
                first, count = int(m.group(2)), int(m.group(3))
                if first + count <= begin:
                    continue  # left of a prune that did not end
                if m.group(1) < day:
                    raise Bad("has an earlier date than the one before")
                day = m.group(1)
                if first != tree.size:
                    raise Bad("begins at entry %d, %d is next" % (first, tree.size))
                seg = Segment(self.get(self.store, name))
                if (seg.first, seg.count) != (first, count) or seg.prev != prev:
                    raise Bad("is not what its name says, or does not follow")
                own = Tree()
                for i, line in enumerate(seg.lines):
                    h = leaf_hash(line)
                    head = prefix + prev.hex().encode() + b'","_seq":%d' % (first + i)
                    if not line.startswith(head) or line[len(head):len(head) + 1] not in (b",", b"}") or seg.leaves[i] != h:
                        raise Bad("entry %d does not follow the one before" % (first + i))
                    own.add(h)
                    tree.add(h)
                    self.detail(key, line)
                    prev = h
                    self.gaps.entry(origin, first + i, line)
                    self.compare(by_size, tree)
                if own.root()[:8].hex() != m.group(4):
                    raise Bad("its root is not that of its name")
                self.containers(origin, m.group(1), seg, named)
            except (Bad, OSError, struct.error, ValueError, IndexError) as e:
                self.problem("segment", name, e)
                broken = True
                break
        if not broken:
            for size in sorted(by_size):
                if size > tree.size:
                    self.problem("truncated", by_size[size][0][1], "says that there are %d entries, %d are there" % (size, tree.size))
                    break
            for root in {self.store, self.contents}:
                for name in self.list(root, "v1/%s/cnt" % origin):
                    first = re.search(r"/(\d{16})-", name)
                    if first and int(first.group(1)) < begin:
                        continue
                    if name not in named and (not first or int(first.group(1)) < tree.size):
                        self.problem("foreign-object", name, "no segment names this container")
        self.streams.append({"origin": origin, "pruned": begin, "entries": tree.size, "root": tree.root().hex(), "covered": min(newest, tree.size), "cosigned": self.cosigned})

    def begin(self, origin, key):
        """Returns where a stream begins: its tree, the hash and the date of the
        entry before, and how many entries were removed."""
        tree, prev, day, size = Tree(), sha(("origin\n%s\n%s" % (origin, key.text)).encode()), "", 0
        folder = "v1/%s/pruned" % origin
        for name in self.list(self.store, folder):
            try:
                m = re.fullmatch(r"(\d{16})\.note", name[len(folder) + 1 :])
                if not m:
                    raise Bad("no object of a ledger has such a name")
                raw = self.get(self.store, name)
                text = raw.decode("utf-8", "replace").rsplit("\n\n", 1)[0] + "\n"
                lines = text.split("\n")
                fields = [l.split(" ", 1) for l in lines[1:-1]]
                names = [f[0] for f in fields]
                nodes = [unpack64(f[1]) for f in fields[5:]]
                n = int(fields[1][1])
                if lines[0] != "claudeaudit.pruned/1" or names != ["origin", "size", "root", "last", "hour"] + ["node"] * len(nodes):
                    raise Bad("malformed")
                if fields[0][1] != origin or n != int(m.group(1)) or str(n) != fields[1][1] or n < 1 or len(nodes) != Tree.nodes(n):
                    raise Bad("is of other entries than its name says")
                removed = Tree.of(n, nodes)
                if any(len(h) != 32 for h in nodes) or removed.root() != unpack64(fields[2][1]):
                    raise Bad("its root is not that of its nodes")
                said = [r for r in self.removals if r["stream"] == origin and r["size"] == str(n)]
                said = [r for r in said if r["root"] == removed.root().hex() and r["note_sha256"] == sha(text.encode()).hex()]
                if not any(open_note(raw, [r["key"]])[1] for r in said):
                    raise Bad("no entry of the log of holds and erasures says that they were removed")
                last = unpack64(fields[3][1])
                hour = re.fullmatch(r"(\d{4}-\d\d-\d\d)T(\d\d):00:00Z", fields[4][1])
                if len(last) != 32 or not hour:
                    raise Bad("malformed")
                if n > size:
                    tree, prev, day, size = removed, last, "dt=%s/hh=%s" % hour.groups(), n
            except (Bad, OSError, ValueError, IndexError) as e:
                self.problem("pruned", name, e)
        return tree, prev, day, size

    def compare(self, by_size, tree):
        for root, name in by_size.get(tree.size, ()):
            if root != tree.root():
                raise Bad("the first %d entries are not those that %s signed" % (tree.size, name))

    def detail(self, key, line):
        """Keeps what the log of holds and erasures says of removed entries."""
        if b'"operation":"prune.log"' in line:
            d = json.loads(line).get("details") or {}
            if all(isinstance(d.get(f), str) for f in ("stream", "size", "root", "note_sha256")):
                self.details.append(dict(d, key=key))

    def containers(self, origin, day, seg, named):
        """Checks the content beside a segment against what its lines name."""
        have = {}
        for cls, items, size, index_hash in seg.containers:
            name = "v1/%s/cnt/%s/%s/%016d-%s.cnt" % (origin, cls, day, seg.first, index_hash[:8].hex())
            named.add(name)
            try:
                data = self.get(self.contents, name)
            except OSError:
                self.problem("missing-content", name, "is not there")
                have = None
                break
            trailer = 8 + 4 + 8 + 8 + 1 + 64 + 4 + 8
            try:
                if len(data) != size:
                    raise Bad("has %d bytes instead of %d" % (len(data), size))
                t = data[-trailer:]
                at, n, first, _ = struct.unpack("<QIQq", t[:28])
                if (n, first) != (items, seg.first) or sha(data[at:]) != index_hash or data[:8] != b"CACNT1\r\n":
                    raise Bad("is not the container that the segment names")
                for i in range(n):
                    p = data[at + 56 * i :]
                    off, length = struct.unpack("<QQ", p[32:48])
                    if sha(data[off : off + length]) != p[:32]:
                        raise Bad("a content's hash does not match")
                    have[p[:32].hex()] = True
            except (Bad, struct.error) as e:
                self.problem("content", name, e)
                have = None
                break
        for i, line in enumerate(seg.lines):
            content = json.loads(line).get("content") or {}
            for field, value in content.items():
                if field.endswith("sha256") and have is not None and value not in have:
                    self.problem("missing-content", "entry %d" % (seg.first + i), "content %s is not stored" % value)


def load_keys(names):
    keys = []
    for name in names:
        if "+" in name and not os.path.exists(name):
            keys.append(Key(name))
            continue
        with open(name) as f:
            keys += [Key(l) for l in f.read().split("\n") if l.strip() and not l.startswith("#")]
    return keys


def main():
    p = argparse.ArgumentParser(description="Verify a copy of a ledger's objects.")
    p.add_argument("store", help="folder that has v1 in it")
    p.add_argument("--key", action="append", default=[], help="file or text of the checkpoint key's public half")
    p.add_argument("--cosigner", action="append", default=[], help="file or text of a witness's public key")
    p.add_argument("--checkpoints", action="append", default=[], help="file with copies of checkpoints")
    p.add_argument("--contents", help="folder with the content, if not in the store")
    p.add_argument("--longest-gap", default="5m", help="longest time of which the ledger need not say that its writer ran")
    p.add_argument("--admin", help="folder that has the v1 of the log of holds and erasures in it")
    p.add_argument("--admin-key", action="append", default=[], help="file or text of that log's public key")
    a = p.parse_args()
    removals = []
    try:
        longest = parse_duration(a.longest_gap)
        if a.admin:
            admin = Verifier(a.admin, a.admin, load_keys(a.admin_key), [], [], longest)
            admin.run()
            if admin.problems:
                print("verify.py: --admin does not verify: %s" % admin.problems[0], file=sys.stderr)
            elif not admin.keys:
                print("verify.py: --admin: name its public key with --admin-key", file=sys.stderr)
            else:
                removals = admin.details
        v = Verifier(a.store, a.contents or a.store, load_keys(a.key), load_keys(a.cosigner), a.checkpoints, longest, removals)
    except (OSError, Bad) as e:
        print("verify.py: %s" % e, file=sys.stderr)
        return 2
    v.run()
    verdict = "bad" if v.problems else "intact" if v.keys else "unchecked"
    json.dump({"integrity": verdict, "streams": v.streams, "problems": v.problems, "time_gaps": v.gaps.found, "bytes": v.read}, sys.stdout, indent=2)
    print()
    return {"bad": 1, "intact": 0, "unchecked": 2}[verdict]


if __name__ == "__main__":
    sys.exit(main())
