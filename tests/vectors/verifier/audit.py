"""FORMAT.md, sections 12, 13 and 15: execution, exports, and the audit of a chain."""

from verifier.layouts import *
from verifier.rules import *


# 12. Execution.


class Failed(Exception):
    def __init__(self, reason, **fields):
        self.reason = (reason, fields)


class State:
    def __init__(self, genesis):
        self.members = genesis.members
        self.values = {}
        for key, member in genesis.members.items():
            self.set(("member", {"key": key}), member)

    def get(self, key):
        value = self.values.get(encode(STATE_KEY, key))
        return None if value is None else decode(STATE_VALUE, value)[1]

    def set(self, key, fields):
        name = encode(STATE_KEY, key)
        if fields is None:
            self.values.pop(name, None)
        else:
            self.values[name] = encode(STATE_VALUE, (key[0], fields))

    def transaction(self, transaction, height):
        """The outcome."""
        before = dict(self.values)
        for index, (name, fields) in enumerate(transaction["operations"]):
            try:
                getattr(self, name)(transaction["sender"], height, **fields)
            except Failed as failed:
                self.values = before
                return ("failed", {"operation": index, "reason": failed.reason})
        return APPLIED

    def existing(self, kind, name, reason):
        found = self.get((kind, {"name": name}))
        if found is None:
            raise Failed(reason)
        return found

    def check_member(self, key):
        if key not in self.members:
            raise Failed("NoSuchMember")

    def balance(self, asset, member):
        found = self.get(("balance", {"asset": asset, "member": member}))
        return found["units"] if found else 0

    def set_balance(self, asset, member, units):
        self.set(("balance", {"asset": asset, "member": member}), {"units": units} if units else None)

    def CreateNamespace(self, sender, height, namespace):
        key = ("namespace", {"name": namespace})
        if self.get(key):
            raise Failed("NamespaceExists")
        self.set(key, {"owners": [sender], "writers": [sender]})

    def SetNamespaceMembers(self, sender, height, namespace, owners, writers):
        if sender not in self.existing("namespace", namespace, "NoSuchNamespace")["owners"]:
            raise Failed("NotOwner")
        for key in owners + writers:
            self.check_member(key)
        self.set(("namespace", {"name": namespace}), {"owners": owners, "writers": writers})

    def entry(self, sender, namespace, key):
        """The state key, and the version it has."""
        if sender not in self.existing("namespace", namespace, "NoSuchNamespace")["writers"]:
            raise Failed("NotWriter")
        name = ("entry", {"namespace": namespace, "key": key})
        found = self.get(name)
        return name, found["version"] if found else 0

    def Put(self, sender, height, namespace, key, value, expected):
        name, version = self.entry(sender, namespace, key)
        if expected is not None and expected != version:
            raise Failed("VersionMismatch", found=version)
        self.set(name, {"version": height, "value": value})

    def Delete(self, sender, height, namespace, key, expected):
        name, version = self.entry(sender, namespace, key)
        if version == 0:
            raise Failed("NoSuchKey")
        if expected is not None and expected != version:
            raise Failed("VersionMismatch", found=version)
        self.set(name, None)

    def CreateAsset(self, sender, height, asset):
        key = ("asset", {"name": asset})
        if self.get(key):
            raise Failed("AssetExists")
        self.set(key, {"issuer": sender, "supply": 0})

    def Mint(self, sender, height, asset, to, amount):
        found = self.existing("asset", asset, "NoSuchAsset")
        if found["issuer"] != sender:
            raise Failed("NotIssuer")
        self.check_member(to)
        if found["supply"] + amount >= 2**128:
            raise Failed("SupplyOverflow")
        self.set(("asset", {"name": asset}), found | {"supply": found["supply"] + amount})
        self.set_balance(asset, to, self.balance(asset, to) + amount)

    def Transfer(self, sender, height, asset, to, amount):
        self.existing("asset", asset, "NoSuchAsset")
        self.check_member(to)
        self.take(asset, sender, amount)
        self.set_balance(asset, to, self.balance(asset, to) + amount)

    def Burn(self, sender, height, asset, amount):
        found = self.existing("asset", asset, "NoSuchAsset")
        self.take(asset, sender, amount)
        self.set(("asset", {"name": asset}), found | {"supply": found["supply"] - amount})

    def take(self, asset, sender, amount):
        balance = self.balance(asset, sender)
        if balance < amount:
            raise Failed("InsufficientBalance", balance=balance)
        self.set_balance(asset, sender, balance - amount)


# 13. Files.


def read_export(chain, data):
    """The encoded blocks."""
    decoder = Decoder(data)
    require(decoder.take(16, "") == b"quorate-export\0\0", "not an export")
    require(decoder.number(4, "") == 1, "version")
    require(decoder.take(32, "") == chain, "another chain")
    blocks = []
    while length := decoder.number(4, ""):
        require(length <= 34603008, "frame length")
        blocks.append(decoder.take(length, ""))
    require(decoder.number(8, "") == len(blocks), "count")
    computed = sha256(data[: decoder.at])
    require(decoder.take(32, "") == computed, "hash of the file")
    require(decoder.at == len(data), "bytes left over")
    return blocks


# 15. Step by step.


def founding_result(genesis):
    return {
        "state_root": root_of(State(genesis).values),
        "outcomes_root": tree_root([]),
        "next_validators": genesis.validators_hash,
    }


def audit(genesis, blocks):
    """Everything, from the genesis document on; the headers and results."""
    chain, parameters, state = genesis.chain, genesis.parameters, State(genesis)
    parent, parent_result, time = chain, result_hash(chain, founding_result(genesis)), genesis.created
    log, seen, audited, uncertified = [leaf_hash(chain)], set(), [], 0
    for height, encoded in enumerate(blocks, start=1):
        block = decode(BLOCK, encoded)
        header = block["header"]
        require(header["chain"] == chain and header["height"] == height, "chain or height")
        require(header["parent"] == parent and header["parent_result"] == parent_result, "parent")
        require(header["proposer"] == header["view"] % len(genesis.validators), "proposer")
        require(header["timestamp"] >= time, "timestamp")
        require(header["history_root"] == tree_root(log), "history root")
        require(header["validators"] == genesis.validators_hash, "validators")
        count = len(block["transactions"])
        require(1 <= count == header["transaction_count"] <= parameters["max_block_transactions"], "count")
        require(sum(map(len, block["transactions"])) <= parameters["max_block_bytes"], "bytes")
        ids, records = [], []
        for bytes_ in block["transactions"]:
            require(len(bytes_) <= parameters["max_transaction_bytes"], "transaction length")
            signed = decode(SIGNED_TRANSACTION, bytes_)
            identity = check_transaction(chain, signed)
            transaction = signed["transaction"]
            sender = genesis.members.get(transaction["sender"])
            require(sender and ("submitter", {}) in sender["roles"], "sender")
            ahead = transaction["expires_at"] - header["timestamp"]
            require(0 <= ahead <= parameters["max_lifetime_ms"], "expiry")
            ticket = (transaction["expires_at"], identity[:16])
            require(ticket not in seen, "twice")
            seen.add(ticket)
            ids.append(identity)
            outcome = state.transaction(transaction, height)
            records.append(encode(RECORD, {"transaction": identity, "outcome": outcome}))
        require(header["transactions_root"] == tree_root(list(map(leaf_hash, ids))), "transactions root")
        result = {
            "state_root": root_of(state.values),
            "outcomes_root": tree_root(list(map(leaf_hash, records))),
            "next_validators": genesis.validators_hash,
        }
        parent, parent_result, time = block_hash(header), result_hash(chain, result), header["timestamp"]
        log.append(leaf_hash(parent))
        uncertified += 1
        if certificate := block["certificate"]:
            commit = certificate["commit"]
            require(commit["height"] == height and commit["block"] == parent, "certificate of another block")
            require(commit["result"] == parent_result, "certified another result")
            check_certificate(genesis, certificate)
            uncertified = 0
        require(uncertified <= 128, "too long without a certificate")
        audited.append((header, result, records))
    require(blocks and uncertified == 0, "not final")
    return audited
