//! Operations as JSON text: several in one file for one atomic transaction, or one transaction a
//! line for the bulk mode. `quorate tx` prints the same form.
//!
//! An operation is an object with one field, its name:
//!
//! ```json
//! {"create_namespace": {"namespace": "crates"}}
//! {"set_namespace_members": {"namespace": "crates", "owners": ["acme"], "writers": ["acme", "bolt"]}}
//! {"put": {"namespace": "crates", "key": "serde-1.0.229", "value": "sha256 ...", "expected_version": 0}}
//! {"delete": {"namespace": "crates", "key": {"hex": "00ff"}}}
//! {"create_asset": {"asset": "credits"}}
//! {"mint": {"asset": "credits", "to": "acme", "amount": 1000}}
//! {"transfer": {"asset": "credits", "to": "bolt", "amount": "340282366920938463463374607431768211455"}}
//! {"burn": {"asset": "credits", "amount": 5}}
//! ```
//!
//! - Keys and values are text (its UTF-8 bytes) or `{"hex": "..."}`.
//! - Members are named as in the genesis document, or by their 64-digit key. A name wins, should a
//!   member ever be named like a key.
//! - Amounts are whole numbers, or the same as text: JSON programs round numbers above 2^53.
//! - `expected_version` is optional: the height that last wrote the key, 0 if it must not exist.
//!
//! A file, and a line of the bulk mode, holds one operation or an array of 1 to 64; either way they
//! apply all or none. Unknown fields are refused. Blank lines are skipped.

use quorate_types::ids::Height;
use quorate_types::keys::PublicKey;
use quorate_types::member::Member;
use quorate_types::parameters::limits;
use quorate_types::transaction::{Operation, OperationError, Version};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::io::{self, BufRead, Read};
use std::sync::Arc;

/// The longest operations file, and the longest line of the bulk mode: a transaction of the largest
/// size with every byte written as `\u0000`.
pub const MAX_TEXT_BYTES: usize = 8 << 20;

/// Why a text does not give operations.
#[derive(Debug, thiserror::Error)]
#[error("{file}:{line}: {problem}")]
pub struct OperationsError {
    /// The file, as the person named it.
    pub file: String,
    /// Counted from 1.
    pub line: u64,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong with operations.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// No JSON, or not of the form that is wanted.
    #[error("{0}")]
    Form(String),
    /// None, or too many.
    #[error("{0} operations, where 1 to {max} are allowed in one transaction", max = limits::OPERATIONS)]
    Count(usize),
    /// A name, length or amount that no ledger accepts.
    #[error("operation {index}: {error}")]
    Operation {
        /// Its position, from 0.
        index: usize,
        /// What is wrong.
        error: OperationError,
    },
    /// A member that the genesis document does not know.
    #[error(
        "operation {index}: {name:?} is neither the name of a member nor a key of 64 hexadecimal digits; the members are {known}"
    )]
    UnknownMember {
        /// The operation's position, from 0.
        index: usize,
        /// The name, cut to its first 80 characters.
        name: String,
        /// The names there are.
        known: String,
    },
    /// Longer than [`MAX_TEXT_BYTES`].
    #[error("more than {MAX_TEXT_BYTES} bytes, where a transaction is far shorter")]
    TooLong,
    /// The operating system failed to read.
    #[error("cannot be read: {0}")]
    Read(io::Error),
}

/// The names of members, for those who write and read operations.
#[derive(Debug, Clone, Copy)]
pub struct Members<'a>(pub &'a [Member]);

impl Members<'_> {
    /// The key of a member given by name, or a key in hexadecimal.
    pub fn resolve(&self, text: &str) -> Option<PublicKey> {
        let named = self.0.iter().find(|member| member.name == text);
        named.map(|member| member.key).or_else(|| text.parse().ok())
    }

    /// The member's name, or the key in hexadecimal.
    pub fn name(&self, key: &PublicKey) -> String {
        let member = self.0.iter().find(|member| member.key == *key);
        member.map_or_else(|| key.to_string(), |member| member.name.clone())
    }

    /// All names, for a message: at most a dozen of them.
    pub fn list(&self) -> String {
        let names: Vec<&str> = self.0.iter().take(12).map(|member| member.name.as_str()).collect();
        let more = if self.0.len() > names.len() { ", ..." } else { "" };
        format!("{}{more}", names.join(", "))
    }
}

/// Bytes spelled as text, or as `{"hex": "..."}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spelled(pub Vec<u8>);

impl Serialize for Spelled {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => serializer.collect_map([("hex", const_hex::encode(&self.0))]),
        }
    }
}

impl<'de> Deserialize<'de> for Spelled {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Spelled, D::Error> {
        struct Bytes;
        impl<'de> Visitor<'de> for Bytes {
            type Value = Spelled;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, or {\"hex\": \"...\"}")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Spelled, E> {
                Ok(Spelled(text.as_bytes().to_vec()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Spelled, A::Error> {
                let expected = "expected {\"hex\": \"...\"} with an even number of hexadecimal digits";
                let Some((field, digits)) = map.next_entry::<String, String>()? else {
                    return Err(de::Error::custom(expected));
                };
                // const-hex would take a 0x in front: a second spelling.
                let bytes = if digits.starts_with("0x") { None } else { const_hex::decode(&digits).ok() };
                match bytes {
                    Some(bytes) if field == "hex" && map.next_key::<String>()?.is_none() => {
                        Ok(Spelled(bytes))
                    }
                    _ => Err(de::Error::custom(expected)),
                }
            }
        }
        deserializer.deserialize_any(Bytes)
    }
}

/// A whole number, possibly written as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Amount(u128);

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const EXACT_IN_ANY_JSON: u128 = 1 << 53;
        match u64::try_from(self.0) {
            Ok(small) if self.0 <= EXACT_IN_ANY_JSON => serializer.serialize_u64(small),
            _ => serializer.collect_str(&self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Amount, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Amount;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number from 1 to 2^128 - 1, as text if above 2^64 - 1")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Amount, E> {
                Ok(Amount(number.into()))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Amount, E> {
                let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
                let number = if digits { text.parse().ok() } else { None };
                number.map(Amount).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Number)
    }
}

/// An operation as text spells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    CreateNamespace {
        namespace: String,
    },
    SetNamespaceMembers {
        namespace: String,
        owners: Vec<String>,
        writers: Vec<String>,
    },
    Put {
        namespace: String,
        key: Spelled,
        value: Spelled,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expected_version: Option<u64>,
    },
    Delete {
        namespace: String,
        key: Spelled,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expected_version: Option<u64>,
    },
    CreateAsset {
        asset: String,
    },
    Mint {
        asset: String,
        to: String,
        amount: Amount,
    },
    Transfer {
        asset: String,
        to: String,
        amount: Amount,
    },
    Burn {
        asset: String,
        amount: Amount,
    },
}

impl Line {
    /// The operation meant; the error is a name that no member has.
    fn resolve(self, members: &Members<'_>) -> Result<Operation, String> {
        let key_of = |name: String| members.resolve(&name).ok_or(name);
        let keys_of = |names: Vec<String>| -> Result<Vec<PublicKey>, String> {
            let mut keys = names.into_iter().map(key_of).collect::<Result<Vec<_>, _>>()?;
            // The ledger wants them ascending and distinct; a person need not.
            keys.sort_unstable();
            keys.dedup();
            Ok(keys)
        };
        let version = |height: Option<u64>| height.map(|height| Version(Height(height)));
        Ok(match self {
            Line::CreateNamespace { namespace } => Operation::CreateNamespace { namespace },
            Line::SetNamespaceMembers { namespace, owners, writers } => Operation::SetNamespaceMembers {
                namespace,
                owners: keys_of(owners)?,
                writers: keys_of(writers)?,
            },
            Line::Put { namespace, key, value, expected_version } => {
                Operation::Put { namespace, key: key.0, value: value.0, expected: version(expected_version) }
            }
            Line::Delete { namespace, key, expected_version } => {
                Operation::Delete { namespace, key: key.0, expected: version(expected_version) }
            }
            Line::CreateAsset { asset } => Operation::CreateAsset { asset },
            Line::Mint { asset, to, amount } => Operation::Mint { asset, to: key_of(to)?, amount: amount.0 },
            Line::Transfer { asset, to, amount } => {
                Operation::Transfer { asset, to: key_of(to)?, amount: amount.0 }
            }
            Line::Burn { asset, amount } => Operation::Burn { asset, amount: amount.0 },
        })
    }

    fn of(operation: &Operation, members: &Members<'_>) -> Line {
        let names = |keys: &[PublicKey]| keys.iter().map(|key| members.name(key)).collect();
        let version = |expected: &Option<Version>| expected.map(|Version(Height(height))| height);
        match operation.clone() {
            Operation::CreateNamespace { namespace } => Line::CreateNamespace { namespace },
            Operation::SetNamespaceMembers { namespace, owners, writers } => {
                Line::SetNamespaceMembers { namespace, owners: names(&owners), writers: names(&writers) }
            }
            Operation::Put { namespace, key, value, expected } => Line::Put {
                namespace,
                key: Spelled(key),
                value: Spelled(value),
                expected_version: version(&expected),
            },
            Operation::Delete { namespace, key, expected } => {
                Line::Delete { namespace, key: Spelled(key), expected_version: version(&expected) }
            }
            Operation::CreateAsset { asset } => Line::CreateAsset { asset },
            Operation::Mint { asset, to, amount } => {
                Line::Mint { asset, to: members.name(&to), amount: Amount(amount) }
            }
            Operation::Transfer { asset, to, amount } => {
                Line::Transfer { asset, to: members.name(&to), amount: Amount(amount) }
            }
            Operation::Burn { asset, amount } => Line::Burn { asset, amount: Amount(amount) },
        }
    }
}

/// One operation or an array of them. Not an untagged enum, whose errors say neither where nor what.
struct Lines(Vec<Line>);

impl<'de> Deserialize<'de> for Lines {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Lines, D::Error> {
        struct OneOrMany;
        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Lines;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an operation such as {\"put\": {...}}, or an array of operations")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Lines, A::Error> {
                Ok(Lines(vec![Line::deserialize(MapAccessDeserializer::new(map))?]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Lines, A::Error> {
                let mut lines = Vec::new();
                while let Some(line) = seq.next_element()? {
                    lines.push(line);
                }
                Ok(Lines(lines))
            }
        }
        deserializer.deserialize_any(OneOrMany)
    }
}

/// The operations that a JSON text spells.
///
/// `file` and `first_line` are for messages only.
///
/// # Errors
/// [`OperationsError`], with the line of the text and what was expected there.
pub fn parse(
    text: &str,
    file: &str,
    first_line: u64,
    members: &Members<'_>,
) -> Result<Vec<Operation>, OperationsError> {
    let at = |line: u64, problem| OperationsError { file: file.to_owned(), line, problem };
    let Lines(lines) = serde_json::from_str(text).map_err(|error| {
        let line = first_line + (error.line() as u64).saturating_sub(1);
        at(line, Problem::Form(describe(&error)))
    })?;
    if !(1..=limits::OPERATIONS).contains(&lines.len()) {
        return Err(at(first_line, Problem::Count(lines.len())));
    }
    let resolved = lines.into_iter().enumerate().map(|(index, line)| {
        let operation = line.resolve(members).map_err(|name| Problem::UnknownMember {
            index,
            name: name.chars().take(80).collect(),
            known: members.list(),
        })?;
        operation.check().map_err(|error| Problem::Operation { index, error })?;
        Ok(operation)
    });
    resolved.collect::<Result<_, _>>().map_err(|problem| at(first_line, problem))
}

/// The message without serde_json's own line number, which counts from the start of the text.
fn describe(error: &serde_json::Error) -> String {
    let whole = error.to_string();
    let cut = whole.rfind(" at line ").unwrap_or(whole.len());
    format!("{} (column {})", &whole[..cut], error.column())
}

/// Reads a file of operations.
///
/// # Errors
/// See [`OperationsError`].
pub fn read(input: impl Read, file: &str, members: &Members<'_>) -> Result<Vec<Operation>, OperationsError> {
    let at = |problem| OperationsError { file: file.to_owned(), line: 1, problem };
    let mut bytes = Vec::new();
    let limit = MAX_TEXT_BYTES as u64 + 1;
    input.take(limit).read_to_end(&mut bytes).map_err(|error| at(Problem::Read(error)))?;
    if bytes.len() > MAX_TEXT_BYTES {
        return Err(at(Problem::TooLong));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let line =
            1 + error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count();
        OperationsError {
            file: file.to_owned(),
            line: line as u64,
            problem: Problem::Form("not UTF-8".to_owned()),
        }
    })?;
    parse(&text, file, 1, members)
}

/// Reads the bulk form: each line one transaction. An error ends it.
#[derive(Debug)]
pub struct JsonLines<R> {
    input: R,
    file: String,
    line: u64,
    members: Arc<[Member]>,
    buffer: Vec<u8>,
    ended: bool,
}

impl<R: BufRead> JsonLines<R> {
    /// Reads from `input`; `file` is for messages.
    pub fn new(input: R, file: &str, members: &[Member]) -> JsonLines<R> {
        let members = members.into();
        JsonLines { input, file: file.to_owned(), line: 0, members, buffer: Vec::new(), ended: false }
    }

    fn next_transaction(&mut self) -> Result<Option<(u64, Vec<Operation>)>, OperationsError> {
        loop {
            self.buffer.clear();
            self.line += 1;
            let at = |problem| OperationsError { file: self.file.clone(), line: self.line, problem };
            let limit = MAX_TEXT_BYTES as u64 + 1;
            let mut limited = (&mut self.input).take(limit);
            let read =
                limited.read_until(b'\n', &mut self.buffer).map_err(|error| at(Problem::Read(error)))?;
            if read == 0 {
                return Ok(None);
            }
            if read > MAX_TEXT_BYTES {
                return Err(at(Problem::TooLong));
            }
            let text =
                std::str::from_utf8(&self.buffer).map_err(|_| at(Problem::Form("not UTF-8".to_owned())))?;
            if text.trim().is_empty() {
                continue;
            }
            return parse(text.trim_end(), &self.file, self.line, &Members(&self.members))
                .map(|operations| Some((self.line, operations)));
        }
    }
}

impl<R: BufRead> Iterator for JsonLines<R> {
    /// The line's number, counted from 1, and what it asks for.
    type Item = Result<(u64, Vec<Operation>), OperationsError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.next_transaction().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

/// The operations as JSON, in the form that [`parse`] reads.
pub fn to_json(operations: &[Operation], members: &Members<'_>) -> serde_json::Value {
    let lines: Vec<Line> = operations.iter().map(|operation| Line::of(operation, members)).collect();
    serde_json::to_value(lines).expect("text, numbers and lists are JSON")
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_types::keys::SecretKey;
    use quorate_types::member::Role;

    fn members() -> Vec<Member> {
        let member = |(n, name): (u8, &str)| Member {
            name: name.to_owned(),
            key: SecretKey::from_seed(&[n; 32]).public(),
            roles: vec![Role::Submitter],
        };
        [(1, "acme"), (2, "bolt"), (3, "cask")].map(member).to_vec()
    }

    fn parse_text(text: &str) -> Result<Vec<Operation>, String> {
        let members = members();
        parse(text, "ops.json", 1, &Members(&members)).map_err(|error| error.to_string())
    }

    #[test]
    fn every_operation_is_read_and_printed_alike() {
        let text = r#"[
            {"create_namespace": {"namespace": "crates"}},
            {"set_namespace_members": {"namespace": "crates", "owners": ["acme"], "writers": ["cask", "acme", "bolt"]}},
            {"put": {"namespace": "crates", "key": "serde", "value": "1.0", "expected_version": 0}},
            {"put": {"namespace": "crates", "key": {"hex": "00ff"}, "value": {"hex": ""}}},
            {"delete": {"namespace": "crates", "key": "serde", "expected_version": 7}},
            {"create_asset": {"asset": "credits"}},
            {"mint": {"asset": "credits", "to": "acme", "amount": 1000}},
            {"transfer": {"asset": "credits", "to": "bolt", "amount": "340282366920938463463374607431768211455"}},
            {"burn": {"asset": "credits", "amount": "5"}}
        ]"#;
        let operations = parse_text(text).unwrap();
        assert_eq!(operations.len(), 9);
        let Operation::SetNamespaceMembers { writers, .. } = &operations[1] else { panic!("order") };
        assert!(writers.is_sorted() && writers.len() == 3);
        let members = members();
        let printed = to_json(&operations, &Members(&members)).to_string();
        assert_eq!(parse_text(&printed).unwrap(), operations);
        let Operation::Transfer { amount, .. } = &operations[7] else { panic!("order") };
        assert_eq!(*amount, u128::MAX);
    }

    #[test]
    fn one_operation_needs_no_array() {
        let operations = parse_text(r#"{"burn": {"asset": "credits", "amount": 5}}"#).unwrap();
        assert_eq!(operations, [Operation::Burn { asset: "credits".to_owned(), amount: 5 }]);
    }

    #[test]
    fn a_member_may_be_named_by_key() {
        let key = SecretKey::from_seed(&[9; 32]).public();
        let text = format!(r#"{{"mint": {{"asset": "a", "to": "{key}", "amount": 1}}}}"#);
        let operations = parse_text(&text).unwrap();
        assert_eq!(operations, [Operation::Mint { asset: "a".to_owned(), to: key, amount: 1 }]);
    }

    #[test]
    fn errors_say_where_and_what_is_expected() {
        let cases = [
            ("", "ops.json:1: EOF"),
            ("7", "ops.json:1: invalid type: integer `7`, expected an operation such as"),
            ("[]", "ops.json:1: 0 operations, where 1 to 64"),
            ("[\n{\"burn\": {\"asset\": \"a\"}}]", "ops.json:2: missing field `amount`"),
            ("[\n\n{\"burnt\": {}}]", "ops.json:3: unknown variant `burnt`, expected one of"),
            (
                "{\"burn\": {\"asset\": \"a\", \"amount\": -1}}",
                "ops.json:1: invalid type: integer `-1`, expected a whole number",
            ),
            ("{\"burn\": {\"asset\": \"a\", \"amount\": 1.5}}", "expected a whole number"),
            ("{\"burn\": {\"asset\": \"a\", \"amount\": \"1e3\"}}", "expected a whole number"),
            ("{\"burn\": {\"asset\": \"a\", \"amount\": 0}}", "operation 0: an amount of 0"),
            ("{\"burn\": {\"asset\": \"A\", \"amount\": 1}}", "operation 0: \"A\" is no name"),
            ("{\"burn\": {\"asset\": \"a\", \"amount\": 1, \"to\": \"x\"}}", "unknown field `to`"),
            (
                "{\"mint\": {\"asset\": \"a\", \"amount\": 1, \"to\": \"zed\"}}",
                "\"zed\" is neither the name of a member",
            ),
            ("{\"put\": {\"namespace\": \"n\", \"key\": \"\", \"value\": \"v\"}}", "a key of 0 bytes"),
            (
                "{\"put\": {\"namespace\": \"n\", \"key\": {\"hex\": \"0g\"}, \"value\": \"v\"}}",
                "hexadecimal digits",
            ),
            (
                "{\"put\": {\"namespace\": \"n\", \"key\": {\"hex\": \"0x00\"}, \"value\": \"v\"}}",
                "hexadecimal digits",
            ),
            (
                "{\"put\": {\"namespace\": \"n\", \"key\": {\"hex\": \"00\", \"x\": \"\"}, \"value\": \"v\"}}",
                "hexadecimal digits",
            ),
            ("{\"burn\": {\"asset\": \"a\", \"amount\": 1}} x", "ops.json:1: trailing characters"),
            ("{\"burn\": {\"asset\": \"a\", \"amount\": 1}, \"burn\": {}}", "ops.json:1:"),
        ];
        for (text, expected) in cases {
            let error = parse_text(text).unwrap_err();
            assert!(error.contains(expected), "{text}\n  gave {error}\n  not  {expected}");
        }
        let many = format!("[{}]", vec!["{\"burn\": {\"asset\": \"a\", \"amount\": 1}}"; 65].join(","));
        assert!(parse_text(&many).unwrap_err().contains("65 operations"));
    }

    #[test]
    fn lines_are_numbered_and_an_error_ends_them() {
        let members = members();
        let text = "{\"burn\": {\"asset\": \"a\", \"amount\": 1}}\n\n  \n[{\"burn\": {\"asset\": \"b\", \"amount\": 2}}]\nnonsense\n{}\n";
        let mut lines = JsonLines::new(text.as_bytes(), "in", &members);
        assert_eq!(lines.next().unwrap().unwrap().0, 1);
        assert_eq!(lines.next().unwrap().unwrap().0, 4);
        assert!(lines.next().unwrap().unwrap_err().to_string().starts_with("in:5: expected"));
        assert!(lines.next().is_none());
    }

    #[test]
    fn endless_and_binary_input_is_refused() {
        let members = members();
        let endless = vec![b' '; MAX_TEXT_BYTES + 1];
        let error = read(&endless[..], "f", &Members(&members)).unwrap_err();
        assert!(matches!(error.problem, Problem::TooLong));
        let mut lines = JsonLines::new(&endless[..], "f", &members);
        assert!(matches!(lines.next(), Some(Err(OperationsError { problem: Problem::TooLong, .. }))));
        let error = read(&b"\n\n\xff"[..], "f", &Members(&members)).unwrap_err();
        assert_eq!(error.to_string(), "f:3: not UTF-8");
    }
}
