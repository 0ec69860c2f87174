#!/usr/bin/env python3
"""Makes a corpus for examples/file_pipeline: images, texts and archives, some of them broken in ways that happen, and a few big ones.

usage: corpus.py FOLDER [--images N] [--texts N] [--archives N] [--broken N] [--big N] [--seed N]

Of each kind N files (default 100), and `--broken N` more of each kind that are broken (default 5). `--big N` (default 2): images of some 10 million pixels,
texts of 20 MB, archives of 20 MB. The same seed gives the same files. Prints JSON: what is broken, and what is true of some that are not.
"""

import argparse
import io
import json
import pathlib
import random
import struct
import tarfile
import zipfile
import zlib

WORDS = {
    "en": "the of and to in that it was for with water stone river house night light always under morning people where thought",
    "de": "der die und das nicht ist ein mit von zu Wasser Stein Haus Nacht Licht immer unter Morgen Leute wo dachte Straße",
    "fr": "le les et des est dans pour que une qui eau pierre maison nuit lumière toujours sous matin gens pensée",
    "nl": "de het een van en niet dat op te zijn water steen huis nacht licht altijd onder morgen mensen dacht",
}


def png(width, height, random_, interlaced=False):
    """A picture of stripes and noise: so it neither compresses to nothing nor takes long to make."""
    noise = random_.randbytes(3 * width)
    rows = bytearray()
    for y in range(height):
        shift = 3 * (y * 7 % width)
        rows += b"\0" + noise[shift:] + noise[:shift] if y % 4 == 0 else b"\0" + bytes((y % 256, width % 256, (y * 3) % 256)) * width

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(rows), 1)) + chunk(b"IEND", b"")


DC_CODES = ["00", "010", "011", "100", "101", "110", "1110", "11110", "111110", "1111110"]  # of the standard, by how many bits follow
DC_TABLE = bytes([0, 1, 5, 1, 1, 1, 1, 1, 1] + [0] * 7) + bytes(range(12))


def jpeg(width, height, random_, progressive=False):
    """A grey one whose blocks of 8 by 8 pixels are of one shade each: all of JPEG that is needed for that."""
    across, down = (width + 7) // 8, (height + 7) // 8
    shades = [random_.randint(-120, 120) for _ in range(across)]
    bits, last = [], 0
    for y in range(down):
        for x in range(across):
            shade = shades[(x + y) % across]
            difference, last = shade - last, shade
            n = abs(difference).bit_length()
            bits.append(DC_CODES[n] + (format(difference if difference > 0 else difference + (1 << n) - 1, f"0{n}b") if n else "") + ("" if progressive else "0"))
    stream = "".join(bits)
    stream += "1" * (-len(stream) % 8)

    def segment(marker, data):
        return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data

    return (b"\xff\xd8" + segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0") + segment(0xDB, b"\0" + bytes([8] * 64))
            + segment(0xC2 if progressive else 0xC0, struct.pack(">BHHBBBB", 8, height, width, 1, 1, 0x11, 0))
            + segment(0xC4, b"\0" + DC_TABLE) + segment(0xC4, b"\x10" + bytes([1] + [0] * 15) + b"\0")
            + segment(0xDA, bytes([1, 1, 0, 0, 0 if progressive else 63, 0]))
            + int(stream, 2).to_bytes(len(stream) // 8, "big").replace(b"\xff", b"\xff\0") + b"\xff\xd9")


def image(random_, width, height, n):
    if n % 3 == 0:
        return ".png", png(width, height, random_)
    return ".jpg", jpeg(width, height, random_, progressive=n % 3 == 2)


def text(random_, words, language):
    known = WORDS[language].split()
    lines = []
    while words > 0:
        n = min(words, random_.randint(3, 14))
        lines.append(" ".join(random_.choices(known, k=n)))
        words -= n
    return "\n".join(lines) + "\n"


def archive(random_, ending, members, size):
    """Bytes, and the members' names, sizes and CRC-32s."""
    contents = [(f"folder/member-{i}.bin", random_.randbytes(size // 2) + bytes(size - size // 2)) for i in range(members)]
    to = io.BytesIO()
    if ending == ".zip":
        with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as z:
            for name, data in contents:
                z.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    else:
        with tarfile.open(fileobj=to, mode={".tar": "w", ".tar.gz": "w:gz", ".tar.bz2": "w:bz2", ".tar.xz": "w:xz"}[ending], **({"preset": 1} if ending == ".tar.xz" else {})) as t:
            for name, data in contents:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                t.addfile(info, io.BytesIO(data))
    return to.getvalue(), [[name, len(data), zlib.crc32(data)] for name, data in contents]


def spoilt(data, how, random_):
    """One of the ways in which files break, each of which a reader can notice."""
    if how == 0:
        return data[: len(data) // 2]  # an upload that was cut off
    if how == 1:
        return b""
    if how == 2:
        return random_.randbytes(len(data))
    at = len(data) // 2
    return data[:at] + bytes(b ^ 0x55 for b in data[at:at + 64]) + data[at + 64:]  # a bad block on the disk


def main():
    arguments = argparse.ArgumentParser(usage=__doc__)
    arguments.add_argument("folder", type=pathlib.Path)
    for kind in ("images", "texts", "archives"):
        arguments.add_argument(f"--{kind}", type=int, default=100)
    arguments.add_argument("--broken", type=int, default=5)
    arguments.add_argument("--big", type=int, default=2)
    arguments.add_argument("--seed", type=int, default=1)
    given = arguments.parse_args()
    made = {"files": 0, "bytes": 0, "broken": [], "known": {}}

    def put(name, data):
        path = given.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        made["files"] += 1
        made["bytes"] += len(data)
        return str(path)

    def break_one(name, data, how, random_):
        made["broken"].append(put(name, spoilt(data, how, random_)))

    for n in range(given.images + given.broken + given.big):
        random_ = random.Random(f"image {given.seed} {n}")
        big = n >= given.images + given.broken
        width, height = (3600, 2700) if big else (random_.randint(200, 1600), random_.randint(200, 1200))
        ending, data = image(random_, width, height, n)
        name = f"images/{n % 10}/{'big' if big else 'image'}-{n}{ending}"
        if given.images <= n < given.images + given.broken:
            # Of a JPEG a few flipped bytes are other colours, and no error: those are PNGs, which have checksums.
            break_one(name.removesuffix(ending) + ".png", png(width, height, random_), (n - given.images) % 4, random_)
        else:
            made["known"][put(name, data)] = [width, height]
    endings = [".zip", ".tar.gz", ".tar", ".tgz", ".tar.bz2", ".tar.xz"]
    for n in range(given.archives + given.broken + given.big):
        random_ = random.Random(f"archive {given.seed} {n}")
        ending = endings[n % len(endings)]
        big = n >= given.archives + given.broken
        broken = given.archives <= n < given.archives + given.broken
        if big or broken:
            ending = endings[n % 2]  # a tar's contents have no checksum
        size = (4_000_000 if big else random_.randint(1_000, 60_000))
        data, members = archive(random_, {".tgz": ".tar.gz"}.get(ending, ending), 5 if big else random_.randint(1, 20), size)
        name = f"archives/{n % 10}/{'big' if big else 'archive'}-{n}{ending}"
        if broken:
            break_one(name, data, (n - given.archives) % 4, random_)
        else:
            made["known"][put(name, data)] = members
    for n in range(given.texts + given.broken + given.big):
        random_ = random.Random(f"text {given.seed} {n}")
        language = list(WORDS)[n % len(WORDS)]
        big = n >= given.texts + given.broken
        words = 3_500_000 if big else random_.randint(50, 3_000)
        data = text(random_, min(words, 70_000), language)
        if big:
            data *= words // 70_000
        name = f"texts/{n % 10}/{'big' if big else 'text'}-{n}{('.txt', '.md', '.log')[n % 3]}"
        if given.texts <= n < given.texts + given.broken:
            made["broken"].append(put(name, data.encode() + b"\0" + random_.randbytes(100)))
        else:
            made["known"][put(name, data.encode())] = [data.count("\n"), len(data.split()), len(data), language]
    print(json.dumps(made))


if __name__ == "__main__":
    main()
