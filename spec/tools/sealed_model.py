#!/usr/bin/env python3
"""A second implementation of spec/sealed-model.md, written from the specification alone.

  sealed_model.py make DIR    write the conformance vectors of format 1 to DIR (vectors/sealed-model)
  sealed_model.py check DIR   make them again and compare with DIR; exit status 1 where they differ
  sealed_model.py open DIR KEY PUBLISHER
                              verify and open a sealed model; KEY and PUBLISHER are 64 hex digits;
                              prints the manifest digest and each file's size, SHA-256 and name

Needs Python 3.9 and the package `cryptography` (AES-GCM and Ed25519 only; exit status 3 without it).
Everything in the vectors is fixed: keys and salts are public, and must protect nothing.
"""

import base64
import hashlib
import hmac
import json
import pathlib
import struct
import sys
import uuid

try:
    from cryptography.exceptions import InvalidSignature, InvalidTag
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
except ImportError:
    print("needs the Python package `cryptography`: pip install cryptography", file=sys.stderr)
    sys.exit(3)

CHUNK = 16384
LABEL = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
PREDICATE_TYPE = "https://casemate.dev/sealed-model/v1"


# --- blobs (sections 3 and 4)

def expand(key, info, length):
    """HKDF-Expand with SHA-512."""
    okm, block = b"", b""
    counter = 1
    while len(okm) < length:
        block = hmac.new(key, block + info + bytes([counter]), hashlib.sha512).digest()
        okm += block
        counter += 1
    return okm[:length]


def context(model_uuid, version, name):
    raw = name.encode()
    return b"sealed-model/v1\0" + model_uuid.bytes + struct.pack(">QI", version, len(raw)) + raw


def derive(key, salt, ctx):
    okm = expand(key, LABEL + salt + ctx, 76)
    return AESGCM(okm[:32]), okm[32:44], okm[44:]


def nonce(base, k):
    return bytes(a ^ b for a, b in zip(base, k.to_bytes(12, "big")))


def seal_blob(key, salt, ctx, plain):
    aead, base, commitment = derive(key, salt, ctx)
    blob = salt + commitment
    for k in range(len(plain) // CHUNK + 1):
        blob += aead.encrypt(nonce(base, k), plain[k * CHUNK:(k + 1) * CHUNK], None)
    return blob


def open_blob(key, header, ctx, size, blob):
    if len(blob) != 56 + size + 16 * (size // CHUNK + 1):
        raise ValueError("wrong length")
    aead, base, commitment = derive(key, header[:24], ctx)
    if not hmac.compare_digest(commitment, header[24:]) or blob[:56] != header:
        raise ValueError("wrong header")
    plain = b""
    for k in range(size // CHUNK + 1):
        at = 56 + k * (CHUNK + 16)
        plain += aead.decrypt(nonce(base, k), blob[at:at + CHUNK + 16], None)
    return plain


def blob_name(header):
    return "blobs/" + hashlib.sha256(header).hexdigest()[:32]


# --- manifest (sections 5 and 6)

def canonical(value):
    """RFC 8785, for the values that a manifest can hold: ASCII member names, integers and text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def b64(data):
    return base64.b64encode(data).decode()


def key_id(public):
    return hashlib.sha256(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def pae(payload):
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def statement(model, files):
    root = hashlib.sha256(b"".join(bytes.fromhex(file["sha256"]) for file in files)).hexdigest()
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": model["name"], "digest": {"sha256": root}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "format": 1,
            "suite": "cobblestone-256",
            "model_uuid": str(model["uuid"]),
            "version": model["version"],
            "created": model["created"],
            "mk_commitment": hashlib.sha256(b"sealed-model/v1 mk" + model["key"]).hexdigest(),
            "files": files,
            "recipients": model["recipients"],
        },
    }


def sign(payload, secret):
    signature = {"keyid": key_id(secret.public_key()), "sig": b64(secret.sign(pae(payload)))}
    return canonical({"payload": b64(payload), "payloadType": PAYLOAD_TYPE, "signatures": [signature]})


# --- the vectors

MODEL = {
    "name": "casemate-vector",
    "uuid": uuid.UUID("5ea1ed00-0000-4000-8000-000000000001"),
    "version": 17,
    "created": 1763900000,
    "key": bytes(range(0x40, 0x60)),
    "recipients": [{"type": "kbs", "uri": "kbs:///vectors/model-key/casemate-vector"}],
}
SEED = bytes(range(0x20, 0x40))
# An empty file, a short one, one of exactly a chunk, and a name beyond ASCII.
FILES = {"config.json": 61, "empty.bin": 0, "tokenizer/na\u00efve.json": 21, "weights/part-1.bin": 16384}


def content(name, size):
    """`size` bytes that depend on the name: SHA-256 of name and counter, repeated."""
    blocks = (hashlib.sha256(name.encode() + struct.pack(">I", i)).digest() for i in range(size // 32 + 1))
    return b"".join(blocks)[:size]


def salt_for(name):
    return hashlib.sha256(b"salt of " + name.encode()).digest()[:24]


def vectors():
    """Relative path -> bytes."""
    out = {}
    entries = []
    secret = Ed25519PrivateKey.from_private_bytes(SEED)
    for name, size in sorted(FILES.items(), key=lambda item: item[0].encode()):
        plain = content(name, size)
        blob = seal_blob(MODEL["key"], salt_for(name), context(MODEL["uuid"], MODEL["version"], name), plain)
        out["model/" + blob_name(blob[:56])] = blob
        entries.append({
            "name": name,
            "size": size,
            "header": b64(blob[:56]),
            "sha256": hashlib.sha256(plain).hexdigest(),
            "blob": blob_name(blob[:56]),
        })
    payload = canonical(statement(MODEL, entries))
    out["model/sealed.json"] = sign(payload, secret)
    public = secret.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
    facts = {
        "created": MODEL["created"],
        "files": [{"name": e["name"], "salt": salt_for(e["name"]).hex(), "sha256": e["sha256"]} for e in entries],
        "manifest_digest": hashlib.sha256(payload).hexdigest(),
        "model_key": MODEL["key"].hex(),
        "name": MODEL["name"],
        "publisher": public,
        "publisher_seed": SEED.hex(),
        "root_digest": json.loads(payload)["subject"][0]["digest"]["sha256"],
        "uri": MODEL["recipients"][0]["uri"],
        "uuid": str(MODEL["uuid"]),
        "version": MODEL["version"],
    }
    out["model.json"] = json.dumps(facts, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"
    for slug, (code, envelope) in sorted(refused(payload, secret).items()):
        case = {"envelope": b64(envelope), "expect": code}
        out["refused/" + slug + ".json"] = json.dumps(case, indent=1, sort_keys=True).encode() + b"\n"
    return out


def refused(payload, secret):
    """Manifests with one mistake each: name of the case -> (error code, sealed.json)."""
    cases = {}
    good = sign(payload, secret)

    def resigned(slug, code, change):
        value = json.loads(payload)
        change(value, value["predicate"])
        cases[slug] = (code, sign(canonical(value), secret))

    def file0(key, new):
        return lambda s, p: p["files"][0].__setitem__(key, new)

    resigned("format-2", "seal.manifest.format", lambda s, p: p.__setitem__("format", 2))
    resigned("suite-unknown", "seal.manifest.suite", lambda s, p: p.__setitem__("suite", "cobblestone-512"))
    resigned("not-after-unknown", "seal.manifest.unknown-member", lambda s, p: p.__setitem__("not_after", None))
    resigned("name-traversal", "seal.name.traversal", file0("name", "../config.json"))
    resigned("name-absolute", "seal.name.absolute", file0("name", "/config.json"))
    resigned("name-backslash", "seal.name.backslash", file0("name", "a\\config.json"))
    resigned("name-nul", "seal.name.control", file0("name", "a\0"))
    resigned("name-empty", "seal.name.empty", file0("name", ""))
    resigned("name-twice", "seal.files.duplicate-name", file0("name", "empty.bin"))
    resigned("files-unsorted", "seal.files.order", lambda s, p: p["files"].reverse())
    resigned("files-none", "seal.files.none", lambda s, p: p.__setitem__("files", []))
    resigned("size-negative", "seal.manifest.wrong-type", file0("size", -1))
    resigned("size-beyond", "seal.file.too-large", file0("size", 2 ** 52))
    resigned("root-digest", "seal.manifest.root-digest", file0("sha256", "00" * 32))
    resigned("blob-elsewhere", "seal.files.blob-name", file0("blob", "blobs/" + "00" * 16))
    resigned("recipients-none", "seal.recipients.none", lambda s, p: p.__setitem__("recipients", []))
    resigned("recipient-unknown", "seal.recipient.unknown-type",
             lambda s, p: p["recipients"][0].__setitem__("type", "hpke"))
    cases["member-twice"] = ("seal.manifest.duplicate-member",
                             sign(payload.replace(b'"format":1', b'"format":1,"format":1'), secret))
    cases["not-canonical"] = ("seal.manifest.not-canonical", sign(payload.replace(b'"format":', b'"format": '), secret))
    cases["envelope-newline"] = ("seal.manifest.not-canonical", good + b"\n")
    cases["truncated"] = ("seal.manifest.syntax", good[:-1])
    other = Ed25519PrivateKey.from_private_bytes(bytes(32))
    cases["other-publisher"] = ("seal.signature.unknown-publisher", sign(payload, other))
    for slug, code, change in [
        ("unsigned", "seal.signature.none", lambda e: e.__setitem__("signatures", [])),
        ("payload-type", "seal.manifest.payload-type", lambda e: e.__setitem__("payloadType", "text/plain")),
        ("borrowed-signature", "seal.signature.bad", lambda e: e["signatures"][0].__setitem__("sig", b64(bytes(64)))),
        ("other-payload", "seal.signature.bad",
         lambda e: e.__setitem__("payload", b64(payload.replace(b'"version":17', b'"version":16')))),
    ]:
        envelope = json.loads(good)
        change(envelope)
        cases[slug] = (code, canonical(envelope))
    return cases


# --- commands

def make(root):
    for path, data in vectors().items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)


def check(root):
    wanted = vectors()
    found = {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file() and p.name != "README.md"}
    wrong = sorted(path for path in wanted.keys() | found.keys() if wanted.get(path) != found.get(path))
    for path in wrong:
        print("differs:", path)
    print("%d vectors, %d differ" % (len(wanted), len(wrong)))
    return 1 if wrong else 0


def open_model(root, key, publisher):
    envelope = json.loads((root / "sealed.json").read_bytes())
    payload = base64.b64decode(envelope["payload"], validate=True)
    public = Ed25519PublicKey.from_public_bytes(publisher)
    signature = next(s for s in envelope["signatures"] if s["keyid"] == key_id(public))
    public.verify(base64.b64decode(signature["sig"], validate=True), pae(payload))
    predicate = json.loads(payload)["predicate"]
    print("manifest", hashlib.sha256(payload).hexdigest())
    for entry in predicate["files"]:
        ctx = context(uuid.UUID(predicate["model_uuid"]), predicate["version"], entry["name"])
        blob = (root / entry["blob"]).read_bytes()
        plain = open_blob(key, base64.b64decode(entry["header"]), ctx, entry["size"], blob)
        digest = hashlib.sha256(plain).hexdigest()
        if digest != entry["sha256"]:
            raise ValueError("wrong digest of " + entry["name"])
        print(entry["size"], digest, entry["name"])


def main(arguments):
    try:
        if len(arguments) == 2 and arguments[0] == "make":
            return make(pathlib.Path(arguments[1]))
        if len(arguments) == 2 and arguments[0] == "check":
            return check(pathlib.Path(arguments[1]))
        if len(arguments) == 4 and arguments[0] == "open":
            return open_model(pathlib.Path(arguments[1]), *map(bytes.fromhex, arguments[2:]))
    except (InvalidTag, InvalidSignature, ValueError, StopIteration, OSError) as error:
        print("refused: %s %s" % (type(error).__name__, error), file=sys.stderr)
        return 1
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
