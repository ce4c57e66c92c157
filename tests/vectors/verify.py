#!/usr/bin/env python3
"""Checks the golden vectors with an independent verifier, written from FORMAT.md alone: it shares no
code with the ledger.

Recomputes the golden chain id, ids, hashes and roots; checks certificates, receipts and state proofs,
and that tampered ones fail; audits the golden chain, executing it anew; and holds its own Ed25519 to
the public vectors. Standard library only, Python 3.11 or later (for tomllib).
"""

import json
import pathlib
import sys

sys.dont_write_bytecode = True

from verifier import zip215
from verifier.audit import *

HERE = pathlib.Path(__file__).resolve().parent
GOLDEN = HERE / "golden"


def golden(name):
    values = json.loads((GOLDEN / name).read_text())
    return {key: bytes.fromhex(value) for key, value in values.items()}


def refused(check, *arguments):
    try:
        check(*arguments)
    except Wrong:
        return
    raise AssertionError(f"{check.__name__} accepted what does not hold")


def flipped(data, position):
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def check_public_vectors():
    cases = []
    for vector in json.loads((HERE / "ed25519/zip215.json").read_text()):
        cases.append((vector["vk_bytes"], b"Zcash".hex(), vector["sig_bytes"], vector["valid_zip215"]))
    for vector in json.loads((HERE / "ed25519/rfc8032.json").read_text()):
        cases.append((vector["pub"], vector["msg"], vector["sig"], True))
    # The verdicts that consensus/types/tests/public_vectors/ed25519.rs explains.
    verdicts = [True] * 6 + [False] * 3 + [True] * 3
    speccheck = json.loads((HERE / "ed25519/speccheck.json").read_text())
    for vector, valid in zip(speccheck, verdicts, strict=True):
        cases.append((vector["pub_key"], vector["message"], vector["signature"], valid))
    for key, message, signature, valid in cases:
        key, message, signature = map(bytes.fromhex, (key, message, signature))
        assert zip215.verify(key, message, signature) == valid, key.hex()


def check_genesis(genesis):
    values = golden("genesis.json")
    assert genesis.content == values["content"]
    assert genesis.chain == values["chain_id"]
    assert genesis.validators_hash == values["validators_hash"]
    card = decode(CARD, values["card"])
    assert preimage("card", ZERO, encode(UNSIGNED_CARD, card)) == values["card_preimage"]
    decode(CARD, values["card_without_validator"])
    assert preimage("genesis", genesis.chain, b"") == values["founding_preimage"]
    result = founding_result(genesis)
    assert encode(RESULT, result) == values["founding_result"]
    assert result_hash(genesis.chain, result) == values["founding_result_hash"]


def check_types(genesis):
    values, chain = golden("types.json"), genesis.chain
    assert values["chain"] == chain
    example = Struct(a="u16", b="u32", c="text", d=Optional("u8"))
    assert encode(example, {"a": 1, "b": 2, "c": "ab", "d": 3}) == values["codec_example"]
    for name, value in values.items():
        if name.startswith("operation_"):
            decoded = decode(OPERATION, value)
            assert decoded[0].lower() == name.removeprefix("operation_").replace("_", "")
            check_operation(decoded)
        elif name.startswith("outcome_") and not name.startswith("outcome_record"):
            kind, fields = decode(OUTCOME, value)
            shown = kind if kind == "applied" else fields["reason"][0].lower()
            assert shown == name.removeprefix("outcome_").replace("_", "")
    signed = decode(SIGNED_TRANSACTION, values["signed_transaction"])
    transaction = encode(TRANSACTION, signed["transaction"])
    assert transaction == values["transaction"]
    assert preimage("transaction", chain, transaction) == values["transaction_preimage"]
    assert check_transaction(chain, signed) == values["transaction_id"]
    every = decode(SIGNED_TRANSACTION, values["transaction_of_every_operation_signed"])
    assert check_transaction(chain, every) == values["transaction_of_every_operation_id"]
    assert len(every["transaction"]["operations"]) == len(OPERATION[1])
    record = encode(RECORD, {"transaction": values["transaction_id"], "outcome": APPLIED})
    assert record == values["outcome_record"]
    assert leaf_hash(record) == values["outcome_record_leaf"]

    assert encode(VALIDATORS, genesis.validators) == values["validators"]
    assert genesis.validators_hash == values["validators_hash"]
    header = decode(HEADER, values["header"])
    assert block_hash(header) == values["header_hash"]
    assert header["transactions_root"] == leaf_hash(values["transaction_id"])
    assert result_hash(chain, decode(RESULT, values["result"])) == values["result_hash"]
    assert preimage("prepare", chain, values["prepare"]) == values["prepare_preimage"]
    assert preimage("commit", chain, values["commit"]) == values["commit_preimage"]
    certificate = decode(CERTIFICATE, values["certificate"])
    assert encode(COMMIT, certificate["commit"]) == values["commit"]
    check_certificate(genesis, certificate)
    prepared = decode(PREPARED, values["prepared_certificate"])
    check_prepared(genesis, prepared)
    assert prepared["votes"][0]["signature"] == values["prepare_signature"]

    # The rule for certificates, from its other side.
    votes = certificate["votes"]
    for bad in (votes[:1], votes[::-1], [votes[0]] * 2, votes + [votes[1] | {"validator": 2}]):
        refused(check_certificate, genesis, certificate | {"votes": bad})
    swapped = [votes[0] | {"signature": votes[1]["signature"]}, votes[1]]
    refused(check_certificate, genesis, certificate | {"votes": swapped})
    refused(check_certificate, genesis, certificate | {"commit": certificate["commit"] | {"view": 4}})
    table = {1: 1, 2: 2, 3: 2, 4: 3, 5: 4, 6: 4, 7: 5, 8: 6, 9: 6, 10: 7, 31: 21, 100: 67}
    assert all(quorum(n) == q for n, q in table.items())

    leaves = [leaf_hash(bytes([index])) for index in range(9)]
    for size in range(10):
        assert tree_root(leaves[:size]) == values[f"merkle_root_of_{size}"]
    for index, size in ((4, 7), (8, 9)):
        joined = values[f"merkle_inclusion_of_{index}_in_{size}"]
        path = [joined[at : at + 32] for at in range(0, len(joined), 32)]
        root = values[f"merkle_root_of_{size}"]
        check_path(root, leaves[index], index, size, path)
        refused(check_path, root, leaves[index], index - 1, size, path)
        refused(check_path, root, leaves[index], index, size, path[:-1])
        refused(check_path, root, leaves[index], index, size, path + [ZERO])


def check_chain(genesis):
    values = golden("chain.json")
    assert values["chain"] == genesis.chain
    for number, (name, _) in enumerate(STATE_KEY[1]):
        key, value = values[f"state_key_{name}"], values[f"state_value_{name}"]
        assert decode(STATE_KEY, key)[0] == decode(STATE_VALUE, value)[0] == name
        assert sha256(key) == values[f"state_key_{name}_hash"]
        assert key[0] == value[0] == number

    blocks = read_export(genesis.chain, values["export"])
    audited = audit(genesis, blocks)
    for height, (header, result, records) in enumerate(audited, start=1):
        assert blocks[height - 1] == values[f"block_{height}"]
        assert block_hash(header) == values[f"block_{height}_hash"]
        assert encode(HEADER, header) == values[f"block_{height}_header"]
        assert encode(RESULT, result) == values[f"block_{height}_result"]
        assert result_hash(genesis.chain, result) == values[f"block_{height}_result_hash"]
        for index, record in enumerate(records):
            stem = f"block_{height}_transaction_{index}"
            assert record == values[f"{stem}_id"] + values[f"{stem}_outcome"]
    for position in range(0, len(values["export"]), 61):
        refused(read_export, genesis.chain, flipped(values["export"], position))
    for position in range(0, len(blocks[1]), 37):
        refused(audit, genesis, [blocks[0], flipped(blocks[1], position), blocks[2]])
    refused(audit, genesis, blocks[:2])
    refused(audit, genesis, blocks[1:])

    path = decode(PATH, values["history_proof_of_block_1_under_block_3"])
    check_path(audited[2][0]["history_root"], leaf_hash(values["block_1_hash"]), 1, 3, path)

    assert check_receipt(genesis, values["receipt_own"]) == APPLIED
    assert check_receipt(genesis, values["receipt_failed"])[0] == "failed"
    assert check_receipt(genesis, values["receipt_descendant"]) == APPLIED
    for name in ("receipt_own", "receipt_descendant"):
        receipt = values[name]
        # Without descendants no byte can change. With them the certified result is not checked
        # against a result, but still against the votes.
        for position in range(0, len(receipt), 29):
            refused(check_receipt, genesis, flipped(receipt, position))
        refused(check_receipt, genesis, receipt + b"\0")

    finality = decode(FINALITY, values["finality_of_block_3"])
    check_finality(genesis, finality)
    root = finality["result"]["state_root"]
    present = values["proof_present_key"], values["proof_present"]
    assert check_state_proof(root, *present) == ("balance", {"units": 750})
    for end in ("empty", "other"):
        absent = values[f"proof_absent_{end}_key"], values[f"proof_absent_{end}"]
        assert check_state_proof(root, *absent) is None
        assert decode(STATE_PROOF, absent[1])["end"][0] == end
        # A proof of one key proves nothing of another.
        refused(check_state_proof, root, present[0], absent[1])
        refused(check_state_proof, root, absent[0], present[1])
        for position in range(0, len(absent[1]), 7):
            refused(check_state_proof, root, absent[0], flipped(absent[1], position))
    for position in range(0, len(present[1]), 7):
        refused(check_state_proof, root, present[0], flipped(present[1], position))
    refused(check_state_proof, audited[1][1]["state_root"], *present)


def check_messages(genesis):
    values = golden("pbft.json")
    for name, value in values.items():
        if name == "evidence":
            assert check_evidence(genesis, value) == 0
        else:
            kind, _ = check_message(genesis, value)
            assert name.replace("_", "").startswith(kind.lower())
    # The same statement twice is no contradiction.
    pair = decode(EVIDENCE, values["evidence"])
    refused(check_evidence, genesis, encode(EVIDENCE, pair | {"second": pair["first"]}))


def check_receipt_file(genesis):
    path = GOLDEN / "receipt.json"
    text = path.read_text()
    shown = json.loads(text)
    assert text == json.dumps(shown, indent=2) + "\n"
    names = "format chain transaction sender height block timestamp_ms outcome receipt"
    assert list(shown) == names.split() and shown["format"] == "quorate-receipt/1"
    encoded = bytes.fromhex(shown["receipt"])
    assert check_receipt(genesis, encoded) == APPLIED and shown["outcome"] == "applied"
    receipt = decode(RECEIPT, encoded)
    header, transaction = receipt["finality"]["header"], receipt["transaction"]["transaction"]
    identity = hash_of("transaction", genesis.chain, encode(TRANSACTION, transaction))
    assert bytes.fromhex(shown["chain"]) == genesis.chain
    assert bytes.fromhex(shown["transaction"]) == identity
    assert bytes.fromhex(shown["sender"]) == transaction["sender"]
    assert bytes.fromhex(shown["block"]) == block_hash(header)
    assert (shown["height"], shown["timestamp_ms"]) == (header["height"], header["timestamp"])


def main():
    genesis = Genesis((GOLDEN / "genesis.toml").read_text())
    checks = [check_genesis, check_types, check_chain, check_messages, check_receipt_file]
    check_public_vectors()
    print("check_public_vectors: ok")
    for check in checks:
        check(genesis)
        print(f"{check.__name__}: ok")


if __name__ == "__main__":
    main()
