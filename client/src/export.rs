//! The chain in one file, for archives and offline audits.
//!
//! # Format
//!
//! All numbers are little endian.
//!
//! | bytes | what |
//! |---|---|
//! | 16 | the text `quorate-export` and two zero bytes |
//! | 4 | `u32`: version of this format, 1 |
//! | 32 | the chain id |
//! | for each block, ascending from height 1: | |
//! | 4 | `u32`: length n of what follows, at least 1 |
//! | n | the canonical encoding of a [`Block`] (see [`codec`]) |
//! | at the end: | |
//! | 4 | `u32`: 0, no more blocks |
//! | 8 | `u64`: how many blocks there were |
//! | 32 | SHA-256 of every byte before these 32 |
//!
//! The last block holds its own certificate: a file ends where the chain is final. The hash is no
//! proof of anything but a whole file; what the blocks say is for the [audit](crate::audit) to
//! judge. The reader reports a file that is cut, extended or altered as such, by name and offset,
//! before the audit gets to see its end.
//!
//! The writer builds the file under a temporary name in the same directory, syncs it, and renames
//! it, so that a file of the wanted name is always whole.

use quorate_types::block::Block;
use quorate_types::codec::{self, DecodeError};
use quorate_types::hash::{ChainId, Hash};
use quorate_types::parameters::limits;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// The first bytes of every export.
pub const MAGIC: [u8; 16] = *b"quorate-export\0\0";

/// The version of the format this module writes, and the only one it reads.
pub const VERSION: u32 = 1;

/// The longest frame: the largest block any chain may have, with a length for each transaction,
/// header and certificate.
pub const MAX_FRAME_BYTES: usize = limits::BLOCK_BYTES + (1 << 20);

/// Bytes before the first block.
const PREAMBLE_BYTES: usize = MAGIC.len() + 4 + 32;

/// Why an export could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The operating system refused to write. The file of that name, if there was one, is unchanged.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The operating system refused to read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// Another kind of file.
    #[error("{} is no export of a Quorate chain", path.display())]
    NotAnExport {
        /// The file.
        path: PathBuf,
    },
    /// Written by another version of this program.
    #[error("{} has format version {found}; this program reads version {VERSION}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// An export of another chain.
    #[error("{} is an export of chain {found}, not of {expected}", path.display())]
    WrongChain {
        /// The file.
        path: PathBuf,
        /// Its chain.
        found: ChainId,
        /// The chain asked for.
        expected: ChainId,
    },
    /// It ends in the middle.
    #[error("{} is cut short: it ends at byte {offset}, after {blocks} whole blocks", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Its length.
        offset: u64,
        /// Whole blocks before that.
        blocks: u64,
    },
    /// A frame longer than any block.
    #[error("{} is damaged at byte {offset}: a block of {found} bytes, where at most {MAX_FRAME_BYTES} are possible", path.display())]
    FrameLength {
        /// The file.
        path: PathBuf,
        /// Where the frame starts.
        offset: u64,
        /// The length it claims.
        found: u32,
    },
    /// A frame that holds no block.
    #[error("{} is damaged at byte {offset}, block {block} of the file: {error}", path.display())]
    Frame {
        /// The file.
        path: PathBuf,
        /// Where the frame starts.
        offset: u64,
        /// Which block it should be, counted from 1.
        block: u64,
        /// What is wrong with it.
        error: DecodeError,
    },
    /// The count at the end is another than that of the blocks.
    #[error("{} is damaged: it holds {found} blocks but says {claimed}", path.display())]
    Count {
        /// The file.
        path: PathBuf,
        /// Blocks found.
        found: u64,
        /// Blocks claimed.
        claimed: u64,
    },
    /// The hash at the end is another than that of the content.
    #[error("{} is damaged: its content does not match the hash at its end", path.display())]
    Hash {
        /// The file.
        path: PathBuf,
    },
    /// Something follows the end.
    #[error("{} is damaged: more bytes follow its end at byte {offset}", path.display())]
    TrailingBytes {
        /// The file.
        path: PathBuf,
        /// Where it should end.
        offset: u64,
    },
}

/// Writes an export. Nothing appears under the wanted name until [`Writer::finish`].
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    out: BufWriter<NamedTempFile>,
    hasher: Sha256,
    blocks: u64,
    bytes: u64,
    buffer: Vec<u8>,
}

impl Writer {
    /// Starts a file of this chain. An existing file of that name is replaced by
    /// [`finish`](Writer::finish), and kept if that is never reached.
    ///
    /// # Errors
    /// [`ExportError::Write`].
    pub fn create(path: &Path, chain: &ChainId) -> Result<Writer, ExportError> {
        let failed = |source| ExportError::Write { path: path.to_owned(), source };
        let file = NamedTempFile::new_in(directory(path)).map_err(failed)?;
        let mut writer = Writer {
            path: path.to_owned(),
            out: BufWriter::with_capacity(1 << 20, file),
            hasher: Sha256::new(),
            blocks: 0,
            bytes: 0,
            buffer: Vec::new(),
        };
        writer.put(&MAGIC)?;
        writer.put(&VERSION.to_le_bytes())?;
        writer.put(&chain.0.0)?;
        Ok(writer)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), ExportError> {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        self.out.write_all(bytes).map_err(|source| ExportError::Write { path: self.path.clone(), source })
    }

    /// Appends a block. The caller gives them ascending from height 1, without gaps.
    ///
    /// # Errors
    /// [`ExportError::Write`], also for a block longer than any chain may have.
    pub fn write(&mut self, block: &Block) -> Result<(), ExportError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        codec::encode_into(block, &mut buffer);
        let length = u32::try_from(buffer.len()).ok().filter(|_| buffer.len() <= MAX_FRAME_BYTES);
        let Some(length) = length else {
            let source =
                io::Error::new(io::ErrorKind::InvalidData, "the block is longer than any chain allows");
            return Err(ExportError::Write { path: self.path.clone(), source });
        };
        self.put(&length.to_le_bytes())?;
        self.put(&buffer)?;
        self.blocks += 1;
        self.buffer = buffer;
        Ok(())
    }

    /// Blocks written so far.
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Writes the end, syncs, and gives the file its name.
    ///
    /// # Errors
    /// [`ExportError::Write`]; then nothing of that name was touched.
    pub fn finish(mut self) -> Result<Summary, ExportError> {
        self.put(&0u32.to_le_bytes())?;
        self.put(&self.blocks.to_le_bytes())?;
        let sha256 = Hash(self.hasher.clone().finalize().into());
        self.put(&sha256.0)?;
        let Writer { path, out, blocks, bytes, .. } = self;
        let publish = || {
            let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
            // Others may read what the chain's members share; the temporary file was private.
            #[cfg(unix)]
            {
                use std::os::unix::fs::PermissionsExt;
                file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
            }
            file.as_file().sync_all()?;
            file.persist(&path).map_err(|refused| refused.error)?;
            File::open(directory(&path))?.sync_all()
        };
        publish().map_err(|source| ExportError::Write { path: path.clone(), source })?;
        Ok(Summary { blocks, bytes, sha256 })
    }
}

/// The directory that `path` lies in.
fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// What a finished export holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// How many blocks.
    pub blocks: u64,
    /// Length of the file.
    pub bytes: u64,
    /// The hash at its end.
    pub sha256: Hash,
}

/// Reads an export, block by block; memory for one frame at a time.
///
/// As an iterator it ends after the last block if count and hash hold, and otherwise with one error.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    input: BufReader<File>,
    hasher: Sha256,
    length: u64,
    offset: u64,
    blocks: u64,
    ended: bool,
}

impl Reader {
    /// Opens an export of this chain.
    ///
    /// # Errors
    /// See [`ExportError`].
    pub fn open(path: &Path, chain: &ChainId) -> Result<Reader, ExportError> {
        let failed = |source| ExportError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let mut reader = Reader {
            path: path.to_owned(),
            input: BufReader::with_capacity(1 << 20, file),
            hasher: Sha256::new(),
            length,
            offset: 0,
            blocks: 0,
            ended: false,
        };
        let not_an_export = |path: &Path| ExportError::NotAnExport { path: path.to_owned() };
        if length < PREAMBLE_BYTES as u64 {
            return Err(not_an_export(path));
        }
        if reader.array::<16>()? != MAGIC {
            return Err(not_an_export(path));
        }
        let found = u32::from_le_bytes(reader.array()?);
        if found != VERSION {
            return Err(ExportError::Version { path: path.to_owned(), found });
        }
        let found = ChainId(Hash(reader.array()?));
        if found != *chain {
            return Err(ExportError::WrongChain { path: path.to_owned(), found, expected: *chain });
        }
        Ok(reader)
    }

    /// Length of the file, in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Bytes read so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), ExportError> {
        self.input.read_exact(bytes).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => {
                ExportError::Truncated { path: self.path.clone(), offset: self.length, blocks: self.blocks }
            }
            _ => ExportError::Read { path: self.path.clone(), source },
        })?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ExportError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        self.hasher.update(bytes);
        Ok(bytes)
    }

    fn read(&mut self) -> Result<Option<Block>, ExportError> {
        let start = self.offset;
        let claimed = u32::from_le_bytes(self.array()?);
        let length = usize::try_from(claimed).unwrap_or(usize::MAX);
        if length == 0 {
            return self.end().map(|()| None);
        }
        if length > MAX_FRAME_BYTES {
            return Err(ExportError::FrameLength { path: self.path.clone(), offset: start, found: claimed });
        }
        // Before memory is asked for: a claim cannot exceed the file.
        if self.length.saturating_sub(self.offset) < u64::from(claimed) {
            return Err(ExportError::Truncated {
                path: self.path.clone(),
                offset: self.length,
                blocks: self.blocks,
            });
        }
        let mut frame = vec![0; length];
        self.fill(&mut frame)?;
        self.hasher.update(&frame);
        let block = codec::decode(&frame, MAX_FRAME_BYTES).map_err(|error| ExportError::Frame {
            path: self.path.clone(),
            offset: start,
            block: self.blocks + 1,
            error,
        })?;
        self.blocks += 1;
        Ok(Some(block))
    }

    fn end(&mut self) -> Result<(), ExportError> {
        let claimed = u64::from_le_bytes(self.array()?);
        let computed: [u8; 32] = self.hasher.clone().finalize().into();
        let mut found = [0; 32];
        self.fill(&mut found)?;
        if found != computed {
            return Err(ExportError::Hash { path: self.path.clone() });
        }
        if claimed != self.blocks {
            return Err(ExportError::Count { path: self.path.clone(), found: self.blocks, claimed });
        }
        let mut more = [0; 1];
        match self.input.read(&mut more) {
            Ok(0) => Ok(()),
            Ok(_) => Err(ExportError::TrailingBytes { path: self.path.clone(), offset: self.offset }),
            Err(source) => Err(ExportError::Read { path: self.path.clone(), source }),
        }
    }
}

impl Iterator for Reader {
    type Item = Result<Block, ExportError>;

    fn next(&mut self) -> Option<Result<Block, ExportError>> {
        if self.ended {
            return None;
        }
        let read = self.read().transpose();
        self.ended = !matches!(read, Some(Ok(_)));
        read
    }
}
