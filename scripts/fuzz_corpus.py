#!/usr/bin/env python3
"""The fuzzing corpora that are kept: fuzz/corpus/NAME.txt, one input a line in base64, sorted.

`fuzz_corpus.py unpack NAME DIRECTORY` writes a kept corpus as libFuzzer wants it, one file an input.
`fuzz_corpus.py pack NAME DIRECTORY` keeps a directory's inputs (after `-set_cover_merge=1`, which leaves the smallest set that
reaches the same code). Longer inputs than 1 KiB are left out, so that the folder stays small.
"""
import base64
import hashlib
import pathlib
import sys

LONGEST = 1024
action, name, directory = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
kept = pathlib.Path(__file__).resolve().parent.parent / "fuzz" / "corpus" / f"{name}.txt"
directory.mkdir(parents=True, exist_ok=True)
if action == "pack":
    inputs = {path.read_bytes() for path in directory.iterdir()}
    lines = sorted(base64.b64encode(one).decode() for one in inputs if 0 < len(one) <= LONGEST)
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("".join(f"{line}\n" for line in lines))
elif action == "unpack":
    for line in kept.read_text().split() if kept.exists() else []:
        one = base64.b64decode(line, validate=True)
        (directory / hashlib.sha1(one).hexdigest()).write_bytes(one)
else:
    sys.exit(__doc__)
