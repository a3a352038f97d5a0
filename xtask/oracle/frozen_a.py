"""Rows of a frozen A by design.md's formula, written out once more: SHA-256 by hashlib, ChaCha8 by RFC 8439's rounds.

    python3 xtask/oracle/frozen_a.py > runtime/tests/fixtures/frozen_a.json

Only Python's own modules are used, so that the file says what the formula says, whatever crates do.
"""

import hashlib
import json
import struct

MASK = 0xFFFFFFFF


def rotate(x, by):
    return (x << by | x >> (32 - by)) & MASK


def quarter(s, a, b, c, d):
    for x, y, z, by in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        s[x] = (s[x] + s[y]) & MASK
        s[z] = rotate(s[z] ^ s[x], by)


def chacha8(key, counter):
    """One block of sixteen words; the nonce is 0."""
    start = [0x61707865, 0x3320646E, 0x79622D32, 0x6B206574, *struct.unpack("<8I", key), counter, 0, 0, 0]
    s = list(start)
    for _ in range(4):  # eight rounds
        for at in ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)):
            quarter(s, *at)
        for at in ((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)):
            quarter(s, *at)
    return [(x + y) & MASK for x, y in zip(s, start)]


def float32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def row(base, seed, site, i, columns):
    key = hashlib.sha256(base + struct.pack("<QII", seed, site, i)).digest()
    words = [w for block in range(-(-columns // 16)) for w in chacha8(key, block)][:columns]
    # Quotient, root and product are each rounded to float32; in double precision before that they are exact enough.
    bound = float32(float32(3.0 / columns) ** 0.5)
    return [float32(((w >> 8) * 2.0**-24 * 2.0 - 1.0) * bound) for w in words]


def main():
    base = hashlib.sha256(b"a base model").digest()
    cases = []
    for seed, site, columns, count in ((0, 0, 8, 5), (7, 1, 3, 5), (2**64 - 1, 0, 8, 5), (7, 0, 8, 5), (3, 2, 40, 2)):
        rows = [row(base, seed, site, i, columns) for i in range(count)]
        bits = [[struct.pack(">f", x).hex() for x in values] for values in rows]
        cases.append({"seed": seed, "site": site, "columns": columns, "rows": bits})
    print(json.dumps({"base_model": base.hex(), "cases": cases}, indent=1))


main()
