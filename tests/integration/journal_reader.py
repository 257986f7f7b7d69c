"""Reads a store's journal (storage/journal.h) as it grows, independently of the program: what is durable at a moment,
so that a test can say later that none of it was lost."""

import struct
import zlib

HEADER_BYTES = 32  # "ropeswpJ" · u32 format · u32 CRC · 16 bytes identity
FRAME = struct.Struct("<4sIQ")  # "RSWF" · u32 CRC of what follows · u64 length of the payload


def read_cbor(data, at=0):
    """(the value at `at`, where it ends): RFC 8949 without tags and streams, which the program doesn't write."""
    kind, low = data[at] >> 5, data[at] & 31
    at += 1
    if kind == 7:
        if low in (26, 27):
            form, size = ((">f", 4), (">d", 8))[low - 26]
            return struct.unpack_from(form, data, at)[0], at + size
        return {20: False, 21: True, 22: None}[low], at
    count = low
    if low >= 24:
        size = 1 << (low - 24)
        count = int.from_bytes(data[at:at + size], "big")
        at += size
    if kind == 0:
        return count, at
    if kind == 1:
        return -1 - count, at
    if kind in (2, 3):
        raw = bytes(data[at:at + count])
        return (raw if kind == 2 else raw.decode()), at + count
    if kind == 4:
        items = []
        for _ in range(count):
            item, at = read_cbor(data, at)
            items.append(item)
        return items, at
    if kind == 5:
        members = {}
        for _ in range(count):
            key, at = read_cbor(data, at)
            members[key], at = read_cbor(data, at)
        return members, at
    raise ValueError(f"CBOR of kind {kind}")


def records_of(payload):
    at = 0
    while at < len(payload):
        size = int.from_bytes(payload[at:at + 4], "little")
        yield payload[at + 4:at + 4 + size]
        at += 4 + size


class JournalReader:
    """Follows one journal; call `look` as often as you like, while a run writes it or between runs."""

    def __init__(self, path):
        self.path = path
        self.known = b""  # the valid bytes of the last look
        self.identity = None
        self.results = {}  # (task, attempt) → its outcome, of attempts that finished or diverged
        self.times_renewed = 0

    def look(self):
        """Takes in all complete frames. Returns "" or what is wrong with what was there before."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return "the journal is gone" if self.known else ""
        if len(data) < HEADER_BYTES:
            return "the journal has lost its header" if self.known else ""
        wrong = ""
        before = {}
        if data[16:HEADER_BYTES] != self.identity:  # the first, or one written anew in its place
            before, self.results = self.results, {}
            self.times_renewed += self.identity is not None
            self.identity, self.known = data[16:HEADER_BYTES], data[:HEADER_BYTES]
        elif data[:len(self.known)] != self.known:
            wrong = f"the first {len(self.known)} bytes, which were durable, have changed or are cut"
        at = len(self.known)
        while at + FRAME.size <= len(data):
            magic, crc, size = FRAME.unpack_from(data, at)
            payload = data[at + FRAME.size:at + FRAME.size + size]
            if magic != b"RSWF" or len(payload) < size or zlib.crc32(data[at + 8:at + FRAME.size + size]) != crc:
                break  # being written, or torn
            for record in records_of(payload):
                self.take(read_cbor(record)[0][1])
            at += FRAME.size + size
        self.known = data[:at]
        lost = sorted(key for key in before if key not in self.results)
        return wrong or (f"a journal written anew lacks the results of {lost}" if lost else "")

    def take(self, event):
        if event["event"] == "attempt_ended":
            attempt = event["attempt"]
            if attempt["status"] in ("finished", "diverged"):
                self.results[attempt["task"], attempt["number"]] = event["outcome"]
        elif event["event"] == "imported":
            for attempt in event["attempts"]:
                if attempt["status"] in ("finished", "diverged"):
                    self.results.setdefault((attempt["task"], attempt["number"]), {})
