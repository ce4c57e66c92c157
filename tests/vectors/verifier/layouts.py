"""FORMAT.md, sections 1 and 2: the encoding, every layout, hashes and preimages."""

import hashlib
import struct

ZERO = bytes(32)


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


class Wrong(Exception):
    """Something that was to be verified does not hold."""


def require(condition, what):
    if not condition:
        raise Wrong(what)


# 1. Encoding. A type is a name of the table there, or a tuple that starts with what it is.

NUMBERS = {"u8": 1, "u16": 2, "u32": 4, "u64": 8, "u128": 16}
FIXED = {"hash": 32, "key": 32, "signature": 64}


def encode(kind, value):
    if isinstance(kind, str) and kind in NUMBERS:
        return value.to_bytes(NUMBERS[kind], "little")
    if isinstance(kind, str) and kind in FIXED:
        assert len(value) == FIXED[kind]
        return value
    if kind == "bool":
        return bytes([value])
    if kind == "bytes":
        return struct.pack("<Q", len(value)) + value
    if kind == "text":
        return encode("bytes", value.encode())
    if kind[0] == "list":
        return struct.pack("<Q", len(value)) + b"".join(encode(kind[1], each) for each in value)
    if kind[0] == "optional":
        return b"\0" if value is None else b"\1" + encode(kind[1], value)
    if kind[0] == "struct":
        return b"".join(encode(each, value[name]) for name, each in kind[1])
    if kind[0] == "enum":
        number = [name for name, _ in kind[1]].index(value[0])
        return struct.pack("<I", number) + encode(kind[1][number][1], value[1])
    raise AssertionError(kind)


class Decoder:
    def __init__(self, data, note=lambda taken, label: None):
        self.data, self.at, self.note = data, 0, note

    def take(self, count, label):
        require(self.at + count <= len(self.data), "cut short")
        taken = self.data[self.at : self.at + count]
        self.at += count
        self.note(taken, label)
        return taken

    def number(self, width, label):
        return int.from_bytes(self.take(width, label), "little")

    def value(self, kind, label):
        if isinstance(kind, str) and kind in NUMBERS:
            return self.number(NUMBERS[kind], label)
        if isinstance(kind, str) and kind in FIXED:
            return self.take(FIXED[kind], label)
        if kind == "bool":
            value = self.number(1, label)
            require(value < 2, "a bool is 0 or 1")
            return bool(value)
        if kind == "bytes":
            return self.take(self.number(8, f"{label}: length"), label)
        if kind == "text":
            try:
                return self.value("bytes", label).decode()
            except UnicodeDecodeError as error:
                raise Wrong("not UTF-8") from error
        if kind[0] == "list":
            count = self.number(8, f"{label}: how many")
            return [self.value(kind[1], f"{label} {index}") for index in range(count)]
        if kind[0] == "optional":
            present = self.number(1, f"{label}: present?")
            require(present < 2, "an optional is 0 or 1")
            return self.value(kind[1], label) if present else None
        if kind[0] == "struct":
            return {name: self.value(each, f"{label}: {name}" if label else name) for name, each in kind[1]}
        if kind[0] == "enum":
            number = self.number(4, f"{label}: number")
            require(number < len(kind[1]), "no such variant")
            return (kind[1][number][0], self.value(kind[1][number][1], label))
        raise AssertionError(kind)


def decode(kind, data):
    decoder = Decoder(data)
    value = decoder.value(kind, "")
    require(decoder.at == len(data), "bytes left over")
    assert encode(kind, value) == data
    return value


def Struct(**fields):
    return ("struct", list(fields.items()))


def Enum(**variants):
    return ("enum", list(variants.items()))


def List(kind):
    return ("list", kind)


def Optional(kind):
    return ("optional", kind)


NOTHING = Struct()
ROLE = Enum(validator=NOTHING, submitter=NOTHING, auditor=NOTHING)
VALIDATOR_CARD = Struct(vote_key="key", transport_key="key", address="text")
UNSIGNED_CARD = Struct(name="text", member_key="key", roles=List(ROLE), validator=Optional(VALIDATOR_CARD))
CARD = ("struct", UNSIGNED_CARD[1] + [("signatures", List("signature"))])
PARAMETERS = Struct(
    window="u64",
    term_blocks="u64",
    max_block_transactions="u32",
    max_block_bytes="u32",
    max_transaction_bytes="u32",
    max_lifetime_ms="u64",
    max_clock_drift_ms="u64",
    view_timeout_ms="u64",
    max_view_timeout_ms="u64",
    request_timeout_ms="u64",
)
CONTENT = Struct(name="text", created_ms="u64", parameters=PARAMETERS, members=List(CARD))
OPERATION = Enum(
    CreateNamespace=Struct(namespace="text"),
    SetNamespaceMembers=Struct(namespace="text", owners=List("key"), writers=List("key")),
    Put=Struct(namespace="text", key="bytes", value="bytes", expected=Optional("u64")),
    Delete=Struct(namespace="text", key="bytes", expected=Optional("u64")),
    CreateAsset=Struct(asset="text"),
    Mint=Struct(asset="text", to="key", amount="u128"),
    Transfer=Struct(asset="text", to="key", amount="u128"),
    Burn=Struct(asset="text", amount="u128"),
)
TRANSACTION = Struct(
    chain="hash", sender="key", nonce="u64", expires_at="u64", operations=List(OPERATION)
)
SIGNED_TRANSACTION = Struct(transaction=TRANSACTION, signature="signature")
FAILURE = Enum(
    NamespaceExists=NOTHING,
    NoSuchNamespace=NOTHING,
    NotOwner=NOTHING,
    NotWriter=NOTHING,
    VersionMismatch=Struct(found="u64"),
    NoSuchKey=NOTHING,
    AssetExists=NOTHING,
    NoSuchAsset=NOTHING,
    NotIssuer=NOTHING,
    InsufficientBalance=Struct(balance="u128"),
    SupplyOverflow=NOTHING,
    NoSuchMember=NOTHING,
)
OUTCOME = Enum(applied=NOTHING, failed=Struct(operation="u16", reason=FAILURE))
APPLIED = ("applied", {})
RECORD = Struct(transaction="hash", outcome=OUTCOME)
HEADER = Struct(
    chain="hash",
    height="u64",
    view="u64",
    proposer="u16",
    timestamp="u64",
    parent="hash",
    parent_result="hash",
    transactions_root="hash",
    transaction_count="u32",
    history_root="hash",
    validators="hash",
)
RESULT = Struct(state_root="hash", outcomes_root="hash", next_validators="hash")
VALIDATORS = List(Struct(member="key", vote_key="key"))
PREPARE = Struct(view="u64", height="u64", block="hash")
COMMIT = Struct(view="u64", height="u64", block="hash", result="hash")
VOTES = List(Struct(validator="u16", signature="signature"))
CERTIFICATE = Struct(commit=COMMIT, votes=VOTES)
PREPARED = Struct(header=HEADER, view="u64", votes=VOTES)
BLOCK = Struct(header=HEADER, transactions=List("bytes"), certificate=Optional(CERTIFICATE))
FINALITY = Struct(header=HEADER, result=RESULT, descendants=List(HEADER), certificate=CERTIFICATE)
PATH = List("hash")
INCLUSION = Struct(index="u32", transaction_path=PATH, outcome=OUTCOME, outcome_path=PATH)
RECEIPT = Struct(transaction=SIGNED_TRANSACTION, inclusion=INCLUSION, finality=FINALITY)
STATE_KEY = Enum(
    member=Struct(key="key"),
    namespace=Struct(name="text"),
    entry=Struct(namespace="text", key="bytes"),
    asset=Struct(name="text"),
    balance=Struct(asset="text", member="key"),
)
STATE_VALUE = Enum(
    member=Struct(name="text", key="key", roles=List(ROLE)),
    namespace=Struct(owners=List("key"), writers=List("key")),
    entry=Struct(version="u64", value="bytes"),
    asset=Struct(issuer="key", supply="u128"),
    balance=Struct(units="u128"),
)
STATE_PROOF = Struct(
    siblings=PATH,
    end=Enum(present=Struct(value=STATE_VALUE), empty=NOTHING, other=Struct(place="hash", value_hash="hash")),
)


def Signed(statement):
    return Struct(statement=statement, signer="u16", signature="signature")


PRE_PREPARE = Struct(view="u64", header=HEADER, ids=List("hash"))
VIEW_CHANGE = Struct(view="u64", certificate=Optional(CERTIFICATE), prepared=List(PREPARED))
NEW_VIEW = Struct(view="u64", view_changes=List(Signed(VIEW_CHANGE)))
PHASE = Enum(active=NOTHING, changing=NOTHING, learning=NOTHING)
STATUS = Struct(view="u64", phase=PHASE, height="u64", proposals="u64", stalled="bool", founding="bool")
STATEMENTS = {
    "PrePrepare": ("pre-prepare", PRE_PREPARE),
    "Prepare": ("prepare", PREPARE),
    "Commit": ("commit", COMMIT),
    "ViewChange": ("view-change", VIEW_CHANGE),
    "NewView": ("new-view", NEW_VIEW),
    "Status": ("status", STATUS),
}
MESSAGE = ("enum", [(name, Signed(statement)) for name, (_, statement) in STATEMENTS.items()])
EVIDENCE = Struct(first="bytes", second="bytes")


# 2. Hashes and preimages.


def preimage(tag, chain, encoded):
    tag = b"quorate/1/" + tag.encode()
    return bytes([len(tag)]) + tag + chain + encoded


def hash_of(tag, chain, encoded):
    return sha256(preimage(tag, chain, encoded))


def block_hash(header):
    return hash_of("block", header["chain"], encode(HEADER, header))


def result_hash(chain, result):
    return hash_of("result", chain, encode(RESULT, result))
