//! Key files.
//!
//! A member's directory holds `member.key`, and for a validator `vote.key` and `transport.key`
//! beside it. Each is a text of three lines, readable by its owner only (0600):
//!
//! ```text
//! quorate member key, version 1
//! secret <64 hexadecimal digits: the seed of RFC 8032>
//! public <64 hexadecimal digits>
//! ```
//!
//! The public key is a check: a damaged or edited file is noticed before it signs anything. Key
//! files are never overwritten, and never loaded when others could have read them.

use crate::files::{self, Access, FileError};
use quorate_types::hash::ParseHexError;
use quorate_types::keys::{PublicKey, SecretKey};
use rand::TryRng;
use rand::rngs::SysRng;
use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyKind {
    /// Signs the member's transactions and opens its client connections.
    Member,
    /// Signs a validator's votes.
    Vote,
    /// A validator's QUIC identity. TLS never signs with the key that votes.
    Transport,
}

impl KeyKind {
    /// The name of its file in a member's directory.
    pub fn file_name(self) -> &'static str {
        match self {
            KeyKind::Member => "member.key",
            KeyKind::Vote => "vote.key",
            KeyKind::Transport => "transport.key",
        }
    }

    /// The first line of its file.
    fn header(self) -> String {
        format!("quorate {self} key, version 1")
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KeyKind::Member => "member",
            KeyKind::Vote => "vote",
            KeyKind::Transport => "transport",
        })
    }
}

/// Why keys could not be made or loaded.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// A file could not be read or written, or exists already.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is a key already, and it is left alone: it may be the only copy.
    #[error(
        "{} exists already; a key is never overwritten. Use another directory, or move the file away \
         if you are sure that nothing was founded with it",
        path.display()
    )]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The key file is not there.
    #[error("{} does not exist; make keys with `quorate keys new`, or name the directory that holds them", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A validator's directory with one of its two files.
    #[error(
        "{} is missing although {} is there; a validator needs both: restore it from your copy",
        missing.display(), present.display()
    )]
    Half {
        /// The file that is missing.
        missing: PathBuf,
        /// The file that is there.
        present: PathBuf,
    },
    /// Others than the owner may read or write the file.
    #[error(
        "{} may be read or written by others (mode {mode:04o}); if nobody else can have read it, \
         run `chmod 600 {}`, else make new keys",
        path.display(), path.display()
    )]
    LoosePermissions {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not a key file of this kind.
    #[error("{} is no {kind} key file: {reason}; restore it from your copy", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The kind that was expected.
        kind: KeyKind,
        /// What is wrong.
        reason: String,
    },
    /// The operating system gave no randomness, so no key was made.
    #[error("the operating system gives no randomness, so no key was made: {0}")]
    Randomness(String),
}

/// The keys of a validator, besides its member's.
#[derive(Debug, Clone)]
pub struct ValidatorKeys {
    /// Signs votes.
    pub vote: SecretKey,
    /// The QUIC identity.
    pub transport: SecretKey,
}

/// The secret keys of one member.
#[derive(Debug, Clone)]
pub struct MemberKeys {
    /// Signs transactions and opens client connections.
    pub member: SecretKey,
    /// Present if the member runs a validator.
    pub validator: Option<ValidatorKeys>,
}

impl MemberKeys {
    /// Makes new keys from the operating system's randomness and writes them to `dir`, which is
    /// made if need be (0700).
    ///
    /// # Errors
    /// See [`KeyFileError`]. No existing file is touched; of the new ones all are written, or none.
    pub fn create(dir: &Path, validator: bool) -> Result<MemberKeys, KeyFileError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(|error| FileError::Write { path: dir.to_owned(), error })?;
        for kind in [KeyKind::Member, KeyKind::Vote, KeyKind::Transport] {
            let path = dir.join(kind.file_name());
            if path.symlink_metadata().is_ok() {
                return Err(KeyFileError::Exists { path });
            }
        }
        let validator = if validator {
            Some(ValidatorKeys { vote: random_key()?, transport: random_key()? })
        } else {
            None
        };
        let keys = MemberKeys { member: random_key()?, validator };
        let mut written = Vec::new();
        for (kind, key) in keys.iter() {
            let path = dir.join(kind.file_name());
            if let Err(error) = write_key(&path, kind, key) {
                // These were made above and never used, so nothing is lost with them.
                for path in written {
                    let _ = fs::remove_file(path);
                }
                return Err(error);
            }
            written.push(path);
        }
        Ok(keys)
    }

    /// Loads the keys in `dir`: the member's, and the validator's if they are there.
    ///
    /// # Errors
    /// See [`KeyFileError`].
    pub fn load(dir: &Path) -> Result<MemberKeys, KeyFileError> {
        let path = |kind: KeyKind| dir.join(kind.file_name());
        let member = read_key(&path(KeyKind::Member), KeyKind::Member)?;
        let is_there = |kind| path(kind).symlink_metadata().is_ok();
        let half = |missing, present| KeyFileError::Half { missing: path(missing), present: path(present) };
        let validator = match (is_there(KeyKind::Vote), is_there(KeyKind::Transport)) {
            (false, false) => None,
            (true, false) => return Err(half(KeyKind::Transport, KeyKind::Vote)),
            (false, true) => return Err(half(KeyKind::Vote, KeyKind::Transport)),
            (true, true) => Some(ValidatorKeys {
                vote: read_key(&path(KeyKind::Vote), KeyKind::Vote)?,
                transport: read_key(&path(KeyKind::Transport), KeyKind::Transport)?,
            }),
        };
        Ok(MemberKeys { member, validator })
    }

    /// The keys with what each is for: member, vote, transport.
    pub fn iter(&self) -> impl Iterator<Item = (KeyKind, &SecretKey)> {
        let validator = self
            .validator
            .iter()
            .flat_map(|keys| [(KeyKind::Vote, &keys.vote), (KeyKind::Transport, &keys.transport)]);
        std::iter::once((KeyKind::Member, &self.member)).chain(validator)
    }
}

fn random_key() -> Result<SecretKey, KeyFileError> {
    let mut seed = [0u8; 32];
    SysRng.try_fill_bytes(&mut seed).map_err(|error| KeyFileError::Randomness(error.to_string()))?;
    Ok(SecretKey::from_seed(&seed))
}

fn write_key(path: &Path, kind: KeyKind, key: &SecretKey) -> Result<(), KeyFileError> {
    let text =
        format!("{}\nsecret {}\npublic {}\n", kind.header(), const_hex::encode(key.to_seed()), key.public());
    files::write_new(path, &text, Access::Private).map_err(|error| match error {
        FileError::Exists { path } => KeyFileError::Exists { path },
        other => KeyFileError::File(other),
    })
}

fn read_key(path: &Path, kind: KeyKind) -> Result<SecretKey, KeyFileError> {
    /// Three lines are below 200 bytes.
    const MAX_KEY_FILE_BYTES: u64 = 1024;

    let failed = |error| FileError::Read { path: path.to_owned(), error };
    let file = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => KeyFileError::Missing { path: path.to_owned() },
        _ => failed(error).into(),
    })?;
    // Of the open file, not of its name: nobody can swap it in between.
    let mode = file.metadata().map_err(failed)?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::LoosePermissions { path: path.to_owned(), mode });
    }
    let mut text = String::new();
    file.take(MAX_KEY_FILE_BYTES).read_to_string(&mut text).map_err(failed)?;
    parse_key(&text, kind).map_err(|reason| KeyFileError::Malformed { path: path.to_owned(), kind, reason })
}

/// The reasons never repeat the secret: they end up in logs.
fn parse_key(text: &str, kind: KeyKind) -> Result<SecretKey, String> {
    let lines: Vec<&str> = text.lines().collect();
    let [header, secret, public] = lines[..] else {
        return Err("it must have three lines".to_owned());
    };
    if header != kind.header() {
        return Err(format!("its first line must be \"{}\"", kind.header()));
    }
    let mut seed = [0u8; 32];
    let digits = secret
        .strip_prefix("secret ")
        .filter(|digits| digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
    if digits.is_none_or(|digits| const_hex::decode_to_slice(digits, &mut seed).is_err()) {
        return Err("its second line must be \"secret\" and 64 hexadecimal digits".to_owned());
    }
    let public = public.strip_prefix("public ").unwrap_or_default();
    let public: PublicKey = public.parse().map_err(|error: ParseHexError| format!("public key: {error}"))?;
    let key = SecretKey::from_seed(&seed);
    if key.public() == public {
        Ok(key)
    } else {
        Err(format!("its secret belongs to public key {}, not to {public}", key.public()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_made_is_loaded() {
        let home = tempfile::tempdir().unwrap();
        for (name, validator) in [("plain", false), ("deep/validator", true)] {
            let dir = home.path().join(name);
            let made = MemberKeys::create(&dir, validator).unwrap();
            let loaded = MemberKeys::load(&dir).unwrap();
            let publics = |keys: &MemberKeys| keys.iter().map(|(_, key)| key.public()).collect::<Vec<_>>();
            assert_eq!(publics(&made), publics(&loaded));
            assert_eq!(loaded.validator.is_some(), validator);
            for entry in fs::read_dir(&dir).unwrap() {
                assert_eq!(entry.unwrap().metadata().unwrap().mode() & 0o777, 0o600);
            }
        }
    }

    #[test]
    fn keys_are_never_overwritten() {
        let home = tempfile::tempdir().unwrap();
        MemberKeys::create(home.path(), false).unwrap();
        let before = fs::read(home.path().join("member.key")).unwrap();
        let error = MemberKeys::create(home.path(), true).unwrap_err();
        assert!(matches!(error, KeyFileError::Exists { .. }), "{error}");
        assert_eq!(fs::read(home.path().join("member.key")).unwrap(), before);
        assert!(!home.path().join("vote.key").exists());
    }

    #[test]
    fn looser_permissions_are_refused_with_the_remedy() {
        let home = tempfile::tempdir().unwrap();
        MemberKeys::create(home.path(), true).unwrap();
        let path = home.path().join("vote.key");
        for mode in [0o640, 0o604, 0o620, 0o666] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = MemberKeys::load(home.path()).unwrap_err();
            assert!(matches!(error, KeyFileError::LoosePermissions { .. }), "{error}");
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert!(MemberKeys::load(home.path()).is_ok());
    }

    #[test]
    fn damaged_swapped_and_missing_files_are_named() {
        let home = tempfile::tempdir().unwrap();
        MemberKeys::create(home.path(), true).unwrap();
        let file = |name: &str| home.path().join(name);
        let good = fs::read_to_string(file("vote.key")).unwrap();
        let transport = fs::read_to_string(file("transport.key")).unwrap();
        let secret = good.lines().nth(1).unwrap();
        let truncated = &good[..good.len() - 3];
        let other_public = good.replace(good.lines().nth(2).unwrap(), transport.lines().nth(2).unwrap());
        for bad in [&transport, truncated, &other_public, "", &good.replace("secret ", "secret  ")] {
            fs::write(file("vote.key"), bad).unwrap();
            let error = MemberKeys::load(home.path()).unwrap_err();
            assert!(matches!(error, KeyFileError::Malformed { .. }), "{error}");
            assert!(!error.to_string().contains(secret.strip_prefix("secret ").unwrap()));
        }
        fs::remove_file(file("vote.key")).unwrap();
        assert!(matches!(MemberKeys::load(home.path()), Err(KeyFileError::Half { .. })));
        fs::remove_file(file("member.key")).unwrap();
        assert!(matches!(MemberKeys::load(home.path()), Err(KeyFileError::Missing { .. })));
    }
}
