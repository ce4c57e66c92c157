"""FORMAT.md, sections 4 to 11 and 14: when a document, a transaction, a certificate, a receipt, a
state proof, a message holds."""

import re
import tomllib

from verifier import zip215
from verifier.layouts import *


# 4. Genesis.


def is_name(text):
    return re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", text) is not None


def card_of(table):
    validator = table.get("validator")
    signatures = [table["signature"]]
    if validator is not None:
        signatures += [validator["vote_signature"], validator["transport_signature"]]
        validator = {
            "vote_key": bytes.fromhex(validator["vote_key"]),
            "transport_key": bytes.fromhex(validator["transport_key"]),
            "address": validator["address"],
        }
    return {
        "name": table["name"],
        "member_key": bytes.fromhex(table["member_key"]),
        "roles": [(role, {}) for role in table["roles"]],
        "validator": validator,
        "signatures": [bytes.fromhex(signature) for signature in signatures],
    }


def card_keys(card):
    validator = card["validator"]
    return [card["member_key"]] + ([validator["vote_key"], validator["transport_key"]] if validator else [])


def check_card(card):
    require(is_name(card["name"]), "name")
    order = [name for name, _ in ROLE[1]]
    roles = [order.index(role) for role, _ in card["roles"]]
    require(roles and roles == sorted(set(roles)), "roles")
    require((0 in roles) == (card["validator"] is not None), "validator part")
    keys = card_keys(card)
    require(all(zip215.check_key(key) is None for key in keys), "key")
    require(len(keys) == len(card["signatures"]), "signatures")
    message = preimage("card", ZERO, encode(UNSIGNED_CARD, card))
    for key, signature in zip(keys, card["signatures"]):
        require(zip215.verify(key, message, signature), "card signature")


class Genesis:
    """The founding facts, out of a document that was checked. (Addresses and the ranges of
    parameters are not: they matter to those who run validators.)"""

    def __init__(self, text):
        document = tomllib.loads(text)
        require(set(document) <= {"chain", "parameters", "member", "signature"}, "unknown table")
        cards = sorted((card_of(table) for table in document["member"]), key=lambda card: card["name"].encode())
        for card in cards:
            check_card(card)
        names = [card["name"] for card in cards]
        keys = [key for card in cards for key in card_keys(card)]
        require(len(set(names)) == len(names) and len(set(keys)) == len(keys), "duplicates")
        require(is_name(document["chain"]["name"]), "chain name")
        self.created = document["chain"]["created_ms"]
        self.parameters = document["parameters"]
        self.content = encode(
            CONTENT,
            {
                "name": document["chain"]["name"],
                "created_ms": self.created,
                "parameters": self.parameters,
                "members": cards,
            },
        )
        self.chain = hash_of("genesis", ZERO, self.content)
        founders = [card for card in cards if card["validator"]]
        require(founders, "no validator")
        self.validators = [
            {"member": card["member_key"], "vote_key": card["validator"]["vote_key"]} for card in founders
        ]
        signatures = {each["member"]: bytes.fromhex(each["signature"]) for each in document["signature"]}
        require(len(signatures) == len(document["signature"]), "signed twice")
        require(set(signatures) == {card["name"] for card in founders}, "not signed by every validator")
        for card in founders:
            message = preimage("genesis", self.chain, b"")
            require(
                zip215.verify(card["validator"]["vote_key"], message, signatures[card["name"]]),
                "founding signature",
            )
        self.validators_hash = hash_of("validators", self.chain, encode(VALIDATORS, self.validators))
        self.members = {
            card["member_key"]: {"name": card["name"], "key": card["member_key"], "roles": card["roles"]}
            for card in cards
        }


# 5. Transactions.


def check_operation(operation):
    name, fields = operation
    for field in ("namespace", "asset"):
        require(field not in fields or is_name(fields[field]), "name")
    if name in ("Put", "Delete"):
        require(1 <= len(fields["key"]) <= 256, "key length")
    if name == "Put":
        require(len(fields["value"]) <= 524288, "value length")
    if "amount" in fields:
        require(fields["amount"] > 0, "amount")
    if name == "SetNamespaceMembers":
        for field in ("owners", "writers"):
            require(fields[field] == sorted(set(fields[field])) and len(fields[field]) <= 64, field)
        require(fields["owners"], "owners")


def check_transaction(chain, signed):
    """Checks form and signature; the id."""
    transaction = signed["transaction"]
    require(transaction["chain"] == chain, "another chain")
    require(1 <= len(transaction["operations"]) <= 64, "operations")
    for operation in transaction["operations"]:
        check_operation(operation)
    message = preimage("transaction", chain, encode(TRANSACTION, transaction))
    require(zip215.verify(transaction["sender"], message, signed["signature"]), "transaction signature")
    return sha256(message)


# 7. Merkle trees.


def leaf_hash(data):
    return sha256(b"\0", data)


def tree_root(leaves):
    """Over leaf hashes."""
    if not leaves:
        return sha256()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return sha256(b"\1", tree_root(leaves[:k]), tree_root(leaves[k:]))


def check_path(root, leaf, index, size, path):
    require(index < size, "index")
    path, node, last = list(path), leaf, size - 1
    while last > 0:
        if index % 2 == 1:
            require(path, "path too short")
            node = sha256(b"\1", path.pop(0), node)
        elif index < last:
            require(path, "path too short")
            node = sha256(b"\1", node, path.pop(0))
        index, last = index // 2, last // 2
    require(not path, "path too long")
    require(node == root, "root")


# 9. Votes and certificates.


def quorum(n):
    f = (n - 1) // 3
    return -(-(n + f + 1) // 2)


def check_votes(genesis, votes, message):
    indexes = [vote["validator"] for vote in votes]
    require(indexes == sorted(set(indexes)), "signers")
    require(all(index < len(genesis.validators) for index in indexes), "unknown signer")
    require(len(indexes) >= quorum(len(genesis.validators)), "quorum")
    for vote in votes:
        key = genesis.validators[vote["validator"]]["vote_key"]
        require(zip215.verify(key, message, vote["signature"]), "vote signature")


def check_certificate(genesis, certificate):
    message = preimage("commit", genesis.chain, encode(COMMIT, certificate["commit"]))
    check_votes(genesis, certificate["votes"], message)


def check_prepared(genesis, prepared):
    header = prepared["header"]
    require(header["chain"] == genesis.chain and header["view"] <= prepared["view"], "header")
    prepare = {"view": prepared["view"], "height": header["height"], "block": block_hash(header)}
    check_votes(genesis, prepared["votes"], preimage("prepare", genesis.chain, encode(PREPARE, prepare)))


# 10. Finality and receipts.


def check_finality(genesis, finality):
    headers = [finality["header"]] + finality["descendants"]
    for header in headers:
        require(header["chain"] == genesis.chain, "another chain")
        require(header["validators"] == genesis.validators_hash, "another validator set")
    for before, after in zip(headers, headers[1:]):
        require(after["height"] == before["height"] + 1 and after["parent"] == block_hash(before), "link")
    commit = finality["certificate"]["commit"]
    result = result_hash(genesis.chain, finality["result"])
    named = headers[1]["parent_result"] if len(headers) > 1 else commit["result"]
    require(named == result, "result")
    require(commit["height"] == headers[-1]["height"], "height of the certificate")
    require(commit["block"] == block_hash(headers[-1]), "block of the certificate")
    check_certificate(genesis, finality["certificate"])


def check_receipt(genesis, encoded):
    """The outcome that the receipt proves."""
    require(len(encoded) <= 4194304, "too long")
    receipt = decode(RECEIPT, encoded)
    identity = check_transaction(genesis.chain, receipt["transaction"])
    inclusion, finality = receipt["inclusion"], receipt["finality"]
    header, index = finality["header"], inclusion["index"]
    size = header["transaction_count"]
    check_path(header["transactions_root"], leaf_hash(identity), index, size, inclusion["transaction_path"])
    record = encode(RECORD, {"transaction": identity, "outcome": inclusion["outcome"]})
    root = finality["result"]["outcomes_root"]
    check_path(root, leaf_hash(record), index, size, inclusion["outcome_path"])
    check_finality(genesis, finality)
    return inclusion["outcome"]


# 11. State.


def bit(place, depth):
    return place[depth // 8] >> (7 - depth % 8) & 1


def state_leaf(place, value_hash):
    return sha256(b"\2", place, value_hash)


def state_root(leaves, depth=0):
    """Over a list of (place, leaf hash)."""
    if not leaves:
        return ZERO
    if len(leaves) == 1:
        return leaves[0][1]
    sides = [[leaf for leaf in leaves if bit(leaf[0], depth) == side] for side in (0, 1)]
    return sha256(b"\3", state_root(sides[0], depth + 1), state_root(sides[1], depth + 1))


def root_of(state):
    """The root of a state held as a map of encoded keys to encoded values."""
    places = ((sha256(key), value) for key, value in state.items())
    return state_root([(place, state_leaf(place, sha256(value))) for place, value in places])


def check_state_proof(root, key, encoded):
    """The value, or None if its absence is proven."""
    proof = decode(STATE_PROOF, encoded)
    siblings, (end, fields) = proof["siblings"], proof["end"]
    require(len(siblings) <= 256, "siblings")
    place, value = sha256(key), None
    if end == "present":
        value = fields["value"]
        require(value[0] == decode(STATE_KEY, key)[0], "a value of another kind")
        node = state_leaf(place, sha256(encode(STATE_VALUE, value)))
    elif end == "empty":
        node = ZERO
    else:
        other = fields["place"]
        shared = all(bit(other, depth) == bit(place, depth) for depth in range(len(siblings)))
        require(other != place and shared, "the other key is unrelated")
        node = state_leaf(other, fields["value_hash"])
    for depth in reversed(range(len(siblings))):
        pair = (siblings[depth], node) if bit(place, depth) else (node, siblings[depth])
        node = sha256(b"\3", *pair)
    require(node == root, "state root")
    return value


# 14. Messages and evidence.


def check_signed(genesis, name, signed):
    tag, statement = STATEMENTS[name]
    require(signed["signer"] < len(genesis.validators), "unknown signer")
    message = preimage(tag, genesis.chain, encode(statement, signed["statement"]))
    key = genesis.validators[signed["signer"]]["vote_key"]
    require(zip215.verify(key, message, signed["signature"]), "message signature")


def check_message(genesis, encoded):
    name, signed = decode(MESSAGE, encoded)
    said, signer = signed["statement"], signed["signer"]
    check_signed(genesis, name, signed)
    if name == "PrePrepare":
        header, ids = said["header"], said["ids"]
        require(said["view"] % len(genesis.validators) == signer, "leader")
        named = (header["chain"], header["view"], header["proposer"])
        require(named == (genesis.chain, said["view"], signer) and header["height"] > 0, "header")
        require(1 <= len(ids) <= 20000 and len(ids) == header["transaction_count"], "ids")
        require(header["transactions_root"] == tree_root(list(map(leaf_hash, ids))), "transactions root")
    if name in ("Prepare", "Commit"):
        require(said["height"] > 0, "height")
    if name == "ViewChange":
        check_view_change(genesis, signed)
    if name == "NewView":
        require(said["view"] % len(genesis.validators) == signer, "leader")
        signers = [change["signer"] for change in said["view_changes"]]
        require(signers == sorted(set(signers)) and len(signers) >= quorum(len(genesis.validators)), "quorum")
        for change in said["view_changes"]:
            require(change["statement"]["view"] == said["view"], "view")
            check_signed(genesis, "ViewChange", change)
            check_view_change(genesis, change)
    return name, signed


def check_view_change(genesis, signed):
    said = signed["statement"]
    base = said["certificate"]["commit"]["height"] if said["certificate"] else 0
    heights = [prepared["header"]["height"] for prepared in said["prepared"]]
    window = genesis.parameters["window"]
    require(said["view"] > 0 and len(heights) <= window and heights == sorted(set(heights)), "heights")
    require(all(base < height <= base + window for height in heights), "window")
    require(all(prepared["view"] < said["view"] for prepared in said["prepared"]), "views")
    if said["certificate"]:
        require(base > 0, "height")
        check_certificate(genesis, said["certificate"])


def check_evidence(genesis, encoded):
    """The validator it convicts."""
    pair = decode(EVIDENCE, encoded)
    (kind, first), (other_kind, second) = (check_message(genesis, pair[name]) for name in ("first", "second"))

    def subject(said):
        height = said["header"]["height"] if kind == "PrePrepare" else said.get("height")
        return said["view"], height if kind in ("PrePrepare", "Prepare", "Commit") else 0

    require(kind == other_kind != "Status" and first["signer"] == second["signer"], "kinds or signers")
    require(subject(first["statement"]) == subject(second["statement"]), "subjects")
    require(first["statement"] != second["statement"], "the same statement")
    return first["signer"]
